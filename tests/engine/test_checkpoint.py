"""Checkpoints and model files: exact, atomic, and distrustful."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from musegen.engine.checkpoint import (
    _digest,
    _model_digest,
    checkpoints,
    load_checkpoint,
    load_model_file,
    newest_checkpoint,
    prune,
    save_checkpoint,
    save_model_file,
)
from musegen.errors import BadInput
from musegen.files import temporary_path


def parts(value: float = 1.0) -> dict[str, dict[str, Tensor]]:
    shared = torch.full((3, 4), value)
    return {
        "weights": {"a": shared, "b": shared, "view": torch.arange(12.0).view(3, 4).T, "empty": torch.zeros(0)},
        "optimisers": {"p/0/step": torch.tensor(7.0)},
    }


def same(a: dict[str, dict[str, Tensor]], b: dict[str, dict[str, Tensor]]) -> bool:
    return all(torch.equal(a[part][name], b[part][name]) for part in a for name in a[part])


def test_round_trip(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, parts(), {"best": None, "history": [[1, "x", 0.1]]})
    loaded, manifest = newest_checkpoint(tmp_path)
    assert same(parts(), loaded)
    assert manifest["step"] == 5
    assert manifest["state"]["history"] == [[1, "x", 0.1]]


def test_any_flipped_bit_and_any_truncation_is_noticed(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path, 5, parts(), {"best": None})
    files = sorted(checkpoint.iterdir())
    rng = random.Random(0)
    for _ in range(300):
        file = rng.choice(files)
        original = file.read_bytes()
        damaged = bytearray(original)
        if rng.random() < 0.2:
            del damaged[rng.randrange(len(damaged)) :]
        else:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            loaded, _ = load_checkpoint(checkpoint)
        except BadInput as error:
            assert str(checkpoint) in str(error)
        else:
            # Only a change of the manifest's white space can pass, and then nothing is lost.
            assert file.name == "manifest.json"
            assert same(parts(), loaded)
        file.write_bytes(original)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, parts(1.0), {})
    newest = save_checkpoint(tmp_path, 6, parts(2.0), {})
    (newest / "weights.safetensors").write_bytes(b"")
    loaded, manifest = newest_checkpoint(tmp_path)
    assert manifest["step"] == 5
    assert same(parts(1.0), loaded)
    (tmp_path / "step_00000005" / "manifest.json").write_text("{")
    with pytest.raises(BadInput, match="step_00000006 is damaged"):
        newest_checkpoint(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no checkpoint"):
        newest_checkpoint(tmp_path)


@pytest.mark.parametrize("when", range(6))
def test_a_full_disk_leaves_earlier_checkpoints_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    save_checkpoint(tmp_path, 5, parts(1.0), {})
    calls = 0
    fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > when:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, 6, parts(2.0), {})
    monkeypatch.undo()
    loaded, manifest = newest_checkpoint(tmp_path)
    assert manifest["step"] == 5 or same(parts(2.0), loaded)
    assert not list(tmp_path.glob(".*"))  # nothing half-written stays behind


def test_pruning_keeps_the_last_two_and_the_best(tmp_path: Path) -> None:
    for step in range(1, 7):
        save_checkpoint(tmp_path, step, parts(), {})
    temporary_path(tmp_path / "step_00000009").mkdir()
    (tmp_path / "step_00000010").mkdir()  # killed in the middle of deleting: no manifest
    prune(tmp_path, keep={2})
    assert [int(p.name[5:]) for p in checkpoints(tmp_path)] == [2, 5, 6]
    assert len(list(tmp_path.iterdir())) == 3


def test_what_a_user_puts_beside_checkpoints_is_left_alone_and_is_none(tmp_path: Path) -> None:
    """Copies under other names, links, files, folders with nothing in them."""
    folder = tmp_path / "checkpoints"
    save_checkpoint(folder, 1, parts(1.0), {})
    own = [
        folder / name
        for name in ("step_best", "step_00000001 (copy)", "copy of step_00000001", "step_1", "step_9999999")
    ]
    for path in own:
        shutil.copytree(folder / "step_00000001", path)
    (folder / "step_00000099").symlink_to(folder / "step_best")
    (folder / "step_00000098").write_text("a note")
    (folder / "step_empty").mkdir()
    (folder / ".mine.tmp").write_text("a note")
    before = {path.name for path in folder.iterdir()}
    for step in range(2, 6):
        save_checkpoint(folder, step, parts(float(step)), {})
        prune(folder, keep=set())
    after = {path.name for path in folder.iterdir()}
    assert after - before == {"step_00000004", "step_00000005"}
    assert before - after == {"step_00000001"}
    assert newest_checkpoint(folder)[1]["step"] == 5
    assert [path.name for path in checkpoints(folder)] == ["step_00000004", "step_00000005"]


def rewrite_manifest(checkpoint: Path, **changes: Any) -> None:
    """A manifest as a stranger may write it, digest included."""
    path = checkpoint / "manifest.json"
    manifest = json.loads(path.read_bytes()) | changes
    manifest["sha256"] = _digest(manifest)
    path.write_text(json.dumps(manifest))


def test_another_format_version_is_named(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path, 5, parts(), {})
    rewrite_manifest(checkpoint, format=99)
    with pytest.raises(BadInput, match=r"format 99, and this musegen reads format 1"):
        load_checkpoint(checkpoint)


def test_a_manifest_cannot_point_outside(tmp_path: Path) -> None:
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes(save({"x": torch.ones(1)}))
    checkpoint = save_checkpoint(tmp_path / "run", 5, parts(), {})
    for name in ("../../secret.safetensors", str(secret)):
        rewrite_manifest(checkpoint, files={name: hashlib.sha256(secret.read_bytes()).hexdigest()})
        with pytest.raises(BadInput, match="missing"):
            load_checkpoint(checkpoint)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def hostile_files(target: Path) -> dict[str, bytes]:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    overlapping = json.dumps(
        {
            "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "y": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        }
    ).encode()
    return {
        "pickle": pickle.dumps(Evil(target)),
        "empty": b"",
        "giant header": struct.pack("<Q", 2**62) + b"{}",
        "lying shape": struct.pack("<Q", len(header)) + header + bytes(16),
        "overlap": struct.pack("<Q", len(overlapping)) + overlapping + bytes(12),
        "no metadata": save({"x": torch.ones(2)}),
        "metadata that is no JSON": save({"x": torch.ones(2)}, {"musegen": "{"}),
        "metadata of the wrong kind": save({"x": torch.ones(2)}, {"musegen": "[]"}),
        "config of the wrong kind": save(
            {"x": torch.ones(2)}, {"musegen": json.dumps({"format": "1", "config": "[]"})}
        ),
        "deep nesting": save({"x": torch.ones(2)}, {"musegen": "[" * 100_000}),
    }


@pytest.mark.parametrize("kind", hostile_files(Path()))
def test_hostile_model_files_are_refused_and_run_nothing(tmp_path: Path, kind: str) -> None:
    import musegen

    target, path = tmp_path / "owned", tmp_path / "model.safetensors"
    path.write_bytes(hostile_files(target)[kind])
    with pytest.raises(BadInput) as caught:
        musegen.load(path)
    assert str(path) in str(caught.value)
    assert not target.exists()


def test_model_file_round_trip_and_flipped_bits(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weights, config = parts()["weights"], {"family": "vae", "latent_dim": 3}
    save_model_file(path, weights, config)
    loaded, read = load_model_file(path)
    assert read == config
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)
    original = path.read_bytes()
    rng = random.Random(1)
    for _ in range(300):
        damaged = bytearray(original)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded, read = load_model_file(path)
        except BadInput:
            continue
        # Only white space of the header can change unnoticed, and then nothing is lost.
        assert read == config
        assert all(torch.equal(weights[name], loaded[name]) for name in weights)
    for length in range(0, len(original), 37):
        path.write_bytes(original[:length])
        with pytest.raises(BadInput):
            load_model_file(path)


def test_a_manifest_that_somebody_changed_is_noticed(tmp_path: Path) -> None:
    """Files and their sums are sound: only what the manifest says of the run is another."""
    save_checkpoint(tmp_path, 4, parts(1.0), {"best": {"step": 4}})
    checkpoint = save_checkpoint(tmp_path, 5, parts(2.0), {"best": {"step": 4}})
    path = checkpoint / "manifest.json"
    for old, new in (('"step": 5', '"step": 6'), ('"step": 4', '"step": 5'), ('"format": 1', '"format": 2')):
        text = path.read_text()
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(BadInput, match="is damaged: its manifest cannot be trusted"):
            load_checkpoint(checkpoint)
        assert newest_checkpoint(tmp_path)[1]["step"] == 4
        path.write_text(text)
    assert newest_checkpoint(tmp_path)[1]["step"] == 5


def test_the_digest_of_a_model_knows_names_types_shapes_and_values() -> None:
    x = torch.arange(6, dtype=torch.float32)
    others = [
        {"a": x.view(2, 3)},
        {"a": x.view(3, 2)},
        {"b": x},
        {"a": x.view(torch.int32)},
        {"a": x + 1},
        {"a": x, "b": x},
    ]
    digests = [_model_digest(tensors, "c") for tensors in [{"a": x}, *others]] + [_model_digest({"a": x}, "d")]
    assert len(set(digests)) == len(digests)
    assert _model_digest({"a": x, "b": x + 1}, "c") == _model_digest({"b": x + 1, "a": x.clone()}, "c")


def test_a_checkpoint_counts_no_more_before_it_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in the middle of deleting must not leave a manifest beside files that are gone."""
    for step in range(1, 4):
        save_checkpoint(tmp_path, step, parts(), {})

    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(Killed):
        prune(tmp_path, keep=set())
    assert not (tmp_path / "step_00000001" / "manifest.json").exists()
    assert (tmp_path / "step_00000001" / "weights.safetensors").exists()
    assert [path.name for path in checkpoints(tmp_path)] == ["step_00000002", "step_00000003"]


def test_a_model_file_keeps_the_order_of_its_options(tmp_path: Path) -> None:
    """Tracks are told by their place in a mapping: sorted by name, a flute would read the part of a bass."""
    config = {"tracks": {"Melody": {"program": 73}, "Bass": {"program": 32}}, "steps": 1}
    save_model_file(tmp_path / "a.safetensors", {"w": torch.zeros(1)}, config)
    _, found = load_model_file(tmp_path / "a.safetensors")
    assert json.dumps(found) == json.dumps(config)
