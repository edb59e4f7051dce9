"""The configuration of a run: names and options, validated, with the classes that they stand for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musegen.errors import BadInput
from musegen.files import FORMAT, check_format, user_path
from musegen.options import flat_options, split_options, validate
from musegen.plugins import provide
from musegen.running.config import RunConfig
from musegen.running.keeping import kept
from musegen.running.own import IN_MEMORY, Own, supplied

if TYPE_CHECKING:
    from musegen.contracts.domain import Data, Domain
    from musegen.contracts.family import Family

__all__ = ["Resolved", "option_owners", "resolve", "resolve_dict"]


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A validated configuration: the classes chosen, and an instance of each of their sets of options."""

    family: type[Family]
    domain: type[Domain]
    run: RunConfig
    family_config: Any
    domain_config: Any
    sampling: Any
    writing: Any
    data: str | None
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What is asked of every sample, unless something else is: options of ``Domain.Asking``, without those left open."""
    own: Own = dataclasses.field(default_factory=Own)
    """What the program brought itself."""

    def as_dict(self) -> dict[str, Any]:
        """Flat and plain, as in ``config.yaml``; an option that two owners set differently is there once for each."""
        flat = {"format": FORMAT, "family": self.family.name, "domain": self.domain.name, "data": self.data}
        flat |= {"asking": dict(self.asked)} if self.asked else {}
        owners = {
            "family": self.family_config,
            "domain": self.domain_config,
            "sampling": self.sampling,
            "writing": self.writing,
        }
        return flat | flat_options({"run": self.run}) | flat_options(owners)

    @property
    def reading(self) -> Any:
        """The options of how a user's file is read, which the domain's config has."""
        fields = dataclasses.fields(self.domain.Reading)
        return self.domain.Reading(**{f.name: getattr(self.domain_config, f.name) for f in fields})

    @property
    def asking(self) -> Any:
        """What may be asked of samples, with what is asked of all; None if the model may not be given any part."""
        made = self.make_domain()
        return self.domain.Asking(**self.asked) if made.spec.parts and self.family.capabilities.fill else None

    def make_domain(self) -> Domain:
        """The domain, without data."""
        return self.domain(self.domain_config, self.writing)

    def open(self, cache: Path) -> tuple[Domain, Data]:
        """The domain, with what its data decide, and the data; see ``Domain.open`` and ``Domain.hold``.

        Raises:
            BadInput: what, where, what to do; data that were handed over in memory are not there.
        """
        if self.data == IN_MEMORY:
            held = self.own.data or kept(cache)
            opened, data = self.domain.hold(self.domain_config, held)
        else:
            opened, data = self.domain.open(self.domain_config, None if self.data is None else Path(self.data), cache)
        return type(opened)(opened.config, self.writing), data


def option_owners(family: type[Family], domain: type[Domain]) -> dict[str, type]:
    """Every set of options of a run, by owner."""
    return {
        "run": RunConfig,
        "family": family.Config,
        "domain": domain.Config,
        "sampling": family.Sampling,
        "writing": domain.Writing,
    }


def resolve(
    family: str, domain: str, options: Mapping[str, Any], data: str | Path | None = None, own: Own | None = None
) -> Resolved:
    """Validate a flat set of options against the run, the family and the domain.

    Args:
        own: what the program brings itself.

    Raises:
        BadInput: an unknown family, domain or option, or an invalid value.
    """
    own = own or Own()
    family_class, domain_class = own.family_class(family), own.domain_class(domain)
    whose = {"run": "the run"} | dict.fromkeys(("family", "sampling"), f'the family "{family}"')
    whose |= dict.fromkeys(("domain", "writing"), f'the domain "{domain}"')
    owners = option_owners(family_class, domain_class)
    mine = split_options(options, owners)
    checked: dict[str, Any] = {owner: validate(kind, mine[owner], whose[owner]) for owner, kind in owners.items()}
    return Resolved(
        family_class,
        domain_class,
        checked["run"],
        checked["family"],
        checked["domain"],
        checked["sampling"],
        checked["writing"],
        data if data is None or data == IN_MEMORY else str(user_path(data).absolute()),
        own=own,
    )


def resolve_dict(
    flat: Mapping[str, Any], where: str, needed: Any = (), run: bool = False, own: Own | None = None
) -> Resolved:
    """The configuration in a ``config.yaml`` or a model file.

    Args:
        needed: the plugins recorded beside it, and what was handed over by a program.
        run: it is a run's.
        own: what is handed over now.

    Raises:
        BadInput: it is of another format version, does not validate, or needs a plugin that is not there.
    """
    options = dict(flat)
    check_format(options.pop("format", None), where)
    asked = options.pop("asking", {})
    try:
        family, domain, data = options.pop("family"), options.pop("domain"), options.pop("data", None)
    except KeyError as missing:
        raise BadInput(f"{where} is damaged: it names no {missing.args[0]}.") from None
    provide(needed, family, domain, where, run)
    resolved = resolve(family, domain, options, data, supplied(needed, own or Own(), where, run))
    if not asked:
        return resolved
    if not isinstance(asked, dict):
        raise BadInput(f"{where} is damaged: asking is no set of options.")
    validate(resolved.domain.Asking, asked, f'the domain "{domain}"')
    return dataclasses.replace(resolved, asked=asked)
