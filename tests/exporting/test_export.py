"""Parts of models in other runtimes: they compute what torch computes, and the files say what they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from configurations import ON_EVERY_DOMAIN, configured
from torch import Tensor
from toy import ToyDomain

import musegen
from musegen.contracts.family import Family, build
from musegen.errors import BadInput
from musegen.exporting import export as exporting
from musegen.exporting.parts import Part, parts_of
from musegen.models.model import Model
from musegen.options import split_options, validate
from musegen.plugins import registry

NOT_EXPORTED = ("rnn_nade", "rnn_nade-conditional")
EXPORTED = [key for key in ON_EVERY_DOMAIN if key not in NOT_EXPORTED]
ONE_OF_EACH = list({ON_EVERY_DOMAIN[key][0]: key for key in reversed(EXPORTED)}.values())


def small(key: str) -> Model:
    """A family on toys, as it is before training, with statistics of batch normalisation that are not the first ones."""
    name, options = configured(key, "toy")
    family = registry().family(name)
    mine = split_options(options, {"family": family.Config, "domain": ToyDomain.Config}, "the test")
    domain = ToyDomain(validate(ToyDomain.Config, mine["domain"], "toy"))
    made = build(family, validate(family.Config, mine["family"], name), domain)
    for parameter in (*made.parameters(), *(b for n, b in made.named_buffers() if "running_" in n)):
        parameter.data.add_(0.1 * torch.rand_like(parameter.data))
    return Model(made, domain, {"seed": 0})


def names(found: exporting.Exported) -> list[str]:
    return [part.part for part in found.parts]


@pytest.mark.parametrize("key", ONE_OF_EACH)
def test_parts_of_every_family_in_torchs_format(key: str, tmp_path: Path) -> None:
    """Written, read again, and run on other numbers of examples than they were traced with."""
    model = small(key)
    found = musegen.export(model, tmp_path / "out", to="torch")
    assert not found.left_out
    for part in found.parts:
        module = torch.export.load(tmp_path / "out" / part.file).module()
        of_family = parts_of(model.family)[part.part]
        for n in (1, 4):
            inputs = [value[torch.arange(n) % len(value)] for value in of_family.inputs.values()]
            with torch.no_grad():
                torch.testing.assert_close(module(*inputs), of_family.module(*inputs), atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("key", EXPORTED)
def test_parts_of_every_family_in_onnxruntime(key: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    found = musegen.export(small(key), tmp_path / "out")
    assert not found.left_out
    assert max(part.difference for part in found.parts) <= 1e-5


@pytest.mark.parametrize("key", ["vae", "conditional_gan"])
def test_onnxruntime_runs_the_files_alone(key: str, tmp_path: Path) -> None:
    """With nothing of musegen but the description beside them."""
    runtime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    model = small(key)
    musegen.export(model, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert len(facts["parts"]) == 2
    for part in facts["parts"]:
        session = runtime.InferenceSession(str(tmp_path / "out" / part["file"]))
        shapes = [[axis if isinstance(axis, str) else int(axis) for axis in i.shape] for i in session.get_inputs()]
        assert shapes == [i["shape"] for i in part["inputs"]]
        of_family = parts_of(model.family)[part["part"]]
        inputs = {name: value[:1] for name, value in of_family.inputs.items()}
        (ours,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        with torch.no_grad():
            theirs = of_family.module(*inputs.values())
        torch.testing.assert_close(torch.from_numpy(ours), theirs, atol=1e-5, rtol=0)
        assert [*ours.shape[1:]] == part["outputs"][0]["shape"][1:]


def test_what_parts_there_are() -> None:
    """All that a family can do as a function of tensors, under the names that its paper has for them."""
    parts = {key: list(parts_of(small(key).family)) for key in ("vae", "gan-hinge", "aae", "infogan", "ada-dann")}
    assert parts == {
        "vae": ["encoder", "decoder"],
        "gan-hinge": ["generator", "discriminator"],
        "aae": ["encoder", "decoder", "discriminator"],
        "infogan": ["classifier", "generator", "discriminator"],
        "ada-dann": ["encoder", "classifier", "discriminator"],
    }
    assert list(parts_of(small("pixelrnn-row").family)) == ["autoregressive"]
    assert list(parts_of(small("conditional_gan-given").family)["generator"].inputs) == ["code", "given"]


class Draws(torch.nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0] + torch.rand_like(inputs[0])


class Branches(torch.nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0] if bool(inputs[0].sum() > 0) else -inputs[0]


def test_a_part_that_differs_or_cannot_be_traced_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parts(family: Family) -> dict[str, Part]:
        x = {"x": torch.rand(3, 2)}
        others = {name: Part(module(), x, "y", "") for name, module in (("drawn", Draws), ("branch", Branches))}
        return parts_of(family) | others

    monkeypatch.setattr(exporting, "parts_of", parts)
    found = musegen.export(small("vae"), tmp_path / "out", to="torch")
    assert names(found) == ["encoder", "decoder"]
    assert "differs from torch by" in found.left_out["drawn"]
    assert "cannot trace it (" in found.left_out["branch"]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"encoder.pt2", "decoder.pt2", "export.json", "README.md"}
    assert "Left out: drawn, because it differs" in (tmp_path / "out" / "README.md").read_text()


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = small("rnn_nade")
    with pytest.raises(BadInput, match="Nothing of this model"):
        musegen.export(model, tmp_path / "out", to="torch")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        musegen.export(model, tmp_path / "full")
    with pytest.raises(BadInput, match="use onnx or torch"):
        musegen.export(model, tmp_path / "out", to="tflite")  # type: ignore[arg-type]
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(BadInput, match=r"pip install 'musegen\[export\]'"):
        musegen.export(model, tmp_path / "out")


def test_the_command_says_what_it_wrote(run: Any, tmp_path: Path) -> None:
    made = musegen.train("vae", "toy", out=tmp_path / "run", steps=1, sample_every=0, validate_every=0, quiet=True)
    done = run("export", made.path, "--torch-export", "--out", "files")
    assert done.code == 0
    assert "x (batch × 1 × 4 × 4)" in done.out
    assert "code (batch × 40)" in done.out
    assert len(json.loads(run("export", made.path, "--torch-export", "--out", "more", "--json").out)["parts"]) == 2
    for wrong in (("--onnx", "--torch-export"), ("--torch-export",), (), ("--torch-export", "m.safetensors")):
        assert run("export", made.path, *wrong).code == 2
