"""What a program brings to a run itself: a family's or a domain's class, networks, and data in memory.

A run folder and a model file hold names, never code. So of what was handed over as an object they record what it was, and whoever
loads them hands over the same. Networks in a Python file that the user named are found again as one-file plugins are: a run folder
may have them run if this user has named that very file before (``musegen.plugins.files``); a model file never.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from musegen.contracts.domain import Data, Domain
from musegen.contracts.family import Family
from musegen.errors import BadInput
from musegen.files import content_of
from musegen.limits import SOURCE_CAP_BYTES
from musegen.plugins import files, registry
from musegen.plugins.checks import wrong_class
from musegen.plugins.needs import readable, warn_once
from musegen.running.own_networks import ROLES, NetworkMaker, OwnNetwork, networks_of, with_networks

__all__ = ["IN_MEMORY", "Own", "check_used", "completed", "handed_over", "records", "supplied"]

IN_MEMORY = "in memory"
"""What ``config.yaml`` says in the place of the path of data that a program handed over; paths there are absolute."""


@dataclass(frozen=True)
class Own:
    """What was handed over; None, or nothing, where names say all.

    Attributes:
        family, domain: classes that no plugin offers.
        networks: by role.
        data: in memory.
    """

    family: type[Family] | None = None
    domain: type[Domain] | None = None
    networks: Mapping[str, OwnNetwork] = field(default_factory=dict)
    data: Data | None = None

    def family_class(self, name: str) -> type[Family]:
        """The family of that name.

        Raises:
            BadInput: there is none, or another one was handed over.
        """
        if self.family is None:
            return registry().family(name)
        _same("family", self.family.name, name)
        return self.family

    def domain_class(self, name: str) -> type[Domain]:
        """The domain of that name, with the networks that were handed over.

        Raises:
            BadInput: there is none, or another one was handed over.
        """
        if self.domain is not None:
            _same("domain", self.domain.name, name)
        found = registry().domain(name) if self.domain is None else self.domain
        return with_networks(found, self.networks) if self.networks else found


def _same(what: str, given: str, wanted: str) -> None:
    if given != wanted:
        raise BadInput(f'The {what} "{given}" was handed over, and "{wanted}" is what is needed: hand over that.')


def handed_over(
    family: str | type[Family], domain: str | type[Domain] | Domain, networks: Mapping[str, NetworkMaker | None]
) -> tuple[str, str, Own, dict[str, Any]]:
    """The names of a family and a domain, what of them is the program's own, and the options that an instance of a domain brings.

    Raises:
        BadInput: something is no family, no domain or no network, or has the name of an installed one.
    """
    options: dict[str, Any] = {}
    if isinstance(domain, Domain):
        for owner, kept in (("domain", domain.config), ("writing", domain.writing)):
            standard = type(kept)()
            differ = {f.name: getattr(kept, f.name) for f in fields(kept)}
            options |= {f"{owner}.{n}": v for n, v in differ.items() if v != getattr(standard, n)}
        domain = type(domain)
    family_name, own_family = _named_or_own("family", family)
    domain_name, own_domain = _named_or_own("domain", domain)
    mine = {role: OwnNetwork.of(role, given) for role, given in networks.items() if given is not None}
    return family_name, domain_name, Own(own_family, own_domain, mine), options


def completed(
    own: Own,
    family: type[Family] | None,
    domain: type[Domain] | None,
    networks: Mapping[str, NetworkMaker | None],
) -> Own:
    """What a run has of its own, and what is handed over for it now.

    Raises:
        BadInput: something is no family, no domain or no network.
    """
    if family is not None:
        own = replace(own, family=_named_or_own("family", family)[1])
    if domain is not None:
        own = replace(own, domain=_named_or_own("domain", domain)[1])
    mine = {role: OwnNetwork.of(role, given) for role, given in networks.items() if given is not None}
    return replace(own, networks={**own.networks, **mine})


def check_used(own: Own, used: Own, where: str) -> None:
    """See that a model has use for what is handed over for it.

    Raises:
        BadInput: names what it has none for.
    """
    extra = [role for role in own.networks if role not in used.networks]
    if extra:
        raise BadInput(f"{where} was made with the domain's own {extra[0]}: leave {extra[0]}= out.")


def _named_or_own(what: str, given: Any) -> tuple[str, Any]:
    """The name of a family or a domain, and its class if no plugin offers it."""
    if isinstance(given, str):
        return given, None
    name = getattr(given, "name", None)
    if not (isinstance(given, type) and isinstance(name, str)):
        shown = given.__name__ if isinstance(given, type) else type(given).__name__
        lacks = "has no name" if isinstance(given, type) else f"is no {what}"
        raise BadInput(f"{what}={shown} {lacks}: give a name, or a class that has one.")
    if name in getattr(registry(), {"family": "families", "domain": "domains"}[what]):
        getattr(registry(), what)(name)
        if getattr(registry(), what)(name) is given:
            return name, None
        raise BadInput(
            f'The {what} {given.__name__} calls itself "{name}", as an installed one does: give it a name of its own, '
            f'name = "my_{name}".'
        )
    if problem := wrong_class(what, name, given):
        raise BadInput(f"The {what} {given.__name__} {problem}.")
    return name, given


def records(family: type[Family], domain: type[Domain]) -> list[dict[str, str]]:
    """What was handed over, as a run folder and a model file note it, beside ``musegen.plugins.needs``."""
    found = []
    for what, given in (("family", family), ("domain", domain)):
        if registry().provider(what, given.name) is None:
            found.append({"what": what, "name": given.name, "object": given.__qualname__})
    for role, own in networks_of(domain).items():
        file, sha256 = (str(own.source.path), own.source.sha256) if own.source else ("", "")
        found.append({"what": "network", "name": role, "object": own.name, "file": file, "sha256": sha256})
    return found


def supplied(recorded: Any, own: Own, where: str, run: bool) -> Own:
    """What a run or a model needs of what was handed over when it was made: it is handed over now, or found in a file.

    Args:
        recorded: what ``records`` returned then; anything else is taken for nothing.
        own: what is handed over now.
        where: for messages: ``The run runs/x``.
        run: it is a run folder and not a model file.

    Raises:
        BadInput: something is missing, and what to do.
    """
    networks: dict[str, OwnNetwork] = {}
    for need in readable(recorded):
        what, role, name = need["what"], need["name"], need["object"]
        if what in ("family", "domain") and name and getattr(own, what) is None:
            raise BadInput(
                f"{where} was made with a {what} of its own, the class {name}, which a "
                f"{'run folder' if run else 'model file'} cannot "
                f"hold: hand it over again in Python, {what}={name.rpartition('.')[2]}."
            )
        if what == "network" and role in ROLES:
            networks[role] = own.networks[role] if role in own.networks else _from_file(need, where, run)
            _warn_of_change(networks[role], need, where)
    return replace(own, networks=networks)


def _from_file(need: Mapping[str, str], where: str, run: bool) -> OwnNetwork:
    """A network in a file that a run folder names, if the user has run that very file before."""
    role, name, path = need["name"], need["object"], Path(need["file"])
    needed = f"{where} needs its own {role}, {name}"
    if not need["file"]:
        raise BadInput(f"{needed}, which was handed over as an object: hand over the same in Python, {role}={name}.")
    how = f"--network {shlex.quote(f'{role}={path}:{name}')} (in Python: {role}=)"
    if not run:
        raise BadInput(f"{needed} of the file {path.name}: add --network {role}=PATH:{name} (in Python: {role}=).")
    try:
        sha256 = files.digest(content_of(path, SOURCE_CAP_BYTES))
    except OSError:
        raise BadInput(f"{needed} of the file {path}, which cannot be read: restore it, or add {how}.") from None
    if sha256 != need["sha256"]:
        raise BadInput(
            f"{needed} of the file {path}, which has changed since: restore it, or add {how} to use it as it is now."
        )
    if not files.is_remembered(path, sha256):
        raise BadInput(
            f"{needed} of the file {path}, which you have not used here before: it is a program, so look at it, and add "
            f"{how} if you "
            "trust it."
        )
    return OwnNetwork.of(role, f"{path}:{name}")


def _warn_of_change(network: OwnNetwork, need: Mapping[str, str], where: str) -> None:
    if network.source and need["sha256"] and network.source.sha256 != need["sha256"]:
        warn_once(f"{where} was made with {network.source.path.name} as it was then; it has changed since.")
