"""How large files of music may be, each limit with its reason: a file of some bytes may claim to last for years.

Real files are far below them. What is above is refused, or left out of a folder with the reason.
"""

from __future__ import annotations

SIZE_CAP_BYTES = 16 << 20
"""Of a file: the largest MIDI files of Lakh have 1.5 MB, and each byte may become 30 while it is read."""
EVENT_CAP = 2_000_000
"""Of a MIDI file, which takes 100 bytes of memory per event."""
NOTE_CAP = 1_000_000
"""Of a piece: a thousand times those of a long one."""
BEAT_CAP = 50_000
"""Longest piece, in quarter notes: about seven hours at 120 beats per minute. It takes 32 bytes per step and track in a store."""
MOST_BARS = 1000
"""Bars of a piece that a model is given, unless the option ``most_bars`` says otherwise: the networks need some 6 MB per bar."""
CELL_CAP = 8_000_000
"""Cells of a training array that may sound: what they need of memory while they are read stays below 1 GB."""
LPD_CELL_CAP = 2_000_000
"""Cells of a Lakh pianoroll that may sound, in all tracks, which take 80 bytes each while they are read; real ones have 500,000."""
INDEX_CAP_BYTES = 256 << 20
"""Of what a store says of its pieces: half a million of them."""
MEMBER_CAP_BYTES = 64 << 20
"""Of a file in a zip, unpacked; a zip of 1 MB may hold a gigabyte of zeros."""
XML_CAP_BYTES = 32 << 20
"""Of sheet music, unpacked: some 10,000 bars."""
XML_LEVELS = 100
"""Elements in elements: MusicXML has 10, and parsers recurse."""
TEMPO_CAP = 10_000
"""Changes of the tempo in a Lakh pianoroll: with more, only those that hold at the beginning of a beat are kept."""
READER_CAP_BYTES = 4 << 30
"""Memory of a process that reads files: many at once, and sheet music by a library that takes what it wants."""
