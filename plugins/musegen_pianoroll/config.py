"""The options of the pianoroll domain: what a sample is, and how it becomes music."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any, Literal

from musegen.errors import BadInput
from musegen.options import option
from musegen_pianoroll.limits import MOST_BARS
from musegen_pianoroll.reading.options import Pedal, Reading
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.metres import COMMON, signature
from musegen_pianoroll.store.rooms import Rooms
from musegen_pianoroll.store.velocities import LEVEL_PLANES, NOTE_PLANES

__all__ = ["PianorollConfig", "PianorollReading", "PianorollWriting"]


@dataclass(frozen=True)
class PianorollReading:
    file_metre: str = option(
        "", "take every file to be in this metre, such as 4/4, whatever it says; empty: as the file says"
    )
    pedal: Pedal = option(
        "piano", "whose notes sound for as long as the sustain pedal is down: pianos, all, or off: none"
    )
    track: str = option(
        "", "the track of a given file, by name or number, that plays the part a model is given; empty: found"
    )
    most_bars: int = option(
        MOST_BARS, "longest file that a model is given, in bars of its metre; a longer one is refused", ge=1
    )


@dataclass(frozen=True)
class PianorollConfig(PianorollReading):
    networks: Literal["mlp", "musegan-composer", "musegan-jamming", "musegan-hybrid"] = option(
        "musegan-composer",
        "preset of networks: MuseGAN's composer (one writes all tracks), jamming (each track has a code, a generator and a "
        "critic of its own) or hybrid (each has its own, and a code that all share; one critic), or plain perceptrons",
    )
    widths: list[int] = option([512, 256], "widths of the mlp's hidden layers, from the roll to the code")
    channels: int = option(64, "channels of the musegan networks' widest layer in time and pitch, per generator", ge=1)
    tracks: str | dict[str, Any] = option(
        "band",
        "band (drums, piano, guitar, bass, strings), voices (soprano, alto, tenor, bass, by their names or in order), or your own "
        "mapping; a store brings its own",
    )
    steps_per_beat: int = option(4, "time steps per quarter note; a store brings its own", ge=1, le=96)
    bars: int = option(4, "bars per sample", ge=1, le=MOST_BARS)
    metre: str = option(
        "auto",
        "time signature of the bars used, such as 3/4: others are left out, but for parts of bars, such as 2/4 for 4/4, which are "
        "joined; auto: that of most of the music; or several, such as 4/4,3/4,6/8, for one model of all (given=any)",
    )
    lowest_pitch: int = option(24, "lowest MIDI pitch; lower notes are left out", ge=0, le=127)
    highest_pitch: int = option(107, "highest MIDI pitch", ge=0, le=127)
    velocities: bool = option(
        False,
        "whether a model writes how loud notes are, in four levels; a store is built with them (rnn_nade with given=any)",
    )
    planes: Literal["frame+onset", "frame"] = option("frame+onset", "with onsets, repeated notes stay apart")
    transpose: int = option(0, "training windows are moved by up to this many semitones, drums excepted", ge=0, le=24)
    shorten: float = option(
        0.0,
        "share of training windows in the longest of several metres that are cut to another of them, each bar by the steps that it "
        "would lack: for music that is nearly all in one metre",
        ge=0,
        le=1,
    )
    tempo_bpm: float | None = option(
        None, "tempo of the music (default: the data's median)", gt=0, unit="beats per minute", of_data=True
    )
    given: list[str] = option(
        [],
        "what a model is given: names of tracks; past, which is all bars but the last; or any: in training any bars of any tracks, "
        "so that one model writes, continues, accompanies and fills in (rnn_nade)",
    )
    plan: Literal["none", "chords"] = option(
        "none",
        "chords: those found in the music come before its notes in every step, so that they may be asked for (rnn_nade)",
    )
    labels: Literal["none", "mode", "folder"] = option(
        "none", "classes: mode (major or minor, by key profile of the piece) or folder (subfolders of the data)"
    )
    target: str = option(
        "none", "second data set, for domain adaptation: none, chorales, freedoom, or a folder of MIDI files or a store"
    )
    classes: list[str] = option([], "names of the classes; found in the data", of_data=True)
    track_list: list[dict[str, Any]] = option([], "the tracks found in the data", of_data=True)

    def __post_init__(self) -> None:
        if self.lowest_pitch > self.highest_pitch:
            raise BadInput(
                f"lowest_pitch={self.lowest_pitch} lies above highest_pitch={self.highest_pitch}: swap them."
            )
        try:
            for track in self.track_list:
                StoreTrack.from_json(track)
        except TypeError as error:
            raise BadInput(
                f"track_list is invalid ({error}): it is found in the data, so leave it as it was written."
            ) from None
        if not self.widths or any(width < 1 for width in self.widths):
            raise BadInput(f"widths={self.widths} is invalid: use positive numbers, such as [512, 256].")
        if self.chords and (
            self.n_planes < 2
            or self.plan_octave - self.transpose < self.lowest_pitch
            or self.plan_octave + 11 + self.transpose > self.highest_pitch
        ):
            raise BadInput(
                "plan=chords needs planes=frame+onset, and an octave from C to B in the pitch range that stays in it when moved "
                f"by transpose={self.transpose} semitones: use a wider range, or plan=none."
            )
        if self.velocities and self.n_planes < NOTE_PLANES:
            raise BadInput("velocities=True needs planes=frame+onset, because a note has its velocity where it begins.")
        if self.file_metre:
            signature(self.file_metre, "file_metre")
        for numerator, denominator in self.rooms.metres:
            if numerator * 4 * self.steps_per_beat % denominator:
                raise BadInput(
                    f"A bar of {numerator}/{denominator} is no whole number of steps at steps_per_beat={self.steps_per_beat}: use "
                    f"steps_per_beat={denominator // gcd(denominator, 4 * numerator)}, or a multiple of it."
                )

    @property
    def rooms(self) -> Rooms:
        """How bars stand in samples; of 4/4 as long as the metre is to be found."""
        metres = [COMMON] if self.metre == "auto" else [signature(name.strip()) for name in self.metre.split(",")]
        return Rooms(tuple(dict.fromkeys(metres)), self.steps_per_beat)

    @property
    def short_bars(self) -> bool:
        """Whether there are several metres, so that bars may lack rows."""
        return len(self.rooms.metres) > 1

    def reading(self, given: Sequence[str] = ()) -> Reading:
        """How files are read; ``given``: the tracks of them that a model is given."""
        tracks = self.tracks
        names = [track["name"] for track in self.track_list]
        if isinstance(tracks, dict) and set(names) == set(tracks):
            tracks = {name: tracks[name] for name in names}  # model files of earlier versions sorted them by name
        return Reading(
            tracks, self.steps_per_beat, self.pedal, self.file_metre, tuple(given), self.track or None, self.velocities
        )

    @property
    def bar_steps(self) -> int:
        """Rows of a bar."""
        return self.rooms.size

    @property
    def chords(self) -> bool:
        """Whether chords come before notes."""
        return self.plan == "chords"

    @property
    def beat_steps(self) -> int:
        """Steps of the beats that chords stand on: quarter notes, or shorter ones of which a bar has a whole number."""
        return gcd(self.bar_steps, self.steps_per_beat)

    @property
    def plan_octave(self) -> int:
        """Lowest pitch of the octave that chords are written in, a C in the middle of the range."""
        return (self.lowest_pitch + self.highest_pitch - 11 + 6) // 2 // 12 * 12

    @property
    def n_plan(self) -> int:
        """Planes of chords, before those of the tracks."""
        return 2 if self.chords else 0

    @property
    def n_planes(self) -> int:
        return 2 if self.planes == "frame+onset" else 1

    @property
    def n_levels(self) -> int:
        """Planes of each track's levels of velocity, after those of all notes."""
        return LEVEL_PLANES if self.velocities else 0

    @property
    def pitch_range(self) -> tuple[int, int]:
        """Lowest pitch, and the one after the highest."""
        return self.lowest_pitch, self.highest_pitch + 1


@dataclass(frozen=True)
class PianorollWriting:
    tempo: float | None = option(None, "tempo (default: the model's, see tempo_bpm)", gt=0, unit="beats per minute")
    programs: dict[str, int | str] = option(
        {}, "General MIDI programs of tracks, numbers from 0 or names: Piano=5,Bass=Fretless Bass"
    )
    threshold: Literal["auto"] | float | list[float] | dict[str, float] = option(
        "auto",
        "a cell sounds when its probability is above this: one number, one per track, or Piano=0.4,Bass=0.3; auto: set at the end "
        "of training, so that samples have as many notes, and as many bars in which no note begins, as the data",
    )
    gate: list[float] = option(
        [],
        "notes of a track begin in a bar if and only if some onset there is more probable than this; set with threshold=auto",
    )

    def __post_init__(self) -> None:
        match self.threshold:
            case "auto":
                numbers: list[float] = []
            case dict():
                numbers = list(self.threshold.values())
            case list():
                numbers = self.threshold
            case number:
                numbers = [float(number)]
        if any(not 0 <= number <= 1 for number in numbers):
            raise BadInput(f"threshold={self.threshold} is invalid: use numbers from 0 to 1, or auto.")
