"""Every family on every domain: trains, resumes exactly, samples, saves and loads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from configurations import DOMAINS, PAIRS, configured, is_quick
from torch import Tensor
from toy import ToyDomain

import musegen
from musegen.contracts.dataset import Batch
from musegen.data.batches import Batches
from musegen.engine.checkpoint import load_checkpoint, newest_checkpoint
from musegen.errors import BadInput
from musegen.families import inversion
from musegen.running.runs import Run
from musegen.running.samples import seeded

STEPS, SAVED, CRASH = 8, 4, 6
"""Of the run; of its checkpoint; done when it is killed. Phases of families (warm-up, pretraining …) end after ``SAVED``."""
RUN = {
    "steps": STEPS,
    "batch_size": 8,
    "log_every": 3,
    "validate_every": SAVED,
    "validate_examples": 12,
    "checkpoint_every": SAVED,
    "sample_every": STEPS,
    "samples": 2,
    "ema": 0.9,
    "schedule": "cosine",
    "clip_norm": 5.0,
    "device": "cpu",
}


@pytest.fixture
def source(
    band_store: Path, picture_folder: Path, sound_folder: Path, array_file: Path
) -> Callable[[str], Path | None]:
    files = {"image": picture_folder, "pianoroll": band_store, "audio": sound_folder, "array": array_file}
    return files.get


def same_parts(a: dict[str, dict[str, Tensor]], b: dict[str, dict[str, Tensor]]) -> list[str]:
    """Names of tensors that differ in a single bit."""
    assert {part: set(tensors) for part, tensors in a.items()} == {part: set(tensors) for part, tensors in b.items()}
    bits = lambda t: t.contiguous().reshape(-1).view(torch.uint8)  # noqa: E731  NaN equals itself
    return [
        f"{part}/{name}" for part in a for name in a[part] if not torch.equal(bits(a[part][name]), bits(b[part][name]))
    ]


def logged(run: Run) -> list[dict[str, Any]]:
    """Metrics without the clock."""
    return [{k: v for k, v in row.items() if k != "steps_per_s"} for row in run.metrics()]


@pytest.mark.parametrize(
    ("family_key", "domain_key"),
    [pytest.param(*pair, marks=() if is_quick(*pair) else pytest.mark.slow) for pair in PAIRS],
)
def test_train_crash_resume_sample_save_load(
    family_key: str,
    domain_key: str,
    tmp_path: Path,
    source: Callable[[str], Path | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    domain, domain_options = DOMAINS[domain_key]
    family, options = configured(family_key, domain, domain_options)
    options = RUN | options | {"data": source(domain), "quiet": True}
    killed = tmp_path / "killed"
    get = Batches.__getitem__

    def watched(self: Batches, step: int) -> Batch:
        if step == CRASH and not killed.exists():  # what kill -9 would leave behind
            shutil.copytree(tmp_path / "whole", killed)
        return get(self, step)

    monkeypatch.setattr(Batches, "__getitem__", watched)
    monkeypatch.setattr(inversion, "STARTS", 2)  # codes of GANs, that need not be good here
    monkeypatch.setattr(inversion, "STEPS", 3)
    whole = musegen.train(family, domain, out=tmp_path / "whole", **options)
    assert newest_checkpoint(killed / "checkpoints")[1]["step"] == SAVED
    assert Run(killed).metrics()[-1]["step"] == CRASH  # more than the checkpoint knows of
    torch.rand(5)  # a new process would have other generators
    resumed = musegen.resume(
        killed, quiet=True, sample_every=0
    )  # to write samples must leave no trace in what is learnt

    ours, manifest = newest_checkpoint(resumed.checkpoints)
    theirs, their_manifest = newest_checkpoint(whole.checkpoints)
    assert manifest["step"] == their_manifest["step"] == STEPS
    assert same_parts(ours, theirs) == []
    assert manifest["state"]["best"] == their_manifest["state"]["best"]
    assert logged(resumed) == logged(whole)
    (ours_in_the_end, theirs_in_the_end) = (run.config() for run in (resumed, whole))
    assert ours_in_the_end.domain_config == theirs_in_the_end.domain_config
    assert ours_in_the_end.writing == theirs_in_the_end.writing  # what is calibrated in the end
    model = musegen.load(whole.path)
    can = model.family.capabilities
    written = {path.name for path in (whole.path / "samples").glob(f"step_{STEPS}/*")}
    assert ("picture.png" in written and len(written) == 1 + RUN["samples"]) == (can.sample or can.reconstruct)
    use(model, tmp_path)


def use(model: musegen.Model, folder: Path) -> None:
    """Whatever the family says it can do, it does; what it cannot, it refuses in one sentence."""
    shape = model.domain.spec.shape
    can = model.family.capabilities
    x = next(Batches(model.domain.synthetic(4).splits["train"], 4, 0, torch.device("cpu")).once()).x
    calls: dict[str, Callable[[musegen.Model], Tensor]] = {
        "sample": lambda model: model.sample(3, seed=1),
        "encode": lambda model: model.encode(x),
        "reconstruct": lambda model: model.reconstruct(x),
        "log_prob": lambda model: model.log_prob(x, 2),
        "continue_": lambda model: model.continue_(x[0, :, :3], 5, n=2, seed=1),
    }
    found = {}
    for name, call in calls.items():
        if getattr(can, name):
            found[name] = call(model)
            assert found[name].isfinite().all()
            continue
        with pytest.raises(BadInput, match=f"cannot {name.rstrip('_')}; these can: "):
            call(model)
    if can.encode and can.decode:
        path = model.interpolate(x[0], x[1], steps=5)
        assert path.shape == (5, *shape)
        # Batched and single passes may round differently in the last bit.
        torch.testing.assert_close(path[[0, -1]], model.reconstruct(x[:2]), atol=1e-4, rtol=1e-3)
    if can.classify:
        log_p = model.classify(x)
        torch.testing.assert_close(log_p.exp().sum(1), torch.ones(len(x)))
    # The same seed, the same numbers: of a copy, made after the model has been used, so that use must change nothing in it.
    model.save(folder / "model.safetensors")
    copy = musegen.load(folder / "model.safetensors")
    assert copy.config == {**model.config, "data": None}
    for name, result in found.items():
        assert torch.equal(calls[name](copy), result)
    if not (can.sample or can.reconstruct):
        return
    shown = found["sample"] if can.sample else found["reconstruct"][:3]
    assert shown.shape == (3, *shape)
    files = model.write(shown, folder / "native")
    assert [file.exists() for file in files] == [True] * 3
    (again,) = model.write(shown[:1], folder / "again")
    assert again.read_bytes() == files[0].read_bytes()


def test_the_best_checkpoint_is_what_load_gives(tmp_path: Path) -> None:
    options = RUN | {"steps": 60, "validate_every": 10, "learning_rate": 3e-2, "latent_dim": 2, "quiet": True}
    run = musegen.train("vae", "toy", out=tmp_path / "run", **options)
    values = {row["step"]: row["autoencoder/nelbo"] for row in run.metrics() if row["kind"] == "valid"}
    best = min(values, key=lambda step: values[step])
    parts, manifest = newest_checkpoint(run.checkpoints)
    assert manifest["state"]["best"]["step"] == best
    expected, _ = load_checkpoint(run.checkpoints / f"step_{best:08d}")
    loaded = musegen.load(run.path).family.state_dict()
    assert same_parts({"average": loaded}, {"average": expected["average"]}) == []
    last = musegen.load(run.path, checkpoint="last").family.state_dict()
    assert same_parts({"average": last}, {"average": parts["average"]}) == []
    with pytest.raises(BadInput, match="keeps no checkpoint of step 3"):
        musegen.load(run.path, checkpoint="3")


def test_early_stopping(tmp_path: Path) -> None:
    options = RUN | {
        "steps": 5000,
        "validate_every": 5,
        "early_stop": 3,
        "learning_rate": 0.3,
        "examples": 16,
        "quiet": True,
    }
    run = musegen.train("vae", "toy", out=tmp_path / "run", **options)
    _, manifest = newest_checkpoint(run.checkpoints)
    best = manifest["state"]["best"]
    assert manifest["step"] < 5000
    assert manifest["step"] == best["step"] + 15
    with pytest.raises(BadInput, match="no validation loss"):
        musegen.train("gan", "toy", out=tmp_path / "gan", early_stop=2, quiet=True)
    assert not (tmp_path / "gan").exists()


def test_the_best_checkpoint_is_what_is_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain is shown samples of the weights that samples will be drawn with, and not of the last ones."""
    seen: list[Tensor] = []

    def calibrate(self: ToyDomain, samples: Tensor, reference: Tensor) -> Any:
        seen.append(samples)
        return self.writing

    monkeypatch.setattr(ToyDomain, "calibrate", calibrate)
    options = {"steps": 5000, "validate_every": 5, "early_stop": 3, "learning_rate": 0.3, "examples": 16}
    run = musegen.train("vae", "toy", out=tmp_path / "run", quiet=True, **(RUN | options))
    drawn = {}
    for checkpoint in ("best", "last"):
        model = musegen.load(run.path, checkpoint=checkpoint)
        with seeded(run.config().run.seed, torch.device("cpu")), torch.no_grad():
            drawn[checkpoint] = model.family.sample(64)
    assert torch.equal(seen[0][:64], drawn["best"])
    assert not torch.equal(drawn["best"], drawn["last"])


def test_a_loss_that_is_not_a_number_stops_training_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Batches.__getitem__

    def poisoned(self: Batches, step: int) -> Batch:
        batch = get(self, step)
        return Batch(batch.x * float("nan"), batch.index, batch.label) if step == 11 else batch

    monkeypatch.setattr(Batches, "__getitem__", poisoned)
    options = RUN | {"steps": 100, "log_every": 2, "checkpoint_every": 5, "validate_every": 0, "quiet": True}
    with pytest.raises(musegen.TrainingDiverged, match="step 11") as caught:
        musegen.train("vae", "toy", out=tmp_path / "run", **options)
    assert caught.value.exit_code == 1
    _, manifest = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert manifest["step"] == 10
    assert musegen.load(tmp_path / "run").sample(2).isfinite().all()


def test_data_that_are_not_numbers_never_get_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(musegen.TrainingDiverged, match="before the first step"):
        musegen.train("vae", "toy", out=tmp_path / "run", fault="nan", steps=3, log_every=1, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_resume_refuses_what_would_change_the_past(tmp_path: Path) -> None:
    for name in ("first", "another"):
        (tmp_path / name).write_text("data")
    options = RUN | {"steps": 4, "quiet": True, "data": tmp_path / "first"}
    run = musegen.train("ae", "toy", out=tmp_path / "run", **options)
    with pytest.raises(BadInput, match="has done its 4 steps"):
        musegen.resume(run.path)
    with pytest.raises(BadInput, match='"batch_size" cannot change'):
        musegen.resume(run.path, batch_size=3)
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace("/first", "/another"))
    with pytest.raises(BadInput, match=r"data of .* have changed"):
        musegen.resume(run.path, steps=6, quiet=True)
    with pytest.raises(BadInput, match="does not exist"):
        musegen.resume(tmp_path / "nowhere")


def test_a_run_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    options = RUN | {"steps": 2, "quiet": True}
    run = musegen.train("ae", "toy", out=tmp_path / "run", **options)
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    with pytest.raises(BadInput, match="exists: choose another with out=FOLDER"):
        musegen.train("ae", "toy", out=run.path, **options)
    # A run that cannot start replaces nothing either, even with overwrite.
    with pytest.raises(BadInput):
        musegen.train("ae", "toy", out=run.path, overwrite=True, **options | {"latent_dim": 0})
    with pytest.raises(BadInput):
        musegen.train("gan", "toy", out=run.path, overwrite=True, **options | {"early_stop": 1})
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before
    musegen.train("vae", "toy", out=run.path, overwrite=True, **options)
    assert run.config().family.name == "vae"
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="no run of musegen"):
        musegen.train("ae", "toy", out=stranger, overwrite=True, **options)
    assert (stranger / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "stranger"]


def test_an_extended_run_goes_on(tmp_path: Path) -> None:
    """More steps than planned: with a constant rate it is the run that was longer from the start."""
    options = RUN | {"schedule": "constant", "quiet": True}
    longer = musegen.train("vae", "toy", out=tmp_path / "longer", **options | {"steps": 12})
    shorter = musegen.train("vae", "toy", out=tmp_path / "shorter", **options | {"steps": 6, "sample_every": 0})
    musegen.resume(shorter.path, steps=12, quiet=True)
    ours, theirs = (newest_checkpoint(run.checkpoints)[0] for run in (longer, shorter))
    assert same_parts(ours, theirs) == []


def test_config_yaml_alone_trains_the_same_again(tmp_path: Path) -> None:
    options = RUN | {"latent_dim": 3, "widths": [8, 8], "quiet": True}
    one = musegen.train("vae", "toy", out=tmp_path / "one", **options)
    other = musegen.train("vae", "toy", out=tmp_path / "other", config=one.path / "config.yaml", quiet=True)
    assert same_parts(newest_checkpoint(one.checkpoints)[0], newest_checkpoint(other.checkpoints)[0]) == []
    assert one.path.joinpath("config.yaml").read_bytes() == other.path.joinpath("config.yaml").read_bytes()
