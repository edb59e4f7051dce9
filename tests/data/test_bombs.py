"""Files of some kilobytes that would fill the memory are refused in little of it, and soon."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from peak_memory import measured

from musegen.models.loading import load
from musegen.options import load_yaml
from musegen_image.data import read_idx, read_static_binarised
from musegen_image.reading import read_pictures
from musegen_image.targets import read_usps
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.reading.lpd import read_npz
from musegen_pianoroll.reading.piece import read_piece

MOST_MB, MOST_S = 512, 1.0
"""Of the whole process, torch included, for whatever is refused."""


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def zeros_gz(n: int, start: bytes = b"") -> bytes:
    """A gzip file of a beginning and n zeros."""
    packed = io.BytesIO()
    with gzip.open(packed, "wb", 1) as file:
        file.write(start)
        for _ in range(n >> 20):
            file.write(bytes(1 << 20))
    return packed.getvalue()


def png(width: int, height: int, share: float = 1.0) -> bytes:
    """A PNG of zeros with transparency, or the first part of one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(1), bytes(1 + 4 * width)
    data = b"".join([packer.compress(row) for _ in range(height)] + [packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return whole[: int(share * len(whole))]


def lakh(n_tracks: int, n_cells: int) -> bytes:
    """A Lakh pianoroll whose tracks have so many cells each, every one a note of its own."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        info = {str(i): {"name": "x", "program": 0, "is_drum": False} for i in range(n_tracks)}
        archive.writestr("info.json", json.dumps({**info, "resolution": 24}))
        per_pitch = n_cells // 128
        arrays = {
            "data": np.arange(128 * per_pitch) % 100 + 1,
            "indices": np.tile(np.arange(per_pitch), 128),
            "indptr": np.arange(129) * per_pitch,
            "shape": np.array([1_000_000, 128]),
        }
        parts = {name: npy(array.astype(np.int32)) for name, array in arrays.items()}
        for track in range(n_tracks):
            for name, part in parts.items():
                archive.writestr(f"pianoroll_{track}_csc_{name}.npy", part)
    return content.getvalue()


def midi(*events: bytes) -> bytes:
    track = b"".join(events) + b"\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 1) + b"MTrk" + struct.pack(">I", len(track)) + track


NO_TENSOR = b'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
NOTE = b"\x00\x90\x3c\x40\x01\x80\x3c\x40"
FAR = b"\x82\xff\x00\x90\x3c\x40\x01\x80\x3c\x40"  # 49,024 ticks later, of one to a beat
BOMBS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object], str]] = {
    "a picture of 64 million pixels": ("a.png", lambda: png(8000, 8000), lambda p: read_pictures([p]), "more than 50,000,000"),
    "a picture cut off": ("a.png", lambda: png(6900, 6900, 0.9), lambda p: read_pictures([p]), "damaged"),
    "sixteen pictures cut off": ("a.png", lambda: png(4000, 4000, 0.9), lambda p: read_pictures([p] * 16), "damaged"),
    "a set of digits that claims more than any": (
        "train-images-idx3-ubyte.gz",
        lambda: zeros_gz(300 << 20, b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 28, 28)),
        read_idx,
        "claims 1,683,627,180,048 bytes",
    ),
    "a set of digits that is longer than it claims": (
        "train-images-idx3-ubyte.gz",
        lambda: zeros_gz(300 << 20, b"\0\0\x08\x03" + struct.pack(">3I", 300_000, 28, 28)),
        read_idx,
        "longer than its header says",
    ),
    "postal digits": ("zip.train.gz", lambda: zeros_gz(300 << 20), lambda p: read_usps(p.parent), "more than 67,108,864"),
    "one track of Lakh": ("a.npz", lambda: lakh(1, 4_000_000), lambda p: read_npz(p.read_bytes(), p), "more than 2,000,000"),
    "many tracks of Lakh": ("a.npz", lambda: lakh(8, 400_000), lambda p: read_npz(p.read_bytes(), p), "more than 2,000,000"),
    "a model of a million tensors": (
        "a.safetensors",
        lambda: _safetensors(b"{" + b",".join(b'"%d":%s' % (i, NO_TENSOR) for i in range(200_000)) + b"}"),
        load,
        "a header of ",
    ),
    "a model file of brackets": (
        "a.safetensors",
        lambda: _safetensors(b'{"__metadata__":' + b"[" * 5_000_000 + b"}"),
        load,
        "damaged",
    ),
    "two notes 49,024 beats apart": (
        "a.mid",
        lambda: midi(NOTE, FAR),
        lambda p: read_piece(p, PianorollConfig().reading(), True, 1000, 16),
        "bars",
    ),
}  # fmt: skip
SPARSE: dict[str, tuple[Callable[[Path], object], str]] = {
    "config.yaml": (load_yaml, "more than 1,048,576 bytes"),
    "a.safetensors": (load, "damaged|is no model file"),
    "binarized_mnist_train.amat": (lambda p: read_static_binarised(p.parent), "more than 268,435,456 bytes"),
    "train-images-idx3-ubyte": (read_idx, "more than 1,073,741,824 bytes"),
}


def _safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def measure_all(folder: Path) -> dict[str, tuple[int, float, str]]:
    """Memory, time and message of everything, and of 300 MB that are used up."""
    warnings.simplefilter("ignore")
    found = {"300 MB": measured(lambda: torch.ones(75_000_000).sum()), "nothing": measured(lambda: None)}
    for i, (bomb, (name, make, read, _)) in enumerate(BOMBS.items()):
        path = folder / str(i) / name
        path.parent.mkdir()
        path.write_bytes(make())
        assert path.stat().st_size < 32e6
        found[bomb] = measured(partial(read, path))
    for name, (read, _) in SPARSE.items():
        with (folder / name).open("wb") as file:
            file.truncate(20 << 30)
        found[name] = measured(partial(read, folder / name))
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, float, str]]:
    """In a process that has done nothing else."""
    folder = tmp_path_factory.mktemp("bombs")
    done = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_in_little_memory(found: dict[str, tuple[int, float, str]], bomb: str) -> None:
    megabytes, seconds, said = found[bomb]
    assert BOMBS[bomb][3] in said
    assert megabytes <= MOST_MB
    assert seconds <= (3 * MOST_S if "longer" in bomb or "sixteen" in bomb else MOST_S)


@pytest.mark.parametrize("name", SPARSE)
def test_files_of_many_gigabytes_are_refused_unread(found: dict[str, tuple[int, float, str]], name: str) -> None:
    """Sparse: they take no room on the disk."""
    megabytes, seconds, said = found[name]
    assert re.search(SPARSE[name][1], said), said
    assert megabytes <= MOST_MB
    assert seconds <= MOST_S


def test_memory_is_measured(found: dict[str, tuple[int, float, str]]) -> None:
    """What is asserted above could fail."""
    assert found["300 MB"][0] - found["nothing"][0] >= 250
    assert found["300 MB"][2] == ""


if __name__ == "__main__":
    print(json.dumps(measure_all(Path(sys.argv[1]))))
