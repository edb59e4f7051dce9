"""What a user may have got wrong, as one plain sentence: what, where, what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

from musegen.limits import VALUE_CHARACTERS

__all__ = [
    "BadFile",
    "BadInput",
    "MusegenError",
    "MusegenWarning",
    "OutsideFault",
    "ProcessLost",
    "TrainingDiverged",
    "because_of",
    "did_you_mean",
    "shown",
]


class MusegenError(Exception):
    """Root of every error that musegen raises on purpose. The command line prints its text alone."""

    exit_code = 1
    reported_elsewhere = False
    """Another process of the same run says it."""


class BadInput(MusegenError):
    """Wrong use or bad input: the message says what is wrong, where, and what to do. Exit code 2."""

    exit_code = 2


class OutsideFault(BadInput):
    """Something outside of musegen and of what was asked for: a full disk, a drive that fails. Exit code 1."""

    exit_code = 1


OUTSIDE = {
    *(
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ENODEV,
    ),
    *(errno.ENXIO, errno.ETIMEDOUT, errno.EFBIG),
}
"""What the system says where nothing is wrong with what was asked for."""


def because_of(error: OSError, message: str) -> BadInput:
    """The error of a file or folder that cannot be read or written, in words.

    Args:
        message: that says what cannot be done, and holds why.
    """
    return (OutsideFault if error.errno in OUTSIDE else BadInput)(message)


class BadFile(BadInput):
    """A file that cannot be used.

    Args:
        message: for whoever named the file.
        reason: a short phrase for whoever gave its folder: such files are left out, and counted by reason.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class MusegenWarning(UserWarning):
    """What a user should know of a result that is still good, as one plain sentence; the command line prints its text alone."""


class TrainingDiverged(MusegenError):
    """A loss or a gradient became NaN or infinite. The last good checkpoint is kept. Exit code 1."""


class ProcessLost(MusegenError):
    """Another process of this run ended before its time, or could not be reached. Exit code 1."""

    happened = False

    def __init__(self) -> None:
        ProcessLost.happened = True
        super().__init__(
            "Another process of this run was lost, so this one stopped. The last checkpoint is intact: go on with musegen resume."
        )


def shown(value: Any) -> str:
    """A value as a message shows it: cut, if it is long."""
    try:
        text = str(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of more than 4,000 digits"
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]} …"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``' Did you mean "x"?'`` for the closest known word, else the list of known ones."""
    import difflib  # only for a message: everything imports this module, and most runs need no message

    known = sorted(known)
    word = word[:VALUE_CHARACTERS]
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f' Did you mean "{close[0]}"?'
    return f" Known: {', '.join(known)}." if known else ""
