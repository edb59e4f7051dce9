"""What is promised of the measures and commands that a plugin offers."""

from __future__ import annotations

import inspect
import io
import math

import torch

from musegen.plugins import registry
from musegen.plugins.hooks import Command, Measure
from musegen.testing.domains import N_EXAMPLES, examples
from musegen.testing.rules import expect, rule

__all__ = ["COMMAND_RULES", "MEASURE_RULES"]


@rule("declaration")
def declaration(offer: Measure | Command) -> None:
    """It has a summary of one line, and load gives a function, the same each time."""
    expect(
        bool(offer.summary.strip()) and len(offer.summary.splitlines()) == 1,
        f"the summary of {offer.name} must be one line of text, not {offer.summary!r}.",
    )
    function = offer.load()
    expect(callable(function), f"load of {offer.name} gives {type(function).__name__}, which is no function.")


@rule("figures", "declaration")
def figures(measure: Measure) -> None:
    """It gives named figures that are numbers, the same each time, and leaves the samples as they are."""
    known = registry()
    function = measure.load()
    for name in measure.domains or ("image",):
        domain = known.domain(name)
        x, y = (examples(made := domain(domain.Config()), N_EXAMPLES, seed=seed) for seed in (0, 1))
        found = []
        for _ in range(2):
            torch.manual_seed(0)
            before = x.clone(), y.clone()
            found.append({key: float(value) for key, value in function(x, y).items()})
            expect(
                torch.equal(before[0], x) and torch.equal(before[1], y),
                f"it changes the samples of the domain {made.name}: work on a copy.",
            )
        expect(bool(found[0]), f"it names no figure for the domain {made.name}.")
        for key, value in found[0].items():
            expect(isinstance(key, str) and not math.isinf(value), f'"{key}" is {value}: give a finite number, or NaN.')
        same = all(
            found[1].get(key) == value or (math.isnan(value) and math.isnan(found[1].get(key, 0.0)))
            for key, value in found[0].items()
        )
        expect(same, "it gives other figures for the same samples: draw with torch's own generator.")
        alike = {key: float(value) for key, value in function(x, x).items()}
        distance = alike.get("distance", 0.0)
        expect(
            math.isnan(distance) or abs(distance) < 1e-6,
            f"distance of data from themselves is {distance:g}, and must be 0.",
        )


@rule("parameters", "declaration")
def parameters(command: Command) -> None:
    """Every parameter has a type and a meaning, which --help shows."""
    from cyclopts import App

    function = command.load()
    untyped = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.annotation is parameter.empty
    ]
    expect(not untyped, f"the parameters {', '.join(untyped)} have no type: annotate them.")
    app = App(name=command.name.split()[-1], default_command=function)
    silent = [
        argument.name
        for argument in app.assemble_argument_collection(parse_docstring=True)
        if not argument.parameter.help
    ]
    expect(
        not silent,
        f"{', '.join(silent)} has no meaning: say it under Parameters in the docstring, or in Parameter(help=…).",
    )


@rule("help", "declaration")
def helped(command: Command) -> None:
    """--help prints what it does."""
    from cyclopts import App
    from rich.console import Console

    page = io.StringIO()
    app = App(name=command.name.split()[-1], default_command=command.load())
    app.help_print([], console=Console(file=page, width=120))
    expect(bool(command.load().__doc__), "--help does not say what it does: write a docstring.")
    expect("Usage" in page.getvalue(), "--help prints nothing.")


MEASURE_RULES = [declaration, figures]
COMMAND_RULES = [declaration, parameters, helped]
