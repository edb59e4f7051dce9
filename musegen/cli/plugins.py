"""Commands that plugins add."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import App

from musegen.cli.app import DATA, PLUGINS, app
from musegen.plugins.hooks import CORE_COMMANDS

__all__ = ["add_plugin_commands"]


def add_plugin_commands(arguments: Sequence[str]) -> None:
    """Add what plugins offer, if these arguments may be about it: a list of commands, or one that the core does not have.

    The module of a command is imported only if that command is called; lists show the summary that comes with the offer.
    """
    words = [argument for argument in arguments if not argument.startswith("-")]
    ours = CORE_COMMANDS - {"data", "plugin"}  # which are groups, and plugins may add to them
    if words and (words[0] in ours or " ".join(words[:2]) in ours):
        return
    from musegen.plugins import registry

    known = registry()
    for name, offer in known.commands.items():
        *group, word = name.split()
        where = _group(group[0]) if group else app
        called = words[: len(group) + 1] == [*group, word]
        function = known.command(name) if called else _stand_in
        if word in where:
            del where[word]  # of an earlier call in the same process
        where.command(function, name=word, help=None if called else offer.summary, group=None if group else PLUGINS)


def _group(name: str) -> App:
    """The group of commands of that name."""
    if name not in app:
        app.command(App(name=name, help="", result_action="return_value", group=PLUGINS if name != "data" else DATA))
    return app[name]


def _stand_in() -> None:
    """In lists, for a function that need not be imported."""
