"""Reading digits: idx files, Larochelle's binarised MNIST; and binarisation."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from musegen.errors import BadInput
from musegen.files import read_file
from musegen_image.limits import COUNTED_BYTES, IDX_CAP_BYTES, MATRIX_CAP_BYTES, MATRIX_ROWS, SUMS_CAP_BYTES

__all__ = [
    "binarise",
    "binarising",
    "holds_mnist",
    "read_idx",
    "read_mnist",
    "read_static_binarised",
]

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

N_VALID, VALID_SHARE = 10_000, 6
"""The last training images serve as validation: of MNIST the customary 10,000 of 60,000, of smaller sets every sixth."""


def read_idx(path: Path, sha256: str | None = None) -> np.ndarray:
    """An idx file, plain or gzipped.

    Args:
        path: the file.
        sha256: expected digest of the file as it lies on disk; None skips the check.

    Raises:
        BadInput: missing, damaged, truncated, longer than its header says, too large, or no idx file.
    """
    raw = read_file(path, IDX_CAP_BYTES)
    if sha256 is not None and hashlib.sha256(raw).hexdigest() != sha256:
        raise BadInput(f"The file {path} is damaged: its checksum is not the one in SHA256SUMS. Fetch it again.")
    content = _unzip(raw, path) if path.suffix == ".gz" else raw
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise BadInput(f"The file {path} is no idx file: its first bytes are wrong.")
    dtype, n_dims = np.dtype(IDX_TYPES[content[2]]), content[3]
    header = 4 + 4 * n_dims
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, min(header, len(content) - 3), 4))
    expected = header + dtype.itemsize * math.prod(shape)
    if len(shape) < n_dims or len(content) != expected:
        problem = "truncated" if len(content) < expected or len(shape) < n_dims else "longer than its header says"
        raise BadInput(f"The idx file {path} is {problem}: {len(content)} bytes instead of {expected}. Fetch it again.")
    return np.frombuffer(content, dtype, offset=header).reshape(shape)


def _unzip(raw: bytes, path: Path) -> bytes:
    """Unzip what an idx header claims, and a byte more if there is one.

    Raises:
        BadInput: it cannot be unzipped, or claims too much; or claims much and holds something else.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            claimed = _claimed(file)
            if claimed > IDX_CAP_BYTES:
                raise BadInput(
                    f"The idx file {path} claims {claimed:,} bytes, more than {IDX_CAP_BYTES:,}: give a part of it."
                )
            file.seek(0)
            if claimed > COUNTED_BYTES:
                n = _length(file, claimed + 1)
                if n != claimed:
                    problem = "truncated" if n < claimed else "longer than its header says"
                    raise BadInput(
                        f"The idx file {path} is {problem}: its header claims {claimed:,} bytes. Fetch it again."
                    )
                file.seek(0)
            return file.read(claimed + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"The file {path} is damaged: it cannot be unzipped ({error}). Fetch it again.") from None


def _claimed(file: gzip.GzipFile) -> int:
    """Bytes that an idx file has by its header; those of the header, if it is none."""
    start = file.read(4)
    sizes = file.read(4 * start[3]) if len(start) == 4 else b""
    if len(start) < 4 or len(sizes) < 4 * start[3]:
        return 4 + len(sizes)
    shape = [int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4)]
    return 4 + len(sizes) + np.dtype(IDX_TYPES.get(start[2], ">u1")).itemsize * math.prod(shape)


def _length(file: gzip.GzipFile, most: int) -> int:
    """How many bytes there are, up to ``most``; none of them is kept."""
    n = 0
    while n < most and (part := file.read(min(1 << 20, most - n))):
        n += len(part)
    return n


def read_mnist(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """MNIST by split: images uint8 ``(N, 28, 28)`` and labels uint8 ``(N,)``.

    Files are checked against ``SHA256SUMS`` if the folder has one. Sets that are not MNIST but come in its files
    (Fashion-MNIST, KMNIST) work too.

    Raises:
        BadInput: a file is missing, damaged, or does not match the other ones.
    """
    sums = _checksums(folder)
    images, labels = {}, {}
    for part in ("train", "t10k"):
        images[part] = _read_part(folder, f"{part}-images", "idx3-ubyte", sums)
        labels[part] = _read_part(folder, f"{part}-labels", "idx1-ubyte", sums)
        if images[part].ndim != 3 or images[part].shape[1:] != (28, 28) or labels[part].shape != images[part].shape[:1]:
            raise BadInput(
                f"The {part} files in {folder} do not belong together: images {images[part].shape}, labels {labels[part].shape}."
            )
    n = len(images["train"]) - min(N_VALID, len(images["train"]) // VALID_SHARE)
    return {
        "train": (images["train"][:n], labels["train"][:n]),
        "valid": (images["train"][n:], labels["train"][n:]),
        "test": (images["t10k"], labels["t10k"]),
    }


def _checksums(folder: Path) -> Mapping[str, str]:
    path = folder / "SHA256SUMS"
    if not path.is_file():
        return {}
    lines = read_file(path, SUMS_CAP_BYTES).decode("utf-8", "replace").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    if any(len(pair) < 2 for pair in pairs):
        raise BadInput(f"{path} is damaged: each line should hold a checksum and a name. Fetch it again, or remove it.")
    return {name.lstrip("*"): digest for digest, name in pairs}


def _read_part(folder: Path, stem: str, kind: str, sums: Mapping[str, str]) -> np.ndarray:
    for name in (f"{stem}-{kind}.gz", f"{stem}-{kind}", f"{stem}.{kind}.gz", f"{stem}.{kind}"):
        if (folder / name).is_file():
            return read_idx(folder / name, sums.get(name))
    raise BadInput(f"The folder {folder} has no {stem}-{kind}.gz: MNIST is four such files.")


def read_static_binarised(folder: Path) -> dict[str, np.ndarray]:
    """Larochelle's fixed binarisation (Larochelle & Murray 2011) by split: uint8 ``(N, 28, 28)`` of zeros and ones.

    Reads ``binarized_mnist_{train,valid,test}.amat`` as text or as MATLAB 5 files.

    Raises:
        BadInput: a file is missing or holds something else.
    """
    splits = {}
    for split in ("train", "valid", "test"):
        path = folder / f"binarized_mnist_{split}.amat"
        if not path.is_file():
            raise BadInput(f"The folder {folder} has no {path.name}: static binarisation is three such files.")
        raw = read_file(path, MATRIX_CAP_BYTES)
        x = _read_matlab(raw, path) if raw[:6] == b"MATLAB" else _read_amat_text(raw, path)
        if x.ndim != 2 or x.shape[1] != 784 or not np.isin(x, (0, 1)).all():
            raise BadInput(f"The file {path} is no binarised MNIST: it should hold rows of 784 zeros and ones.")
        splits[split] = x.astype(np.uint8).reshape(-1, 28, 28)
    return splits


def _read_matlab(raw: bytes, path: Path) -> np.ndarray:
    from scipy.io import loadmat, whosmat  # slow to import

    try:
        shapes = {name: shape for name, shape, _ in whosmat(io.BytesIO(raw))}
        if len(shapes["X"]) != 2 or shapes["X"][0] > MATRIX_ROWS or shapes["X"][1] != 784:
            return np.zeros(0)
        return np.asarray(loadmat(io.BytesIO(raw), variable_names=["X"])["X"])
    except Exception as error:  # loadmat raises whatever a damaged file leads it to
        raise BadInput(f"The file {path} is damaged ({error}). Fetch it again.") from None


def _read_amat_text(raw: bytes, path: Path) -> np.ndarray:
    digits = np.frombuffer(raw.translate(None, b" \r\n\t"), np.uint8) - ord("0")
    if not len(digits) or len(digits) % 784:
        raise BadInput(f"The file {path} is no binarised MNIST: it should hold rows of 784 zeros and ones.")
    return digits.reshape(-1, 784)


def binarise(x: Tensor, how: Literal["none", "threshold", "dynamic"], generator: torch.Generator) -> Tensor:
    """Grey values in [0, 1] to zeros and ones, same shape.

    ``threshold``: x > 0.5. ``dynamic``: a Bernoulli draw with probability x at every visit (Salakhutdinov & Murray 2008),
    from ``generator`` alone.
    """
    match how:
        case "threshold":
            return (x > 0.5).to(x.dtype)
        case "dynamic":
            return torch.bernoulli(x, generator=generator)
        case _:
            return x


def binarising(
    how: Literal["none", "threshold", "dynamic", "static"],
) -> Callable[[Tensor, torch.Generator], Tensor] | None:
    """How a batch is binarised when it is gathered; None if it is not."""
    if how == "none" or how == "static":
        return None
    return lambda x, generator: binarise(x, how, generator)


def holds_mnist(source: Path) -> bool:
    """Whether a folder has the files of MNIST."""
    return source.is_dir() and any(source.glob("train-images*idx3-ubyte*"))
