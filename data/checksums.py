"""Write the list of checksums that each folder of data carries, in the format of ``sha256sum``."""

from __future__ import annotations

import hashlib
from pathlib import Path


def write_checksums(folder: Path, pattern: str) -> None:
    """Write ``SHA256SUMS`` for the files in ``folder`` that match ``pattern``, sorted by name.

    ``sha256sum --check SHA256SUMS`` and ``musegen.data.bundled.verify`` both read it.
    """
    files = sorted(folder.glob(pattern), key=lambda file: file.name)
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="ascii", newline="\n")
