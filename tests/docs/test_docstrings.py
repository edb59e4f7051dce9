"""The examples in docstrings run as they stand, each on its own, as somebody would who copies it."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
from pages import ROOT

SHOWN = [
    *("musegen", "musegen.models.loading.load", "musegen.models.model.Model"),
    *(
        f"musegen.models.model.Model.{name}"
        for name in ("configure", "sample", "continue_", "accompany", "pieces", "write")
    ),
    *("musegen.contracts.family.Family", "musegen.contracts.family.Sampling", "musegen.contracts.domain.Domain"),
    *("musegen.contracts.domain.Spec", "musegen.contracts.piece.Piece", "musegen.contracts.survey.Survey"),
    *("musegen.options.option", "musegen.options.validate"),
    *(f"musegen.probability.likelihood.{name}" for name in ("Bernoulli", "Gaussian", "Categorical")),
    *("musegen.probability.latent.StandardNormal", "musegen.probability.latent.DiagonalGaussian"),
    *("musegen.engine.engine.Engine", "musegen.networks.autoregressive.AutoregressiveGrid"),
    *(
        "musegen.networks.mlp.MLPEncoder",
        "musegen.evaluation.evaluate.evaluate",
        "musegen.evaluation.distributions.compare",
    ),
    *(f"musegen.plugins.hooks.{name}" for name in ("Offer", "Measure", "Command")),
    *("musegen.testing.checks.checks", "musegen.testing.checks.conformance", "musegen.sound.files.write_sound"),
    *("musegen_pianoroll.writing.pianoroll.Pianoroll", "musegen_pianoroll.store.store.Store"),
    *(
        "musegen_pianoroll.domain.PianorollDomain",
        "musegen_image.domain.ImageDomain",
        "musegen_audio.domain.AudioDomain",
    ),
]
"""Public objects whose docstrings have an example."""


def modules_with_examples() -> list[str]:
    """Names of the modules of musegen and its plugins that have examples, found in their text: importing all takes long."""
    names = []
    for base in (ROOT / "musegen", *sorted((ROOT / "plugins").glob("musegen_*"))):
        for path in sorted(base.rglob("*.py")):
            if ">>> " in path.read_text("utf-8"):
                module = path.relative_to(base.parent).with_suffix("")
                names.append(".".join(module.parts).removesuffix(".__init__"))
    return names


def examples_of(module: str) -> dict[str, doctest.DocTest]:
    """Examples of a module, by the name of what they belong to. They know nothing but what they import."""
    found = doctest.DocTestFinder().find(importlib.import_module(module), module, globs={"__name__": "__main__"})
    return {test.name: test for test in found if test.examples}


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, test in examples_of(module).items():
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
        result = runner.run(test, out=said.append)
        assert not result.failed, "".join(said)


def test_public_objects_show_how_they_are_used() -> None:
    shown = {name for module in modules_with_examples() for name in examples_of(module)}
    assert not set(SHOWN) - shown, "these have no example"
