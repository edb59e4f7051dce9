"""Folders that one process writes at a time, and that get their name without replacing what they should not.

A new folder is written under another name beside its own, and appears whole by a rename. Nothing is looked at first and acted on
later: rename(2) itself refuses to put a folder where a file, a link or a folder with something in it is by then (an empty one
is replaced; nothing is lost). Where an older folder is to be replaced, the two change places in one system call where there is
one (``renameat2`` of Linux, ``renamex_np`` of macOS), and only if what stood there is the folder that was looked at.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import shutil
import stat
import sys
from pathlib import Path
from typing import Self

from musegen.errors import BadInput, because_of
from musegen.files import sync_folder, user_path

__all__ = ["LOCK", "Claim", "NewFolder", "forget"]

LOCK = "lock"
"""Name of the file in a folder that says which process writes it."""
BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
"""What rename(2) says where something else has the name."""
SWAP = 2
"""``RENAME_EXCHANGE`` of Linux, ``RENAME_SWAP`` of macOS."""
AT_FDCWD = -100


class Claim:
    """A scope in which this process alone writes a folder; it is created if it is not there.

    The lock is held by the system (``flock``), so it ends with its process, however that ends: nobody waits for one that was
    killed. The file of the lock lies in the folder and moves with it. On a file system without such locks there is none, and two
    processes are kept apart only when their folders get their names.

    Args:
        folder: to be written.
        what: is busy, for the message: ``The run runs/a``.
        wait: until another process is done with it, for what is written in seconds; otherwise that is an error.

    Raises:
        BadInput: another process writes it, or it cannot be written.
    """

    def __init__(self, folder: Path, what: str, wait: bool = False) -> None:
        self.folder, self.what, self.wait = folder, what, wait
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            while not self._taken():
                pass
        except OSError as error:
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # if it is empty: nobody has a use for it
            raise because_of(error, f"The folder {self.folder} cannot be written: {error.strerror}.") from None
        return self

    def _taken(self) -> bool:
        """Take the lock; False if the folder or the lock was removed or moved meanwhile, by a process that was done with it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(self.folder / LOCK, flags, 0o666)
        except FileNotFoundError:
            return False
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BadInput(f"{self.folder / LOCK} is no file: remove it.")
            self._lock(descriptor)
            if not _is(descriptor, self.folder):
                os.close(descriptor)
                return False
            self._sign(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def _sign(self, descriptor: int) -> None:
        """Say in the lock whose it is."""
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()} {platform.node()}\n".encode())
        except OSError:
            (self.folder / LOCK).unlink()
            raise

    def _lock(self, descriptor: int) -> None:
        try:
            import fcntl
        except ImportError:
            return  # no such locks on this system
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if self.wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in BUSY:
                return  # none on this file system
            # Somebody else may have written anything there.
            holder = re.fullmatch(rb"(\d{1,10}) ([\w.-]{1,64})\n", os.pread(descriptor, 100, 0))
            who = f"process {holder[1].decode()} on {holder[2].decode()}" if holder else "another process"
            raise BadInput(f"{self.what} is being written by {who}: wait until it is done, or stop it.") from None

    def locks(self, folder: Path) -> bool:
        """Whether it is this folder that is claimed: another one may have its name by now."""
        return _is(self._descriptor, folder)

    def __exit__(self, *_: object) -> None:
        if self.locks(self.folder):  # the folder may have been moved or removed
            with contextlib.suppress(OSError):
                (self.folder / LOCK).unlink()
        os.close(self._descriptor)


class NewFolder:
    """A folder in the making: nothing appears under its name before ``commit``.

    Use it as a context manager, and write to ``temporary``. What a killed process left there is removed. Until the end of the
    scope no other process can make or change the folder, also after ``commit``.

    Args:
        path: its name in the end.
        sign: name of a file in every folder of its kind: only such a folder is ever replaced.
        what: it is, for messages: ``run``.
        overwrite: replace an older one, once the new one is complete.
        instead: what else a user can do about an older one, for the message.
        temporary: where to write, if not beside ``path``: a folder that is already claimed.

    Raises:
        BadInput: something has that name, or another process makes it, or it cannot be written.

    >>> from pathlib import Path
    >>> from musegen.folders import NewFolder
    >>> with NewFolder("new", "sign.txt", "example") as new:
    ...     _ = (new.temporary / "sign.txt").write_text("I am one.")
    ...     before = Path("new").exists()
    ...     _ = new.commit()
    >>> before, [path.name for path in Path("new").iterdir()]
    (False, ['sign.txt'])
    """

    def __init__(
        self,
        path: str | Path,
        sign: str,
        what: str,
        overwrite: bool = False,
        instead: str = "",
        temporary: Path | None = None,
    ) -> None:
        self.given, self.sign, self.what, self.overwrite, self.instead = path, sign, what, overwrite, instead
        self.path = user_path(path).absolute()
        if self.path.is_symlink():
            self.path = self.path.resolve()
        self.temporary = temporary or self.path.with_name(f".{self.path.name}.new")
        self._claim = None if temporary else Claim(self.temporary, f"The {what} {path}")
        self._old: Claim | None = None
        self._scope = contextlib.ExitStack()
        self._done = False
        self._must_replace()

    def _must_replace(self) -> bool:
        """Whether there is an older folder to be replaced.

        Raises:
            BadInput: it must not be.
        """
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return False
        if not self.path.is_dir():
            raise BadInput(f"{self.given} is a file: name a new folder with out=FOLDER.")
        if not self.overwrite:
            raise BadInput(
                f"The folder {self.given} exists: choose another with out=FOLDER, {self.instead}or add overwrite=True."
            )
        if not (self.path / self.sign).is_file():
            raise BadInput(
                f"The folder {self.given} is no {self.what} of musegen, so overwrite=True leaves it alone: choose another with "
                "out=FOLDER."
            )
        return True

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as scope:
            if self._must_replace():
                self._old = scope.enter_context(Claim(self.path, f"The {self.what} {self.given}"))
            if self._claim is None:
                shutil.rmtree(self.temporary, ignore_errors=True)
                self._make()
            elif self.temporary.is_symlink():
                raise BadInput(f"{self.temporary} is a link: remove it.")
            else:
                scope.enter_context(self._claim)
                _clear(self.temporary)
            scope.callback(self._discard)
            self._must_replace()  # another process may have made it just now
            self._scope = scope.pop_all()
        return self

    def _discard(self) -> None:
        if not self._done:  # afterwards another process may use that name
            shutil.rmtree(self.temporary, ignore_errors=True)

    def _make(self) -> None:
        try:
            self.temporary.mkdir(parents=True)
        except OSError as error:
            raise because_of(error, f"The folder {self.given} cannot be written: {error.strerror}.") from None

    def commit(self) -> Path:
        """Give the folder its name, which is returned; an older one goes only now.

        Raises:
            BadInput: something has appeared there since; it is left alone.
        """
        try:
            if self._old is None or not self.path.exists():
                os.rename(self.temporary, self.path)
            else:
                self._replace(self._old)
        except OSError as error:
            if error.errno not in TAKEN:
                raise because_of(error, f"The folder {self.given} cannot be written: {error.strerror}.") from None
            raise BadInput(
                f"{self.given} has appeared while this {self.what} was being made, and is left alone: move it away, or choose "
                "another with out=FOLDER."
            ) from None
        self._done = True
        if self._claim is not None:
            self._claim.folder = self.path
        if self._old is not None and self._old.locks(self._old.folder):
            shutil.rmtree(self._old.folder, ignore_errors=True)
        sync_folder(self.path.parent)
        return self.path

    def _replace(self, old: Claim) -> None:
        """Change places with the older folder, if it is still the one that was looked at."""
        if _swapped(self.temporary, self.path):
            old.folder = self.temporary
            if not old.locks(old.folder):
                _swapped(self.temporary, self.path)
                raise OSError(errno.EEXIST, "replaced meanwhile")
            return
        aside = self.path.with_name(f".{self.path.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(self.path, aside)
        try:
            if not old.locks(aside):
                raise OSError(errno.EEXIST, "replaced meanwhile")
            os.rename(self.temporary, self.path)
        except OSError:
            os.rename(aside, self.path)
            raise
        old.folder = aside

    def __exit__(self, *_: object) -> None:
        self._scope.close()


def forget(path: Path) -> None:
    """Remove what a killed process left beside a folder that it was making, or replacing."""
    left = path.absolute().with_name(f".{path.name}.new")
    if left.is_symlink() or not left.is_dir():
        return
    with contextlib.suppress(BadInput, OSError), Claim(left, ""):  # otherwise somebody is at work there
        shutil.rmtree(left, ignore_errors=True)


def _is(descriptor: int, folder: Path) -> bool:
    """Whether an open file is the lock that lies in a folder."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(folder / LOCK))
    except OSError:
        return False


def _clear(folder: Path) -> None:
    """Remove what a killed process left in a claimed folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _swapped(a: Path, b: Path) -> bool:
    """Have two folders change places at once; False where the system cannot."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(a), os.fsencode(b)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(*paths, SWAP)
        else:
            failed = libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], SWAP)
    except AttributeError:
        return False
    return not failed
