"""Apple's GPUs, by a stand-in on the host (``standin_mps``): nothing is computed there that the device has no numbers for, nothing
on two devices at once, a resumed run is the whole one, and a seed draws the same. No test has run on such a machine yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from commands import bad
from configurations import ON_TOYS, configured
from standin_mps import OnDevice, stand_in

import musegen
from musegen.engine.checkpoint import newest_checkpoint
from musegen.engine.devices import choose_device
from musegen.errors import BadInput
from musegen.probability.mixture import CodeMixture
from musegen_pianoroll.measures.voices import FIFTH, parallels

METAL = "meta"
"""What the stand-in calls the device."""
SOME = ("vae", "gan-wasserstein", "gae-memory", "rnn_nade", "pixelcnn-gated")
FEW: dict[str, Any] = {
    "batch_size": 8,
    "validate_examples": 12,
    "sample_every": 0,
    "samples": 2,
    "ema": 0.9,
    "quiet": True,
}


def state(run: Any) -> dict[str, torch.Tensor]:
    """Weights, moments, generators: all that a checkpoint holds."""
    parts, _ = newest_checkpoint(run.path / "checkpoints")
    return {f"{part}/{name}": t for part, tensors in parts.items() for name, t in tensors.items()}


@pytest.mark.parametrize("key", [pytest.param(key, marks=() if key in SOME else pytest.mark.slow) for key in ON_TOYS])
def test_a_run_resumes_exactly_and_draws_the_same_of_a_seed(key: str, tmp_path: Path) -> None:
    name, options = configured(key, "toy")

    def train(out: str, steps: int, device: str) -> Any:
        return musegen.train(name, "toy", out=tmp_path / out, steps=steps, device=device, **FEW, **options)

    with stand_in():
        here, resumed = train("here", 4, METAL), train("resumed", 2, METAL)
        resumed = musegen.resume(resumed.path, steps=4, quiet=True)
        model = musegen.load(here.path, device=METAL)
        assert model.family.device.type == METAL
        assert all(isinstance(t, OnDevice) for t in model.family.parameters())
        if model.family.capabilities.sample:
            torch.testing.assert_close(model.sample(3, seed=1), model.sample(3, seed=1), rtol=0, atol=0)
    one, other = state(here), state(resumed)
    assert one.keys() == other.keys()
    for k, t in one.items():
        torch.testing.assert_close(other[k], t, rtol=0, atol=0, equal_nan=True)
    assert f"rng/{METAL}" in one  # a generator of its own, kept and gone on with
    assert all(t.device.type == "cpu" for t in one.values())


def test_codes_of_a_mixture_are_drawn_there() -> None:
    """Its bounds are summed in 64 bits."""
    mixture = CodeMixture(torch.tensor([0.2, 0.8]).log(), (), torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1))
    torch.manual_seed(0)
    wanted = mixture.sample(5)
    with stand_in():
        torch.mps._get_default_mps_generator().manual_seed(0)
        found = mixture.to(torch.device(METAL)).sample(5)
        assert isinstance(found, OnDevice)
        torch.testing.assert_close(found.cpu(), wanted)


def test_rules_of_voices_are_counted_there() -> None:
    """What the model chorale keeps to as it draws: two voices that move in fifths."""
    top = torch.tensor([[[67, 69], [60, 62]], [[67, 69], [60, 60]]])
    with stand_in():
        found = parallels(top.to(METAL), FIFTH)
        assert isinstance(found, OnDevice)
        assert found.tolist() == [1, 0]


def test_the_stand_in_refuses_what_the_device_refuses() -> None:
    with stand_in():
        x = torch.rand(2, device=METAL)
        with pytest.raises(TypeError, match="float64"):
            x.double()
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.ones(2)
        assert (x + torch.tensor(1.0)).device.type == METAL


def test_where_there_is_none_it_is_said(run: Any) -> None:
    if not torch.backends.mps.is_available():
        bad(run("train", "vae", "toy", "--device", "mps"), '"mps" is not there', "use auto or cpu")
    with stand_in():
        assert choose_device("auto").type != METAL  # it has to be asked for
        with pytest.raises(BadInput, match="is not there"):
            choose_device(f"{METAL}:1")


def test_several_processes_do_not_share_it(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    bad(run("train", "vae", "toy", "--device", "mps"), "--device mps is one device")
