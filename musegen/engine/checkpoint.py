"""Checkpoints and model files: safetensors plus JSON, nothing that can run code.

A checkpoint is a folder ``step_00001000`` with ``*.safetensors`` files and, written last, ``manifest.json`` with the
SHA-256 of each. It is written under a temporary name, flushed to disk and renamed, so at every moment either the
whole checkpoint exists or none of it. A model file is one safetensors file whose header carries the configuration.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from musegen.errors import BadInput, because_of
from musegen.files import (
    FORMAT,
    check_format,
    content_of,
    regular,
    remove_leftovers,
    sync_folder,
    temporary_path,
    write_atomically,
    write_file,
)
from musegen.limits import HEADER_CAP_BYTES, RECORD_CAP_BYTES

__all__ = [
    "begun",
    "checkpoints",
    "load_checkpoint",
    "load_model_file",
    "newest_checkpoint",
    "prune",
    "read_model_config",
    "read_model_needs",
    "save_checkpoint",
    "save_model_file",
]

Tensors = Mapping[str, Tensor]
_NAME = re.compile(r"step_\d{8,12}")


def _serialise(tensors: Tensors, metadata: dict[str, str] | None = None) -> bytes:
    # safetensors refuses tensors that share memory; a copy on the CPU never does.
    return save({name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}, metadata)


def save_checkpoint(folder: Path, step: int, parts: Mapping[str, Tensors], state: Mapping[str, Any]) -> Path:
    """Write the checkpoint of ``step`` into ``folder``.

    Args:
        folder: ``checkpoints/`` of a run.
        parts: named groups of tensors, one safetensors file each (weights, optimisers, rng …).
        state: whatever JSON can hold (metrics, configuration).

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: the disk is full or read-only, or the run folder is gone. Earlier checkpoints are untouched.
    """
    folder.mkdir(exist_ok=True)
    final = folder / f"step_{step:08d}"
    temporary, aside = temporary_path(final), temporary_path(final)
    temporary.mkdir()
    try:
        hashes = {}
        for name, tensors in parts.items():
            content = _serialise(tensors)
            hashes[f"{name}.safetensors"] = hashlib.sha256(content).hexdigest()
            write_atomically(temporary / f"{name}.safetensors", content)
        manifest = {"format": FORMAT, "step": step, "files": hashes, "state": state}
        manifest["sha256"] = _digest(manifest)
        write_atomically(temporary / "manifest.json", json.dumps(manifest, indent=1).encode())
        if final.exists():  # the same step again, after a resume: the older one goes only now
            final.replace(aside)
        temporary.replace(final)
        sync_folder(folder)
    finally:
        for leftover in (temporary, aside):
            shutil.rmtree(leftover, ignore_errors=True)
    return final


def _digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over the manifest without its own digest."""
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in ``folder`` that have a manifest, oldest first."""
    return [path for path in begun(folder) if (path / "manifest.json").exists()]


def begun(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, whole or not, oldest first; whatever else somebody put there is none."""
    if not folder.is_dir():
        return []
    found = [
        path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        BadInput: it is damaged, or of another format version.
    """
    try:
        manifest = json.loads(content_of(path / "manifest.json", RECORD_CAP_BYTES))
        intact = isinstance(manifest, dict) and manifest.get("sha256") == _digest(manifest)
    except (OSError, ValueError, RecursionError):
        intact = False
    if not intact:
        raise BadInput(f"The checkpoint {path} is damaged: its manifest cannot be trusted.")
    check_format(manifest.get("format"), path)
    return manifest


def load_checkpoint(
    path: Path, device: torch.device | str = "cpu"
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Parts and manifest of one checkpoint, every byte checked against its hash.

    Raises:
        BadInput: a file is missing or damaged, or the format is another version's.
    """
    manifest = read_manifest(path)
    parts = {}
    for name, expected in manifest["files"].items():
        # Names come from a manifest that a stranger may have written: only plain names beside it are opened.
        file = path / Path(name).name
        try:
            with open(regular(file), "rb") as stream:
                actual = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            raise BadInput(f"The checkpoint {path} is damaged: {name} is missing.") from None
        if actual != expected:
            raise BadInput(f"The checkpoint {path} is damaged: {name} does not match its checksum.")
        parts[file.stem] = _read_tensors(file, device)[0]
    return parts, manifest


def newest_checkpoint(
    folder: Path, device: torch.device | str = "cpu"
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The newest checkpoint that is intact; a damaged one falls back to the one before it.

    Raises:
        BadInput: none is intact; the message is about the newest.
    """
    problem = BadInput(f"There is no checkpoint in {folder} yet: begin the run again with musegen resume.")
    if parts := begun(folder):
        problem = BadInput(f"The checkpoint {parts[-1]} is damaged: its manifest is missing.")
    for i, path in enumerate(reversed(checkpoints(folder))):
        try:
            return load_checkpoint(path, device)
        except BadInput as error:
            problem = error if i == 0 else problem
    raise problem


def prune(folder: Path, keep: Container[int | None], last: int = 2) -> None:
    """Delete all checkpoints but the ``last`` newest and those of the steps in ``keep``; also what a kill left half-written."""
    for path in checkpoints(folder)[:-last]:
        if int(path.name.removeprefix("step_")) not in keep:
            # Without its manifest it no longer counts, so a kill in the middle of deleting leaves no half checkpoint.
            (path / "manifest.json").unlink()
            shutil.rmtree(path)
    for path in begun(folder):
        if not (path / "manifest.json").exists():
            shutil.rmtree(path, ignore_errors=True)
    remove_leftovers(folder)


def _read_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, str]]:
    _check_header(path)
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"The file {path} is damaged or is no model file of musegen ({error}).") from None


def _check_header(path: Path) -> None:
    """Refuse what is no regular file, or claims so many tensors that their names alone would fill the memory.

    Raises:
        BadInput: it is, does, or cannot be read.
    """
    try:
        with open(regular(path), "rb") as file:
            n = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise because_of(error, f"The file {path} cannot be read: {error.strerror}.") from None
    if n > HEADER_CAP_BYTES:
        raise BadInput(f"The file {path} is damaged or is no model file of musegen (a header of {n:,} bytes).")


def _model_digest(tensors: Tensors, config: str) -> str:
    """SHA-256 over weights and configuration."""
    digest = hashlib.sha256(config.encode())
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_model_file(
    path: Path,
    weights: Tensors,
    config: Mapping[str, Any],
    needs: Sequence[Mapping[str, str]] = (),
    half: bool = False,
) -> None:
    """Write weights and configuration as one safetensors file, with the plugins that it needs (``musegen.plugins.needs``).

    Args:
        half: float32 becomes float16, in half the space; what is read is float32 again.

    Raises:
        BadInput: the place cannot be written to.
    """
    if half:
        weights = {name: w.half() if w.dtype == torch.float32 else w for name, w in weights.items()}
    text = json.dumps(config)  # in its own order, which a mapping of tracks is told by
    header = {"format": str(FORMAT), "config": text, "sha256": _model_digest(weights, text), "needs": list(needs)}
    write_file(path, _serialise(weights, {"musegen": json.dumps(header)}))


def load_model_file(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and configuration of a model file.

    Raises:
        BadInput: it is missing, damaged, no model file, or of another format version.
    """
    weights, metadata = _read_tensors(path, device)
    digest, text, config = _model_header(path, metadata)
    if digest != _model_digest(weights, text):
        raise BadInput(f"The model file {path} is damaged: its contents do not match their checksum.")
    return {name: w.float() if w.dtype == torch.float16 else w for name, w in weights.items()}, config


def read_model_config(path: Path) -> dict[str, Any]:
    """The configuration of a model file, unchecked and without its weights: good for a list.

    Raises:
        BadInput: as ``load_model_file``.
    """
    return _model_header(path, _read_metadata(path))[2]


def read_model_needs(path: Path) -> Any:
    """What a model file says of the plugins that it needs; unchecked, so a stranger may have written anything.

    Raises:
        BadInput: as ``load_model_file``.
    """
    metadata = _read_metadata(path)
    _model_header(path, metadata)
    return json.loads(metadata["musegen"]).get("needs", ())


def _read_metadata(path: Path) -> dict[str, str]:
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"The file {path} is damaged or is no model file of musegen ({error}).") from None


def _model_header(path: Path, metadata: Mapping[str, str]) -> tuple[Any, str, dict[str, Any]]:
    """Checksum, and configuration as text and as what it says."""
    try:
        header = json.loads(metadata["musegen"])
        version, text = int(header["format"]), str(header["config"])
        config = dict(json.loads(text))
    except (KeyError, ValueError, TypeError, RecursionError):
        raise BadInput(f"The file {path} is no model file of musegen: its header has no configuration.") from None
    check_format(version, path)
    return header.get("sha256"), text, config
