"""What is understood of music before anybody trains on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from musegen.contracts.survey import Survey
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.in_words import remarks, rooms_of
from musegen_pianoroll.opening import find_store

__all__ = ["surveyed"]


def surveyed(config: PianorollConfig, source: Path, cache: Path) -> Survey:
    """Pieces, bars, metres and tempos of a store or of files, how well the grid fits, and each track's notes."""
    store, skipped, unread = find_store(config, source, cache)
    lowest, median, highest = store.tempo_range()
    rooms = rooms_of(config, store)
    use = store.use_of_bars(config.bars, rooms)
    facts = {
        "pieces": len(store.pieces),
        "steps_per_beat": store.steps_per_beat,
        "bars": use.all,
        "bars_unused": use.unused,
        "metre": rooms.name,
        "bars_per_window": config.bars,
        "metres": ", ".join(f"{name} ({bars} bars)" for name, bars in store.metres().items()),
        "tempo": f"{lowest:.0f} to {highest:.0f} bpm, median {median:.0f}",
        **({"velocities": "in four levels"} if store.has_velocities else {}),
        "splits": ", ".join(f"{split} {n}" for split, n in store.splits().items()),
        "mended": sum(bool(piece.mended) for piece in store.pieces),
        "sha256": store.fingerprint,
    }
    grids = [
        {"steps per beat": grid, "onsets off the grid %": round(100 * share, 1)}
        for grid, share in store.off_grid().items()
    ]
    tables = {"grids": grids, "tracks": store.summary()}
    found = config if config.labels != "none" else replace(config, classes=[])
    return Survey(facts, tables, skipped or store.skipped(), remarks(config, store, unread), found)
