"""Multi-track pianorolls: MIDI files, Lakh pianoroll files, or a packed store."""

from collections.abc import Callable
from typing import Any

from musegen.plugins import Command, Offer, hookimpl

__all__ = ["Pianoroll", "musegen_commands", "musegen_domains"]

MUSEGEN_API = "1.0"


def _domain() -> type:
    from musegen_pianoroll.domain import PianorollDomain

    return PianorollDomain


@hookimpl
def musegen_domains() -> list[Offer]:
    return [Offer("pianoroll", "multi-track music: MIDI or Lakh pianoroll files, or a packed store", _domain)]


def _command(name: str) -> Callable[[], Any]:
    def load() -> Any:
        from musegen_pianoroll import commands

        return getattr(commands, name)

    return load


@hookimpl
def musegen_commands() -> list[Command]:
    return [
        Command("data build", "Build a packed store from a folder of files of music.", _command("build")),
        Command("data cut", "Cut a large training array of MuseGAN into files that data build reads.", _command("cut")),
        Command("data get", "Download a corpus, check it, and write its pieces as MIDI files.", _command("get")),
        Command("data merge", "Make one packed store of several, such as the shards of a folder.", _command("merge")),
    ]


def __getattr__(name: str) -> Any:
    # Listing plugins imports this module, which must stay light.
    if name == "Pianoroll":
        from musegen_pianoroll.writing.pianoroll import Pianoroll

        return Pianoroll
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
