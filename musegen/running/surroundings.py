"""What a run records of the machine and the code: enough to say later why figures differ."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from musegen.plugins import registry

__all__ = ["surroundings"]


def surroundings(needed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Versions, plugins, the state of a checkout, and the command.

    Args:
        needed: the plugins that the run needs, see ``musegen.plugins.needs``, and what a program handed over.
    """
    return {
        "musegen": _version("musegen"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages({"musegen", *(need["distribution"] for need in needed if "distribution" in need)}),
        "plugins": [dataclasses.asdict(found) for found in registry().found],
        "needs": needed,
        "git": _git_state(),
        "arguments": sys.argv,
    }


def _packages(distributions: Iterable[str]) -> dict[str, str | None]:
    """Versions of the packages that distributions need, but for those of their extras."""
    names = set()
    for distribution in distributions:
        with contextlib.suppress(PackageNotFoundError, ValueError):  # a plugin that is a file comes from none
            names |= {
                re.split("[^A-Za-z0-9._-]", line)[0] for line in requires(distribution) or () if "extra ==" not in line
            }
    return {name: _version(name) for name in sorted(names)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@functools.cache  # the code that runs is what was there when the process began; each question costs a process
def _git_state() -> dict[str, Any] | None:
    """Commit and cleanliness of the checkout that musegen runs from; None outside one."""
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return None if commit is None or status is None else {"commit": commit, "clean": not status}


def _git(*arguments: str) -> str | None:
    """What git says about that checkout; None where it has nothing to say, or hangs, as on a network drive that is gone."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():  # a folder around it is not ours, and its settings may have git run anything
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
