"""Finding plugins, one by one, and what they offer by name."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musegen import children
from musegen.errors import BadInput, MusegenWarning, did_you_mean
from musegen.files import content_of, user_path
from musegen.limits import SOURCE_CAP_BYTES
from musegen.plugins import files
from musegen.plugins.checks import check_api, offers_of, one_line, quiet, wrong_class
from musegen.plugins.hooks import HOOKS, Found, Measure, Offer, Refused
from musegen.plugins.points import CORE, OURS, entry_points_of_plugins, origin_of

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from musegen.contracts.domain import Domain
    from musegen.contracts.family import Family
    from musegen.contracts.tracker import Tracker

__all__ = ["Registry", "registry", "use_plugin"]

ONLY = "MUSEGEN_PLUGINS"
"""Environment variable: names of the plugins to load, comma separated; all if it is not set."""
FILES = "MUSEGEN_PLUGIN_FILES"
"""Environment variable: paths of one-file plugins, separated as in ``PATH``."""


class Registry:
    """Families, domains and measures by name.

    Args:
        points: entry points to load; tests pass their own.
        only: names of the plugins to load, besides musegen's core; None: all.
        paths: of one-file plugins.
    """

    def __init__(
        self, points: Iterable[EntryPoint] = (), only: Sequence[str] | None = None, paths: Iterable[Path] = ()
    ) -> None:
        self._offers: dict[str, dict[str, tuple[Offer, Found]]] = {what: {} for what, _ in HOOKS.values()}
        self._plugins: dict[str, tuple[Any, Found]] = {}
        self.found: list[Found] = []
        # One distribution may be on the path twice; the first one wins, as with imports.
        unique = {(*origin_of(p), p.name, p.value): p for p in reversed(list(points))}
        # Ours first, so that no stranger takes a name of theirs; then in the order of names, the same on every machine.
        for _, point in sorted(unique.items(), key=lambda item: (item[0][0] != OURS, item[1].name, item[0])):
            self._load(point, only)
        for path in paths:
            try:
                self.add_file(path)
            except Refused as error:
                where = str(path.absolute())
                self.found.append(
                    Found(path.stem, status=error.status, problem=str(error), remedy=error.remedy, file=where)
                )
        known = [found.name for found in self.found]
        for name in sorted(set(only or ()) - set(known)):
            warnings.warn(
                f'{ONLY} names "{name}", and no such plugin is installed.{did_you_mean(name, known)}',
                MusegenWarning,
                stacklevel=2,
            )

    def _load(self, point: EntryPoint, only: Sequence[str] | None) -> None:
        found = Found(point.name, *origin_of(point))
        ours = (found.distribution, found.name) == (OURS, CORE)
        if only is not None and point.name not in only and not ours:
            remedy = f"add {point.name} to {ONLY}, or unset it"
            self.found.append(replace(found, status="OFF", problem=f"{ONLY} does not name it", remedy=remedy))
            return
        try:
            if not point.pattern.match(point.value):
                raise Refused(f'its entry point "{point.value}" names no module')
            try:
                with quiet():
                    plugin = point.load()
                children.trust(point.module)
            except KeyboardInterrupt:
                raise
            # A plugin's import may do anything, sys.exit() included; it must not take the others along.
            except BaseException as error:
                check_api(files.constant_in_source(point.value.partition(":")[0], "MUSEGEN_API"), found)
                raise Refused(one_line(error)) from error
            self._add(plugin, found)
        except Refused as error:
            who = found.distribution
            remedy = error.remedy or f"update {who}, or remove it: pip uninstall {who}"
            known = error.found or found
            self.found.append(replace(known, status=error.status, problem=str(error), remedy=remedy))

    def add_file(self, path: Path, expected: str = "") -> Found:
        """Run a one-file plugin and add what it offers. A file that is there already is left as it is.

        Args:
            expected: SHA-256 that the file must have, if any: nothing else is run.

        Raises:
            Refused: it cannot be read, fails, or makes an invalid offer.
        """
        path = path.absolute()
        for _, found in self._plugins.values():
            if found.file == str(path):
                return found
        try:
            source = content_of(path, SOURCE_CAP_BYTES)
        except OSError as error:
            raise Refused(
                f"the file cannot be read: {error.strerror or error}", "give the path of a Python file"
            ) from None
        sha256 = files.digest(source)
        if expected and sha256 != expected:
            raise Refused("the file has changed", "restore it")
        found = Found(path.stem, file=str(path), sha256=sha256)
        try:
            with quiet():
                module = files.run(path, source)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            where = files.line_of(error, path)
            raise Refused(one_line(error) + (f" (line {where})" if where else ""), "correct the file") from error
        try:
            return self._add(module, found)
        except Refused:
            del sys.modules[module.__name__]
            raise

    def register(self, plugin: Any, name: str) -> tuple[str, ...]:
        """Add one plugin (a module or object with hook implementations) and return the names that it offers.

        Raises:
            ValueError: a name is taken, or a hook is invalid. Nothing of the plugin stays registered then.
        """
        return self._add(plugin, Found(name)).offers

    def _add(self, plugin: Any, found: Found) -> Found:
        """Add a plugin that was imported, all of it or nothing.

        Raises:
            Refused: it is invalid.
        """
        module = sys.modules.get(getattr(plugin, "__module__", ""), None)
        declared = getattr(plugin, "MUSEGEN_API", getattr(module, "MUSEGEN_API", None))
        found = replace(found, api=check_api(declared, found))
        if found.name in self._plugins:
            other, first = self._plugins[found.name]
            if other is plugin and found.distribution == first.distribution:
                return first
            raise Refused(f'{first.origin} has a plugin named "{found.name}" already', _one_of(found, first))
        offered = offers_of(plugin)
        names = {what: tuple(offer.name for kind, offer in offered if kind == what) for what, _ in HOOKS.values()}
        found = replace(
            found,
            families=names["family"],
            domains=names["domain"],
            measures=names["measure"],
            commands=names["command"],
            trackers=names["tracker"],
        )
        new: dict[str, dict[str, tuple[Offer, Found]]] = {what: {} for what, _ in HOOKS.values()}
        for what, offer in offered:
            taken = self._offers[what].get(offer.name)
            if taken is not None:
                problem = f'the {what} "{offer.name}" is already offered by {taken[1].origin}'
                raise Refused(problem, _one_of(found, taken[1]), found=found)
            if offer.name in new[what]:
                raise Refused(f'it offers the {what} "{offer.name}" twice', found=found)
            new[what][offer.name] = (offer, found)
        for what, offers in new.items():
            self._offers[what] |= offers
        self._plugins[found.name] = (plugin, found)
        self.found.append(found)
        return found

    @property
    def families(self) -> dict[str, Offer]:
        return {name: offer for name, (offer, _) in sorted(self._offers["family"].items())}

    @property
    def domains(self) -> dict[str, Offer]:
        return {name: offer for name, (offer, _) in sorted(self._offers["domain"].items())}

    def measures(self, domain: str) -> dict[str, Measure]:
        """Measures of plugins for the samples of a domain."""
        return {name: m for name, m in self.all_measures.items() if not m.domains or domain in m.domains}

    @property
    def all_measures(self) -> dict[str, Measure]:
        """Measures of plugins for any domain, by name."""
        offers = {name: offer for name, (offer, _) in sorted(self._offers["measure"].items())}
        return {name: offer for name, offer in offers.items() if isinstance(offer, Measure)}

    @property
    def commands(self) -> dict[str, Offer]:
        """Commands of plugins, by name."""
        return {name: offer for name, (offer, _) in sorted(self._offers["command"].items())}

    def provider(self, what: str, name: str) -> Found | None:
        """The plugin that offers the family, domain or measure of that name."""
        taken = self._offers[what].get(name)
        return None if taken is None else taken[1]

    def family(self, name: str) -> type[Family]:
        """The family's class.

        Raises:
            BadInput: no such family, or its plugin is broken.
        """
        return self._get("family", name)

    def domain(self, name: str) -> type[Domain]:
        """The domain's class.

        Raises:
            BadInput: no such domain, or its plugin is broken.
        """
        return self._get("domain", name)

    def measure(self, name: str) -> Callable[..., Any]:
        """The measure's function.

        Raises:
            BadInput: no such measure, or its plugin is broken.
        """
        return self._get("measure", name)

    def command(self, name: str) -> Callable[..., Any]:
        """The function of a plugin's command.

        Raises:
            BadInput: no such command, or its plugin is broken.
        """
        return self._get("command", name)

    def tracker(self, name: str) -> type[Tracker]:
        """The tracker's class.

        Raises:
            BadInput: no such tracker, or its plugin is broken.
        """
        return self._get("tracker", name)

    def working_families(self) -> dict[str, type[Family]]:
        """The classes of all families that can be loaded."""
        classes = {}
        for name in self.families:
            with contextlib.suppress(BadInput):
                classes[name] = self.family(name)
        return classes

    def _get(self, what: str, name: str) -> Any:
        if name not in self._offers[what]:
            raise BadInput(
                f'There is no {what} "{name}".{did_you_mean(name, self._offers[what])}{self._not_working(name)}'
            )
        offer, found = self._offers[what][name]
        cause: BaseException | None = None
        try:
            with quiet():
                loaded = offer.load()
            problem = wrong_class(what, name, loaded)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            problem, cause = f"cannot be loaded ({one_line(error)})", error
        if problem:
            whose = f'plugin "{found.name}"' + (f" ({found.origin})" if found.distribution or found.file else "")
            do = "correct it" if found.file else "update or uninstall that plugin"
            raise BadInput(f'The {what} "{name}" of the {whose} {problem}: {do}.') from cause
        return loaded

    def _not_working(self, name: str) -> str:
        """Which plugins might have had something of that name."""
        off = [found.name for found in self.found if found.status == "OFF"]
        bad = [found.name for found in self.found if found.status in ("BROKEN", "INCOMPATIBLE")]
        told = f' Broken plugins: {", ".join(bad)} (see "musegen plugins").' if bad else ""
        return told + (f' {ONLY} leaves out the plugin "{name}".' if name in off else "")


def _one_of(second: Found, first: Found) -> str:
    """What to do about two plugins that want one name."""
    removable = [f.distribution for f in (second, first) if f.distribution not in ("", OURS)]
    if second.file:
        return "rename what the file offers" + (f", or: pip uninstall {removable[0]}" if removable else "")
    return "keep one of the two: " + " or ".join(f"pip uninstall {name}" for name in dict.fromkeys(removable))


@cache
def registry() -> Registry:
    """The registry of this process: everything installed, unless the environment says otherwise."""
    only = os.environ.get(ONLY)
    paths = [user_path(path) for path in os.environ.get(FILES, "").split(os.pathsep) if path]
    names = None if only is None else [name.strip() for name in only.split(",") if name.strip()]
    return Registry(entry_points_of_plugins(), names, paths)


def use_plugin(plugin: str | Path | Any) -> None:
    """Use a plugin that is not installed, in this process.

    Args:
        plugin: the path of a Python file with hooks, or a module or object that has them. A file is run.

    Raises:
        BadInput: there is no such file, or it is invalid.
    """
    if isinstance(plugin, (str, Path)):
        try:
            found = registry().add_file(user_path(plugin))
        except Refused as error:
            raise BadInput(
                f"The plugin file {plugin} cannot be used: {error}; {error.remedy or 'correct it'}."
            ) from error
        files.remember(Path(found.file), found.sha256)
        return
    name = getattr(plugin, "__name__", type(plugin).__name__)
    try:
        registry().register(plugin, name)
    except Refused as error:
        raise BadInput(f'The plugin "{name}" cannot be used: {error}.') from error
