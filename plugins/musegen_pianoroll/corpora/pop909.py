"""POP909 (Wang et al. 2020, ISMIR, 2008.07142): piano arrangements of 909 Chinese pop songs, put on their own beats.

As they are distributed, the files' ticks are of a constant tempo and know nothing of beats, which stand in a file of their own
(``beat_midi.txt``: seconds, and whether a bar begins). Here 480 ticks are a beat that somebody annotated, the first annotated
downbeat begins a bar, the metre is 4/4, and every beat has its tempo. What a note's place within its beat is, its velocity and its
track stay as they were; pedals are left out, because the notes last as long as they sound. Songs whose downbeats are usually
not four beats apart are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from musegen.data.downloads import digest_of_files, downloaded, files_in
from musegen.errors import BadInput
from musegen.files import write_file
from musegen.folders import NewFolder
from musegen.reporting import report
from musegen_pianoroll.limits import SIZE_CAP_BYTES
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.midi import read_scores
from musegen_pianoroll.writing.midi import MidiFile, Part, tempo_event
from musegen_pianoroll.writing.sound import seconds_of

__all__ = ["URL", "get_pop909", "on_its_beats"]

COMMIT = "d83e6edba6872a704f5d3b8b32f5cb540088dae6"
URL = f"https://github.com/music-x-lab/POP909-Dataset/archive/{COMMIT}.zip"
SHA256 = "e74c630dbfd5cf69644f94fd9784e952a81777f5a8ae8635670941233b74c602"
"""Of the files that are used, see ``digest_of_files``."""
MOST_BYTES = 100 << 20
"""Of the archive, which has 22 MB."""
USED = re.compile(r"LICENSE|POP909/(\d{3})/(?:\1\.mid|beat_midi\.txt)")
PROGRAMS = {"MELODY": 73, "BRIDGE": 24, "PIANO": 0}
"""General MIDI instruments of the tracks, which the files themselves all write as pianos."""
TICKS_PER_BEAT = 480
BEATS = 4
TRACKS = """\
# Tracks for musegen data build --tracks: the corpus's own, and what plays their parts in files of others.
Melody:
  names: [melody, vocal, voice, sing, lead, tune, soprano]
  programs: [52-54, 56-87]
  program: 73
Second:
  names: [bridge, second, strings, guitar]
  programs: [24-51, 55, 88-95]
  program: 48
Piano:
  names: [piano, keys, keyboard]
  programs: [0-23]
  program: 0
"""


def get_pop909(out: Path, source: Path | None = None) -> tuple[int, int]:
    """Write the songs into a new folder, a MIDI file each, with their licence and a mapping of their tracks, ``tracks.yaml``.

    Args:
        source: the archive, if it was downloaded already, or a folder with its files; None: it is downloaded.

    Returns:
        How many songs were written, and how many were left out for their metre.

    Raises:
        BadInput: ``out`` exists, or the songs cannot be had, or are not those that were checked.
    """
    with NewFolder(out, "LICENSE", "corpus") as new:
        if source is None:
            way_out = f"Download {URL} by other means, and name the file with --archive."
            with downloaded(URL, new.temporary, MOST_BYTES, way_out) as archive:
                files = _used(archive)
        else:
            files = _used(source)
        counts = _write(files, new.temporary)
        new.commit()
    return counts


def _used(source: Path) -> dict[str, bytes]:
    files = {name: content for name, content in files_in(source, SIZE_CAP_BYTES) if USED.fullmatch(name)}
    if digest_of_files(files) != SHA256:
        raise BadInput(
            f"{source} does not hold the files of POP909 that were checked ({len(files)} of 1,819 are there, or some differ): "
            f"use {URL}."
        )
    return files


def _write(files: Mapping[str, bytes], folder: Path) -> tuple[int, int]:
    songs = sorted(name for name in files if name.endswith(".mid"))
    n_written = 0
    for i, name in enumerate(songs):
        song = on_its_beats(files[name], files[name.rpartition("/")[0] + "/beat_midi.txt"], Path(name))
        if song is not None:
            write_file(folder / Path(name).name, song.content())
            n_written += 1
        report("Converting", i + 1, len(songs), "songs")
    write_file(folder / "tracks.yaml", TRACKS.encode())
    write_file(folder / "LICENSE", files["LICENSE"])
    return n_written, len(songs) - n_written


def on_its_beats(midi: bytes, beats: bytes, path: Path) -> MidiFile | None:
    """A song on its beats; None if its bars are not of four beats.

    Args:
        midi: the file as it is distributed.
        beats: its ``beat_midi.txt``.
        path: for messages.

    Raises:
        BadInput: one of the two cannot be read.
    """
    times, downbeats = _annotated(beats, path)
    if len(downbeats) < 2 or Counter(np.diff(downbeats).tolist()).most_common(1)[0][0] != BEATS:
        return None
    (score,) = read_scores([(path, midi)], "off", with_velocity=True)
    seconds = seconds_of(score.tempos, score.ticks_per_beat)
    lead = -int(downbeats[0]) % BEATS  # beats of rest before the first one, so that the first downbeat begins a bar

    def ticks(of: np.ndarray) -> np.ndarray:
        at = seconds(of)
        beat = np.clip(np.searchsorted(times, at, "right") - 1, 0, len(times) - 2)
        place = beat + (at - times[beat]) / (times[beat + 1] - times[beat])
        return np.maximum(np.rint((place + lead) * TICKS_PER_BEAT), 0).astype(np.int64)

    parts = []
    for track in score.tracks:
        if track.name in PROGRAMS and len(track.notes):
            assert track.velocity is not None  # because it was asked for
            start, end = ticks(track.notes[:, 0]), ticks(track.notes[:, 1])
            notes = np.stack([start, np.maximum(end, start + 1), track.notes[:, 2]], 1)
            parts.append(Part(track.name, PROGRAMS[track.name], False, notes, velocity=track.velocity))
    bpm = 60 / np.diff(times)
    tempos = [((i + lead) * TICKS_PER_BEAT, tempo_event(b)) for i, b in enumerate(bpm) if i + lead]
    last = max(int(part.notes[:, 1].max()) for part in parts) if parts else 0
    return MidiFile.new(TICKS_PER_BEAT, last, bpm[0], (BEATS, 4)).beside(parts, tempos, last)


def _annotated(beats: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of each beat, and the numbers of those that begin a bar."""
    try:
        table = np.array([line.split() for line in beats.decode().splitlines() if line.strip()], float)
        times, downbeats = table[:, 0], np.flatnonzero(table[:, 2])
    except (ValueError, IndexError):
        raise MidiError(path, "has no list of beats that can be read") from None
    if len(times) < 2 or not (np.diff(times) > 0).all():
        raise MidiError(path, "has beats that do not follow one another")
    return times, downbeats
