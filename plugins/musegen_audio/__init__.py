"""Sound: notes that ship with musegen, or a folder of recordings."""

from musegen.plugins import Offer, hookimpl

MUSEGEN_API = "1.0"


def _domain() -> type:
    from musegen_audio.domain import AudioDomain

    return AudioDomain


@hookimpl
def musegen_domains() -> list[Offer]:
    return [Offer("audio", "sound: single notes of many instruments, or a folder of your own", _domain)]
