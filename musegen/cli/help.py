"""Help that depends on what is named: the options of a family on a domain, and those of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from musegen.cli.app import app
from musegen.cli.options import MODEL_COMMANDS
from musegen.cli.output import print_table, print_text
from musegen.options import describe
from musegen.running.config import RunConfig

__all__ = ["show_help"]

HELP = {"--help", "-h"}


def show_help(arguments: Sequence[str]) -> bool:
    """Print help that names options of the family and domain, or of the model, that the arguments name.

    Returns:
        False, and nothing printed, if the arguments ask for no such help.
    """
    words = [argument for argument in arguments if argument not in HELP]
    if len(words) == len(arguments) or not words or any(word.startswith("-") for word in words):
        return False
    if words[0] == "train" and len(words) == 3:
        _pair_help(*words[1:])
        return True
    if words[0] in MODEL_COMMANDS and len(words) == 2:
        _model_help(*words)
        return True
    return False


def _pair_help(family: str, domain: str) -> None:
    from musegen.plugins import registry

    family_class, domain_class = registry().family(family), registry().domain(domain)
    print_text(f"Usage: musegen train {family} {domain} [DATA] --out RUN [OPTIONS] [--set key=value …]\n")
    print_table(
        _flags(describe(RunConfig)), False, "Options of the run (also --config FILE.yaml, --overwrite, --quiet)"
    )
    tables = {
        f"--set for the family {family}: {family_class.title}": family_class.Config,
        f"--set for the domain {domain}: {domain_class.summary}": domain_class.Config,
        "--set for how samples are drawn, also after training": family_class.Sampling,
        "--set for how samples become files, also after training": domain_class.Writing,
    }
    for title, options in tables.items():
        if dataclasses.fields(options):
            print()
            print_table(describe(options), False, title)


def _model_help(command: str, model: str) -> None:
    from musegen.models.loading import find

    app.help_print([command])
    resolved = find(model)
    titles = {
        "asking": f"What {model} may be asked to write (domain {resolved.domain.name})",
        "sampling": f"How {model} draws (family {resolved.family.name})",
        "reading": f"How {model} reads files (domain {resolved.domain.name})",
        "writing": f"How {model} writes (domain {resolved.domain.name})",
    }
    for owner in MODEL_COMMANDS[command]:
        if owner == "asking" and resolved.asking is None:
            continue
        options = getattr(resolved, owner)
        if dataclasses.fields(options):
            print()
            print_table(_flags(_with_values(options)), False, titles[owner])


def _with_values(options: Any) -> list[dict[str, str]]:
    """Rows of ``describe``, with the values that a model has in place of the defaults."""
    rows = describe(type(options))
    return [{**row, "default": _short(getattr(options, row["option"]))} for row in rows]


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_short(v) for v in value)}]"
    return "" if value is None or value in ([], {}) else f"{value:.3g}" if isinstance(value, float) else str(value)


def _flags(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [{**row, "option": "--" + row["option"].replace("_", "-")} for row in rows]
