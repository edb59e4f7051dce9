"""Limits of what strangers' files may claim, each with its reason; those of each kind of data are with its plugin.

What is within them is read whatever it holds; what is above is refused before memory is asked for.
"""

from __future__ import annotations

import os

CONFIG_CAP_BYTES = 1 << 20
"""Of a file of options: the longest real ones have some kilobytes."""
CONFIG_CAP_VALUES = 100_000
"""Values in it, with each reference counted as what it stands for: nine short lines may stand for a billion values."""
VALUE_CHARACTERS = 200
"""Of a value in a message: more tells nobody more."""
MESSAGE_CHARACTERS = 4000
"""Of a whole message: two screens."""
PROCESSES_PER_CORE, FEWEST_PROCESSES = 4, 16
"""Processes of a run on this machine: each takes 300 MB before it does anything. torchrun starts as many as it is told."""

HEADER_CAP_BYTES = 8 << 20
"""Of a model file: names and shapes of its tensors, of which the largest networks have some thousands, and its options."""
RECORD_CAP_BYTES = 16 << 20
"""Of what a run records in one file: its state, its surroundings, the manifest of a checkpoint."""
METRICS_CAP_BYTES = 256 << 20
"""Of the metrics of a run: a million lines."""
SOURCE_CAP_BYTES = 8 << 20
"""Of a plugin in one file."""
SOUNDFONT_CAP_BYTES = 2 << 30
"""Of a soundfont, which stays in memory; the largest that are in use have 1 GB."""
MOST_AT_ONCE = 1_000_000
"""Samples, steps or bars that one command may be asked for."""
MOST_RUNS = 10_000
"""Of a sweep: a short file may stand for any number."""
NETWORK_CALLS = 20_000
"""Of torch, while networks are made: a layer takes about six, and the deepest networks have a thousand."""


def in_bytes(n: float) -> str:
    """``1.5 GB``."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while n >= 1000 and len(units) > 1:
        n /= 1000
        units.pop(0)
    return f"{n:,.0f} {units[0]}" if units[0] == "bytes" or n >= 100 else f"{n:.1f} {units[0]}"


def most_processes() -> int:
    """How many processes of a run may be started on this machine."""
    return max(FEWEST_PROCESSES, PROCESSES_PER_CORE * (os.cpu_count() or 1))
