"""Reading digits: idx files, Larochelle's binarised MNIST; and binarisation."""

from __future__ import annotations

import gzip
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from musegen.errors import BadInput

__all__ = [
    "binarise",
    "read_idx",
    "read_mnist",
    "read_static_binarised",
]

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IDX_CAP_BYTES = 1 << 30

N_VALID = 10_000
"""The last training images of MNIST serve as validation: the customary 50,000 / 10,000 / 10,000."""


def read_idx(path: Path, sha256: str | None = None) -> np.ndarray:
    """An idx file, plain or gzipped.

    Args:
        path: the file.
        sha256: expected digest of the file as it lies on disk; None skips the check.

    Raises:
        BadInput: missing, damaged, truncated, longer than its header says, or no idx file.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadInput(f"The file {path} cannot be read: {error.strerror}.") from None
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
    """Unzip at most what an idx header may claim, so that a gzip bomb cannot fill the memory."""
    import io

    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            content = file.read(4)
            if len(content) == 4:
                content += file.read(4 * content[3])
                shape = (
                    np.frombuffer(content[4 : 4 + 4 * content[3]], ">u4") if len(content) == 4 + 4 * content[3] else ()
                )
                size = np.dtype(IDX_TYPES.get(content[2], ">u1")).itemsize * math.prod(int(n) for n in shape)
                content += file.read(min(size, IDX_CAP_BYTES) + 1)
            return content
    except (OSError, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        raise BadInput(f"The file {path} is damaged: it cannot be unzipped ({error}). Fetch it again.") from None


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
    n = max(1, len(images["train"]) - N_VALID)
    return {
        "train": (images["train"][:n], labels["train"][:n]),
        "valid": (images["train"][n:], labels["train"][n:]),
        "test": (images["t10k"], labels["t10k"]),
    }


def _checksums(folder: Path) -> Mapping[str, str]:
    path = folder / "SHA256SUMS"
    if not path.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in path.read_text("utf-8").splitlines() if line.strip())
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
        x = _read_matlab(path) if path.read_bytes()[:6] == b"MATLAB" else _read_amat_text(path)
        if x.ndim != 2 or x.shape[1] != 784 or not np.isin(x, (0, 1)).all():
            raise BadInput(f"The file {path} is no binarised MNIST: it should hold rows of 784 zeros and ones.")
        splits[split] = x.astype(np.uint8).reshape(-1, 28, 28)
    return splits


def _read_matlab(path: Path) -> np.ndarray:
    from scipy.io import loadmat  # slow to import

    try:
        return np.asarray(loadmat(path)["X"])
    except Exception as error:  # loadmat raises whatever a damaged file leads it to
        raise BadInput(f"The file {path} is damaged ({error}). Fetch it again.") from None


def _read_amat_text(path: Path) -> np.ndarray:
    digits = np.frombuffer(path.read_bytes().translate(None, b" \r\n\t"), np.uint8) - ord("0")
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
