"""Plugins: how families and domains are found, in the tree and on a stranger's machine alike.

A plugin is an installed distribution with an entry point in the group ``musegen`` that names a module. The module
implements one or both hooks below and returns ``Offer`` objects, whose ``load`` imports the heavy part only when
somebody wants it. musegen's own families and its image and pianoroll domains arrive by the same road.

Entry points are loaded one by one, in the order of their names, so that a broken plugin costs only itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import pluggy

from musegen.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from musegen.domain import Domain
    from musegen.family import Family

__all__ = ["GROUP", "Found", "Offer", "Registry", "hookimpl", "registry"]

GROUP = "musegen"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True)
class Offer:
    """A family or domain that a plugin offers.

    Args:
        name: identifier on the command line.
        summary: one line for lists.
        load: returns the class; heavy imports belong inside it.
    """

    name: str
    summary: str
    load: Callable[[], type] = field(compare=False)


class Hooks:
    """What a plugin may implement, with ``@musegen.plugins.hookimpl``."""

    @hookspec
    def musegen_families(self) -> Iterable[Offer]:  # type: ignore[empty-body]
        """Families that this plugin offers."""

    @hookspec
    def musegen_domains(self) -> Iterable[Offer]:  # type: ignore[empty-body]
        """Domains that this plugin offers."""


@dataclass(frozen=True)
class Found:
    """One plugin as discovered: ``problem`` is empty if it works."""

    name: str
    distribution: str
    version: str
    offers: tuple[str, ...] = ()
    problem: str = ""


class Registry:
    """Families and domains by name.

    Args:
        points: entry points to load; tests pass their own.
    """

    def __init__(self, points: Iterable[EntryPoint] = ()) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(Hooks)
        self._families: dict[str, tuple[Offer, str]] = {}
        self._domains: dict[str, tuple[Offer, str]] = {}
        self.found: list[Found] = []
        # Several environments on sys.path may show one distribution twice; the first one wins, as with imports.
        unique = {(p.name, p.value): p for p in sorted(points, key=lambda p: p.name, reverse=True)}
        for point in sorted(unique.values(), key=lambda p: p.name):
            self._load(point)

    def _load(self, point: EntryPoint) -> None:
        distribution = point.dist.name if point.dist else "?"
        version = point.dist.version if point.dist else "?"
        try:
            offers, problem = self.register(point.load(), point.name), ""
        # A plugin's import may do anything, sys.exit() included; it must not take the others along.
        except (Exception, SystemExit) as error:
            offers, problem = (), f"{type(error).__name__}: {error}"
        self.found.append(Found(point.name, distribution, version, offers, problem))

    def register(self, plugin: Any, name: str) -> tuple[str, ...]:
        """Add one plugin (a module or object with hook implementations) and return the names that it offers.

        Raises:
            ValueError: a name is taken, or a hook is misspelled. Nothing of the plugin stays registered then.
        """
        self._manager.register(plugin, name)
        try:
            self._manager.check_pending()
            if not self._manager.get_hookcallers(plugin):
                raise ValueError("it implements no hook of musegen (musegen_families, musegen_domains)")
            new: list[tuple[dict[str, tuple[Offer, str]], Offer]] = []
            for table, hook in ((self._families, "musegen_families"), (self._domains, "musegen_domains")):
                implementation = getattr(plugin, hook, None)
                for offer in implementation() if implementation is not None else ():
                    if offer.name in table:
                        raise ValueError(
                            f'the name "{offer.name}" is already taken by the plugin "{table[offer.name][1]}"'
                        )
                    new.append((table, offer))
        except BaseException:
            self._manager.unregister(plugin)
            raise
        for table, offer in new:
            table[offer.name] = (offer, name)
        return tuple(offer.name for _, offer in new)

    @property
    def families(self) -> dict[str, Offer]:
        return {name: offer for name, (offer, _) in sorted(self._families.items())}

    @property
    def domains(self) -> dict[str, Offer]:
        return {name: offer for name, (offer, _) in sorted(self._domains.items())}

    def family(self, name: str) -> type[Family]:
        """The family's class.

        Raises:
            BadInput: no such family.
        """
        return self._get("family", name, self.families)

    def domain(self, name: str) -> type[Domain]:
        """The domain's class.

        Raises:
            BadInput: no such domain, or its plugin is broken.
        """
        return self._get("domain", name, self.domains)

    def _get(self, what: str, name: str, offers: dict[str, Offer]) -> Any:
        if name not in offers:
            broken = [found.name for found in self.found if found.problem]
            hint = f' Broken plugins: {", ".join(broken)} (see "musegen plugins").' if broken else ""
            raise BadInput(f'There is no {what} "{name}".{did_you_mean(name, offers)}{hint}')
        try:
            return offers[name].load()
        except Exception as error:
            plugin = (self._families if what == "family" else self._domains)[name][1]
            raise BadInput(
                f'The {what} "{name}" of the plugin "{plugin}" cannot be loaded ({type(error).__name__}: {error}): '
                "update or uninstall that plugin."
            ) from error


@cache
def registry() -> Registry:
    """The registry of this process: everything installed."""
    from importlib.metadata import entry_points  # slow to import, and processes that only read files need none

    return Registry(entry_points(group=GROUP))
