"""Make ``data/freedoom``: the MIDI files of the Freedoom soundtrack, from Debian's package.

Needs ``apt-get`` and ``dpkg-deb`` on a system whose package lists have this version (Debian 12 has);
Python's standard library otherwise. Nothing is installed.

    python data/make_freedoom.py
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from checksums import write_checksums

TARGET = Path(__file__).parent / "freedoom"
PACKAGE = "freedoom=0.12.1-2"
GAMES = ("freedoom1", "freedoom2")


def unpack(package: str, folder: Path) -> None:
    """Download a Debian package and unpack its files into ``folder``."""
    subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
    (deb,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", deb.name, "."], cwd=folder, check=True)


def lumps(wad: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each lump of a WAD file, in the order of its directory.

    A WAD is a 12-byte header (magic, number of lumps, offset of the directory), the lumps, and a directory
    of 16-byte entries (offset, size, name padded with zero bytes). All numbers are little-endian.
    """
    _, count, directory = struct.unpack_from("<4sii", wad)
    for i in range(count):
        start, size, name = struct.unpack_from("<ii8s", wad, directory + 16 * i)
        yield name.rstrip(b"\0").decode("ascii"), wad[start : start + size]


def main() -> None:
    """Fetch the package and write each MIDI lump once, named after its game and its lump."""
    TARGET.mkdir(exist_ok=True)
    for old in TARGET.glob("*.mid"):
        old.unlink()
    # Phase 1 plays one piece in two levels: the first name stays.
    written: dict[bytes, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        unpack(PACKAGE, folder)
        for game in GAMES:
            for lump, content in lumps((folder / f"usr/share/games/doom/{game}.wad").read_bytes()):
                name = f"{game}_{lump}.mid"
                if not content.startswith(b"MThd"):
                    continue
                if content in written:
                    print(f"{name} is the same as {written[content]}: left out")
                    continue
                written[content] = name
                (TARGET / name).write_bytes(content)
        shutil.copyfile(folder / "usr/share/doc/freedoom/copyright", TARGET / "COPYRIGHT")
    write_checksums(TARGET, "*.mid")
    print(f"{len(written)} files")


if __name__ == "__main__":
    main()
