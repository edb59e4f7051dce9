"""Data that users fetch themselves, because they are not musegen's to hand on: downloaded once, and checked."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from musegen.errors import BadInput, because_of
from musegen.reporting import report

__all__ = ["digest_of_files", "downloaded", "files_in"]

BLOCK_BYTES = 1 << 16
TIMEOUT_S = 30
"""Without an answer."""


def digest_of_files(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents, whatever their order.

    >>> from musegen.data.downloads import digest_of_files
    >>> digest_of_files({"b": b"2", "a": b"1"}) == digest_of_files({"a": b"1", "b": b"2"})
    True
    """
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest()


@contextmanager
def downloaded(url: str, folder: Path, most_bytes: int, way_out: str) -> Iterator[Path]:
    """A scope with what is at an address, as a file in a folder that is there already; the file goes with the scope.

    Args:
        most_bytes: more are not fetched.
        way_out: what to do where the address cannot be reached, as a sentence.

    Raises:
        BadInput: it cannot be reached, or is larger, or the folder cannot be written.
    """
    path = folder / f".download-{os.getpid()}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as source, path.open("wb") as out:
            size = int(source.headers.get("Content-Length") or 0)
            n = 0
            while block := source.read(BLOCK_BYTES):
                n += len(block)
                if n > most_bytes:
                    raise BadInput(f"{url} is larger than {most_bytes >> 20} MiB, which it should not be. {way_out}")
                out.write(block)
                report("Downloading", n >> 10, max(size, n) >> 10, "KiB")
            if size and n < size:
                raise BadInput(f"{url} ended after {n:,} of {size:,} bytes: try again. {way_out}")
        yield path
    except urllib.error.URLError as error:
        raise BadInput(f"{url} cannot be reached ({error.reason}). {way_out}") from None
    except (TimeoutError, ConnectionError) as error:
        raise BadInput(f"{url} cannot be reached ({error}). {way_out}") from None
    except OSError as error:
        raise because_of(error, f"{folder} cannot be written: {error.strerror}.") from None
    finally:
        path.unlink(missing_ok=True)


def files_in(source: Path, most_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Files of a folder, or of a zip as an archive of a repository is: names, relative to the outermost folder, and contents.
    Nothing is unpacked on the disk.

    Args:
        most_bytes: of one file; larger ones are left out.

    Raises:
        BadInput: the zip is damaged, or there is no such file.
    """
    try:
        if source.is_dir():
            for path in sorted(p for p in source.rglob("*") if p.is_file()):
                if path.stat().st_size <= most_bytes:
                    yield path.relative_to(source).as_posix(), path.read_bytes()
            return
        with zipfile.ZipFile(source) as archive:
            for member in archive.infolist():
                if not member.is_dir() and member.file_size <= most_bytes:
                    with archive.open(member) as file:
                        yield member.filename.partition("/")[2], file.read(most_bytes + 1)
    except FileNotFoundError:
        raise BadInput(f"{source} does not exist: give the archive, or a folder with its files.") from None
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError):
        raise BadInput(f"{source} is no whole zip archive: download it again.") from None
    except OSError as error:
        raise because_of(error, f"{source} cannot be read: {error.strerror}.") from None
