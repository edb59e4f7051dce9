"""Multi-track pianorolls: MIDI files, Lakh pianoroll files, or a packed store."""

from musegen.plugins import Offer, hookimpl


def _domain() -> type:
    from musegen_pianoroll.domain import PianorollDomain

    return PianorollDomain


@hookimpl
def musegen_domains() -> list[Offer]:
    return [Offer("pianoroll", "multi-track music: MIDI or Lakh pianoroll files, or a packed store", _domain)]
