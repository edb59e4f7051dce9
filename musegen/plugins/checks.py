"""What is asked of a plugin before anything of it is used, and in which words it is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pluggy

from musegen.errors import did_you_mean
from musegen.plugins.hooks import API, CORE_COMMANDS, GROUP, HOOKS, Command, Found, Hooks, Measure, Offer, Refused

__all__ = ["check_api", "offers_of", "one_line", "quiet", "wrong_class"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Whatever a plugin prints while it is imported goes to standard error: standard output belongs to the command."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def one_line(error: BaseException) -> str:
    """An error as one line of plain text."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    text = "".join(c for c in text if c.isprintable())[:300]
    return type(error).__name__ + (f": {text}" if text else "")


def check_api(declared: Any, found: Found) -> str:
    """The API version that a plugin declares; one that declares none is of the first, 1.0.

    Raises:
        Refused: this musegen cannot serve it.
    """
    if declared is None:
        return "1.0"
    match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", declared) if isinstance(declared, str) else None
    if match is None:
        raise Refused(f'MUSEGEN_API = {declared!r} is no version: it must be a text such as "{API[0]}.{API[1]}"')
    major, minor = int(match[1]), int(match[2])
    if major == API[0] and minor <= API[1]:
        return declared
    problem = f"it was written for version {declared} of the plugin API, and this musegen has {API[0]}.{API[1]}"
    remedy = "update musegen" if (major, minor) > API else f"update {found.distribution or 'the plugin'}"
    raise Refused(problem, remedy, "INCOMPATIBLE", replace(found, api=declared))


def offers_of(plugin: Any) -> list[tuple[str, Offer]]:
    """What the hooks of a plugin return, each with what it is.

    Raises:
        Refused: a hook is misspelled, has other arguments, fails, or returns something else.
    """
    # A manager of its own: pluggy's would keep half of a plugin that it refuses.
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    found = []
    try:
        with quiet():
            manager.register(plugin)
            for caller in manager.get_hookcallers(plugin) or ():
                if not caller.has_spec() and not all(impl.optionalhook for impl in caller.get_hookimpls()):
                    raise Refused(f'"{caller.name}" is no hook of musegen.{did_you_mean(caller.name, HOOKS)}')
            for hook, (what, kind) in HOOKS.items():
                for implementation in getattr(manager.hook, hook).get_hookimpls():
                    found += [(what, offer) for offer in _checked(hook, what, kind, implementation.function())]
    except (Refused, KeyboardInterrupt):
        raise
    except pluggy.PluginValidationError as error:
        text = " ".join(str(error).split())  # "… hookimpl definition: musegen_domains(colour) Argument(s) …"
        definition = re.search(r"hookimpl definition: (.*?\))", text)
        raise Refused(f"hooks take no arguments, and it has {definition[1]}" if definition else text) from None
    except BaseException as error:
        raise Refused(one_line(error)) from error
    if not manager.get_hookcallers(plugin):
        raise Refused(f"it implements no hook of musegen ({', '.join(HOOKS)}): is @hookimpl missing?")
    return found


def _checked(hook: str, what: str, kind: type[Offer], returned: Any) -> list[Offer]:
    if isinstance(returned, (str, bytes, Mapping, Offer)) or not isinstance(returned, Iterable):
        raise Refused(f"{hook} returned {type(returned).__name__}, and must return a list of {kind.__name__}")
    offers = list(returned)
    for offer in offers:
        if not isinstance(offer, kind):
            raise Refused(
                f"{hook} returned a list with {type(offer).__name__} in it, and must return a list of {kind.__name__}"
            )
        word = r"[A-Za-z0-9][A-Za-z0-9_-]*"
        pattern = f"{word}( {word})?" if kind is Command else word
        if not (isinstance(offer.name, str) and re.fullmatch(pattern, offer.name)):
            raise Refused(f"{offer.name!r} is an invalid name: use letters, digits, _ and -")
        if kind is Command and offer.name in CORE_COMMANDS:
            raise Refused(f'"{offer.name}" is a command of musegen itself: give yours another name')
        if not (isinstance(offer.summary, str) and callable(offer.load)):
            raise Refused(f'the {what} "{offer.name}" needs a summary that is text and a load that can be called')
        if isinstance(offer, Measure) and isinstance(offer.domains, str):
            raise Refused(f'the domains of the measure "{offer.name}" must be a tuple of names')
    return offers


def wrong_class(what: str, name: str, loaded: Any) -> str:
    """What is wrong with what ``Offer.load`` returned, as the end of a sentence; empty if nothing is."""
    if what in ("measure", "command"):
        return "" if callable(loaded) else "is no function"
    from musegen.contracts.domain import Domain
    from musegen.contracts.family import Family
    from musegen.contracts.tracker import Tracker

    bases: dict[str, type[Domain] | type[Family] | type[Tracker]] = {}
    bases |= {"domain": Domain, "family": Family, "tracker": Tracker}
    base = bases[what]
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        return f"is no subclass of {base.__module__}.{base.__name__}"
    missing = sorted(loaded.__abstractmethods__)
    texts = {"domain": ("summary",), "family": ("title", "paper", "objective"), "tracker": ()}[what]
    missing += [attribute for attribute in texts if not isinstance(getattr(loaded, attribute, None), str)]
    if missing:
        return f"lacks {', '.join(missing)}"
    if getattr(loaded, "name", None) != name:
        return f"calls itself {getattr(loaded, 'name', None)!r} in its class, and both names must be the same"
    if what == "tracker":
        return ""
    if what == "family":
        return _wrong_options(loaded, "Config") or _wrong_options(loaded, "Sampling")
    wrong = _wrong_options(loaded, "Config") or _wrong_options(loaded, "Writing") or _wrong_options(loaded, "Reading")
    if wrong or not issubclass(loaded, Domain) or not dataclasses.fields(loaded.Reading):
        return wrong
    return "" if issubclass(loaded.Config, loaded.Reading) else "has a Reading that is no base of its Config"


def _wrong_options(loaded: type, which: str) -> str:
    """What is wrong with one of its sets of options, as the end of a sentence."""
    from musegen.running.config import RunConfig

    config = getattr(loaded, which, None)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        return f"has no {which} that is a dataclass"
    taken = {f.name for f in dataclasses.fields(RunConfig)} | {"format", "family", "domain", "data"}
    for option in dataclasses.fields(config):
        if option.name in taken:
            return f'has an option "{option.name}", a name that options of the run have'
        if option.default is dataclasses.MISSING and option.default_factory is dataclasses.MISSING:
            return f'has an option "{option.name}" without a default'
    return ""
