"""Processes of Python that musegen starts: they import nothing from the folder in which a command is called.

Somebody's folder of files may hold ``json.py`` or ``numpy.py`` as well, and Python looks there first: for ``python -m``, and
wherever ``PYTHONPATH`` has an empty or a relative part. Here the standard library comes first, then what this process imports
from, without the current folder, unless musegen or a plugin that was loaded lies there.
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise

# Nothing more, for the current folder may still be looked in.

__all__ = ["command", "environment", "leave_current_folder", "trust"]

_START = "import sys; sys.path += {places!r}; import site; site.main()\n{code}"
_OURS = {os.path.realpath(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))}
"""Folders that musegen and its plugins were imported from."""


def trust(name: str) -> None:
    """Note where a plugin's module, which was imported, comes from: children may import it too."""
    module = sys.modules[name]
    if file := getattr(module, "__file__", None):
        depth = name.count(".") + hasattr(module, "__path__")
        folder = os.path.dirname(os.path.abspath(file))
        for _ in range(depth):
            folder = os.path.dirname(folder)
        _OURS.add(os.path.realpath(folder))


def command(code: str, *arguments: str) -> list[str]:
    """The command that runs Python code in a process of its own; give it ``environment()``.

    Args:
        code: any.
        arguments: ``sys.argv[1:]`` of that process.
    """
    # -S: the path is set before site-packages are added, so that the order is ours. -P: nothing is added to it later.
    flags = ["-s"] * sys.flags.no_user_site + ["-E"] * sys.flags.ignore_environment
    return [sys.executable, "-P", "-S", *flags, "-c", _START.format(places=_places(), code=code), *arguments]


def environment(**own: str) -> dict[str, str]:
    """The environment of such a process: that of this one without ``PYTHONPATH``, which children of the child have not either.

    Args:
        own: variables that it has besides.
    """
    return {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "PYTHONSAFEPATH": "1", **own}


def leave_current_folder() -> None:
    """For ``python -m musegen``: look for nothing in the current folder, unless musegen itself lies there."""
    given = sys.orig_argv
    ours = ("-m", "musegen") in pairwise(given) or "-mmusegen" in given
    # While Python looks for the module, its name is not yet there.
    if ours and sys.argv[:1] == ["-m"] and not sys.flags.safe_path and os.path.realpath(sys.path[0]) not in _OURS:
        del sys.path[0]


def _places() -> list[str]:
    """Where this process imports from, without the current folder, and without what depends on it."""
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    here = {os.path.realpath(part) for part in ("", *parts) if not os.path.isabs(part)}
    absolute = [place for place in sys.path if os.path.isabs(place)]
    return [place for place in absolute if (real := os.path.realpath(place)) not in here or real in _OURS]
