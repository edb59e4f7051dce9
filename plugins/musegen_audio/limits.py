"""How large sounds may be, each limit with its reason."""

from __future__ import annotations

RATES_HZ = (1_000, 768_000)
"""Sample rates of files, lowest and highest; a header that says anything else lies."""
LONGEST_S = 36_000
"""Seconds of a file: a few hundred kilobytes of FLAC may hold days of silence. Cut up what is longer."""
CLIPS_CAP_BYTES = 4 << 30
"""Of the clips of all files of a folder, which stay in memory while a model is trained: 12 hours at 48,000 Hz."""
