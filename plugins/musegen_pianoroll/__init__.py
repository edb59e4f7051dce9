"""Multi-track pianorolls: MIDI files, Lakh pianoroll files, or a packed store."""

from typing import Any

from musegen.plugins import Offer, hookimpl

__all__ = ["Pianoroll", "musegen_domains"]

MUSEGEN_API = "1.0"


def _domain() -> type:
    from musegen_pianoroll.domain import PianorollDomain

    return PianorollDomain


@hookimpl
def musegen_domains() -> list[Offer]:
    return [Offer("pianoroll", "multi-track music: MIDI or Lakh pianoroll files, or a packed store", _domain)]


def __getattr__(name: str) -> Any:
    # Listing plugins imports this module, which must stay light.
    if name == "Pianoroll":
        from musegen_pianoroll.writing.pianoroll import Pianoroll

        return Pianoroll
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
