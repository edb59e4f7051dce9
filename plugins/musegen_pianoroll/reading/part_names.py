"""What the name of a track says of what it plays: a voice of a choir, the melody, an accompaniment, a click.

Words are whole words without accents, of any case; an underscore, a digit or an inner capital ends one. A word alone can mislead:
"Soprano Sax" is no singer and "Voice Oohs" no melody, so other words of the name can take its meaning away.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["is_accompaniment", "is_click", "melody_rank", "plain", "voices_named"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SOPRANO = _words(
    "soprano sopranos soprani sopran soprane sopraan sopr sop discant diskant superius oberstimme сопрано ソプラノ 女高音"
)
_ALTO = _words("alto altos alti altus contralto contraltos contralti альт アルト 女低音")
_TENOR = _words("tenor tenors tenore tenori tenors tenores тенор テノール 男高音")
_BASS = _words("bass basses basse basso bassi bassus baritone baritones bariton baritono baryton бас バス 男低音")
_VOICES = (_SOPRANO, _ALTO, _TENOR, _BASS)
_VOICES_ALONE = (_words("treble cantus canto"), _words("alt alts"), _words("ten"), _words("bas bajo baixo"))
"""These mean a voice only where nothing but a number or the like stands beside them."""
_LETTERS = "satb"
_TUNE = _words("melody melodies melodie melodia melodi tune hauptstimme メロディ メロディー 主旋律 旋律 мелодия 멜로디")
_SUNG = _words(
    "vocal vocals vocalist vox voice voc singer singing gesang singstimme gesangsstimme sang spiew laulu "
    "cantante voz voce voix chant zang "
    "ボーカル ヴォーカル 歌 вокал голос 보컬"
)
_LEAD = _words("lead theme thema tema")
_NEUTRAL = _words(
    "main the a of for part parts line track staff system solo choir chorus chor coro koor kor kör satb stimme stimmen "
    "i ii iii iv st nd rd th first second third principal mus male female men women right hand rh r h midi channel ch"
)
_INSTRUMENTS = _words(
    "sax saxophone saxofon saxophon clarinet klarinette clarinette flute flote recorder blockflote trombone posaune guitar gtr "
    "gitarre guitarra guitare git horn tuba trumpet trompete trompette cornet kornett viol viola violin violine viole cello oboe "
    "organ orgel orgue piano klavier keys keyboard accordion banjo mandolin ukulele pan marimba vibraphone xylophone bell bells "
    "harp harmonica ocarina whistle string strings fagott bassoon euphonium drum drums clavier fiddle synth"
)
_PATCHES = _words("synth syn space aah aahs ah ahs ooh oohs oo doo pad pads")
_BEHIND = _words(
    "backing back background backup bg bkg bgv bgvs bv bvs harmony harmonies harm choir chorus coro coros chor choeur choeurs "
    "counter counterpoint second double doubling descant"
)
_CHORDS = _words(
    "chord chords akkord akkorde accord accords acordes accordi pad pads comp comping accompaniment accomp begleitung "
    "accompagnement accompagnamento acompanamiento acompanhamento backing background rhythm rythm strum strumming arp arpeggio "
    "arpeggios arpeggiator ostinato drone harmony harmonies コード 伴奏 аккорды"
)
_LOW = _BASS | _words("bas bajo baixo ベース contrabass contrabasso kontrabass subbass pedal")
_LEFT = _words("lh left linke links gauche izquierda sinistra")
_CLICKS = _words(
    "click clicks clicktrack metronome metronom metronomo metronoom countin countoff クリック メトロノーム метроном"
)


def plain(name: str) -> str:
    """A name as names are compared: without case, in one of the forms that Unicode has for it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def words_of(name: str) -> list[str]:
    """The words of a name; Latin letters lose their accents.

    >>> from musegen_pianoroll.reading.part_names import words_of
    >>> words_of("LeadVocal_2 (Ténor)")
    ['lead', 'vocal', '2', 'tenor']
    """
    text = re.sub(r"(?<=[a-zß-ÿ])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name)).casefold()
    text = "".join(unicodedata.normalize("NFD", c)[0] if c < "\u0370" else c for c in text)
    return re.findall(r"[^\W\d_]+|\d+", text)


def _is_neutral(word: str) -> bool:
    return word.isdecimal() or word in _NEUTRAL


def voices_named(names: Sequence[str]) -> list[int | None]:
    """Of each track of a file the voice that its name says: 0 soprano, 1 alto, 2 tenor, 3 bass; None: it says none.

    The letters S, A, T and B say one where two of them or more are names, S or T among them, and no other letter is. Of two
    voices in one name, as on a staff for both, the higher one counts.
    """
    split = [words_of(name) for name in names]
    letters = [found for words in split if len(found := [w for w in words if not w.isdecimal()]) == 1]
    single = {word for (word,) in letters if len(word) == 1 and word.isascii()}
    trusts_letters = len(single) > 1 and single <= set(_LETTERS) and bool(single & {"s", "t"})
    trusts_pairs = any("".join(words) == "sa" for words in split)
    return [_voice(words, trusts_letters, trusts_pairs) for words in split]


def _voice(words: list[str], trusts_letters: bool, trusts_pairs: bool) -> int | None:
    said = [word for word in words if not word.isdecimal()]
    if len(said) == 1 and len(said[0]) == 1:
        return _LETTERS.find(said[0]) if trusts_letters and said[0] in _LETTERS else None
    if trusts_pairs and "".join(said) in ("sa", "tb"):
        return 0 if said[0][0] == "s" else 2
    if any(word in _INSTRUMENTS or word in _PATCHES for word in said):
        return None
    for voice, (sure, alone) in enumerate(zip(_VOICES, _VOICES_ALONE, strict=True)):
        others = [word for word in said if word not in sure | alone]
        if any(word in sure for word in said) or (len(others) < len(said) and all(map(_is_neutral, others))):
            return voice
    return None


def melody_rank(name: str) -> int:
    """How surely a name says that its track is the melody: 1 melody, tune; 2 voice, vocals; 3 perhaps; 0 not at all.

    Perhaps: a lead, or a name with more in it, which may be the title of the song.

    >>> from musegen_pianoroll.reading.part_names import melody_rank
    >>> [melody_rank(name) for name in ("Melodie (Flöte)", "Lead Vocals", "Synth Lead", "Unchained Melody", "Backing vocals")]
    [1, 1, 3, 3, 0]
    """
    words = words_of(name)
    said = set(words)
    if said & _BEHIND or is_accompaniment(name):
        return 0
    if said & _TUNE or (said & _SUNG and said & _LEAD and not said & _PATCHES):
        rank, known = 1, _TUNE | _SUNG | _LEAD | _INSTRUMENTS | _SOPRANO
    elif said & _SUNG and not said & (_PATCHES | _INSTRUMENTS):
        rank, known = 2, _SUNG
    elif said & _LEAD and not said & _words("guitar gtr gitarre guitarra guitare git"):
        return 3
    else:
        return 0
    return rank if all(word in known or _is_neutral(word) for word in words) else 3


def is_accompaniment(name: str) -> bool:
    """Whether a name says that its track is no melody: chords, a bass, a left hand, an accompaniment."""
    return bool(set(words_of(name)) & (_CHORDS | _LOW | _LEFT))


def is_click(name: str) -> bool:
    """Whether a name says that its track only keeps time: a click, a metronome, a count-in."""
    words = words_of(name)
    return bool(set(words) & _CLICKS) or any(pair in (("count", "in"), ("count", "off")) for pair in pairwise(words))
