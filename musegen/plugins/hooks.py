"""What a plugin implements and returns, and what is known of a plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pluggy

__all__ = [
    "API",
    "CORE_COMMANDS",
    "GROUP",
    "HOOKS",
    "Command",
    "Found",
    "Hooks",
    "Measure",
    "Offer",
    "Refused",
    "hookimpl",
]

API = (1, 0)
"""Version of what plugins may rely on: the major changes when a plugin may stop working, the minor when there is more."""

GROUP = "musegen"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True)
class Offer:
    """A family, a domain or a tracker that a plugin offers.

    Args:
        name: identifier on the command line; the class has the same ``name``.
        summary: one line for lists.
        load: returns the class; heavy imports belong inside it.

    >>> from musegen.plugins import Offer, hookimpl
    >>> def _domain():
    ...     from musegen_image.domain import ImageDomain
    ...     return ImageDomain
    >>> @hookimpl
    ... def musegen_domains():
    ...     return [Offer("image", "pictures: MNIST, or a folder of your own", _domain)]
    """

    name: str
    summary: str
    load: Callable[[], Any] = field(compare=False)


@dataclass(frozen=True)
class Measure(Offer):
    """A measure that ``musegen evaluate`` adds to a domain's own.

    Args:
        name: goes before the names of its figures, as in ``name/distance``.
        summary: one line for lists.
        load: returns the function ``(samples, reference) → {figure: value}``, both ``(n, *S)`` on the CPU, as
            ``Domain.metrics``. What is to be small, and 0 at best, may be called ``distance``.
        domains: whose samples it measures; every domain's if empty.

    >>> from musegen.plugins import Measure, hookimpl
    >>> def brightness(samples, reference):
    ...     return {"mean": samples.mean(), "distance": abs(samples.mean() - reference.mean())}
    >>> @hookimpl
    ... def musegen_measures():
    ...     return [Measure("brightness", "mean of all cells", lambda: brightness, domains=("image",))]
    """

    domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command(Offer):
    """A command of its own that a plugin adds to the command line.

    Args:
        name: one word, or the name of a group and a word: ``data build``.
        summary: one line for lists.
        load: returns the function. Its parameters are those of the command, as in Cyclopts: positional ones are arguments,
            keyword-only ones are options, annotations and the docstring say what they mean.

    >>> from pathlib import Path
    >>> from musegen.plugins import Command, hookimpl
    >>> def count(folder: Path, *, suffix: str = ".mid"):
    ...     print(len(list(folder.rglob(f"*{suffix}"))))
    >>> @hookimpl
    ... def musegen_commands():
    ...     return [Command("data count", "Count the files of a folder.", lambda: count)]
    """


CORE_COMMANDS = frozenset(
    {
        *("generate", "continue", "accompany", "infill", "regenerate", "reconstruct", "interpolate", "arithmetic"),
        *("album", "studio"),
        *("train", "resume", "export", "sweep", "reproduce"),
        *("models", "traverse", "latent", "score", "classify", "evaluate", "compare"),
        *("data", "data info"),
        *("families", "domains", "explain", "plugins", "plugin", "plugin new", "plugin check"),
    }
)
"""Names that no plugin's command can take."""


class Hooks:
    """What a plugin may implement, with ``@musegen.plugins.hookimpl``."""

    @hookspec
    def musegen_families(self) -> Iterable[Offer]:  # type: ignore[empty-body]
        """Families that this plugin offers."""

    @hookspec
    def musegen_domains(self) -> Iterable[Offer]:  # type: ignore[empty-body]
        """Domains that this plugin offers."""

    @hookspec
    def musegen_measures(self) -> Iterable[Measure]:  # type: ignore[empty-body]
        """Measures that this plugin offers."""

    @hookspec
    def musegen_commands(self) -> Iterable[Command]:  # type: ignore[empty-body]
        """Commands that this plugin adds."""

    @hookspec
    def musegen_trackers(self) -> Iterable[Offer]:  # type: ignore[empty-body]
        """Trackers that this plugin offers."""


HOOKS: dict[str, tuple[str, type[Offer]]] = {
    "musegen_families": ("family", Offer),
    "musegen_domains": ("domain", Offer),
    "musegen_measures": ("measure", Measure),
    "musegen_commands": ("command", Command),
    "musegen_trackers": ("tracker", Offer),
}
"""What each hook offers, and as what."""


@dataclass(frozen=True)
class Found:
    """One plugin as discovered.

    Attributes:
        name: of the entry point, or of the file without its suffix.
        distribution, version: where it comes from; empty for a file.
        api: the version of musegen's that it was written for.
        families, domains, measures, commands, trackers: names that it offers, or would if it could be used.
        status: ``OK``, ``BROKEN``, ``INCOMPATIBLE``, or ``OFF`` where ``MUSEGEN_PLUGINS`` leaves it out.
        problem, remedy: what is wrong, and what to do; empty if nothing is.
        file, sha256: of a one-file plugin.
    """

    name: str
    distribution: str = ""
    version: str = ""
    api: str = ""
    families: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()
    status: str = "OK"
    problem: str = ""
    remedy: str = ""
    file: str = ""
    sha256: str = ""

    @property
    def offers(self) -> tuple[str, ...]:
        return (*self.families, *self.domains, *self.measures, *self.commands, *self.trackers)

    @property
    def origin(self) -> str:
        """Whose it is, for messages."""
        if self.file:
            return f"the file {self.file}"
        if self.distribution:
            return f"{self.distribution} {self.version}"
        return f'the plugin "{self.name}"'


class Refused(ValueError):
    """A plugin cannot be used.

    Attributes:
        status: as in ``Found``.
        remedy: what to do; empty where updating or removing the plugin is all there is.
        found: what was known of it by then; None if that is nothing new.
    """

    def __init__(self, problem: str, remedy: str = "", status: str = "BROKEN", found: Found | None = None) -> None:
        super().__init__(problem)
        self.remedy, self.status, self.found = remedy, status, found
