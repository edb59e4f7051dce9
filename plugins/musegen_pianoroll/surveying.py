"""What is understood of music before anybody trains on it."""

from __future__ import annotations

from pathlib import Path

from musegen.contracts.survey import Survey
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.opening import bars_in_words, find_store, metre_of
from musegen_pianoroll.store.store import Store

__all__ = ["grid_in_words", "surveyed"]

FEW = 0.02
"""Share of onsets off the grid that is no reason to choose another."""


def surveyed(config: PianorollConfig, source: Path, cache: Path) -> Survey:
    """Pieces, bars, metres and tempos of a store or of files, how well the grid fits, and each track's notes."""
    store, skipped = find_store(config, source, cache)
    lowest, median, highest = store.tempo_range()
    metre = metre_of(config, store)
    use = store.use_of_bars(config.bars, metre)
    facts = {
        "pieces": len(store.pieces),
        "steps_per_beat": store.steps_per_beat,
        "bars": use.all,
        "bars_unused": use.unused,
        "metre": f"{metre[0]}/{metre[1]}",
        "bars_per_window": config.bars,
        "use_of_bars": bars_in_words(config, store),
        "metres": ", ".join(f"{name} ({bars} bars)" for name, bars in store.metres().items()),
        "grid": grid_in_words(store),
        "tempo": f"{lowest:.0f} to {highest:.0f} bpm, median {median:.0f}",
        "splits": ", ".join(f"{split} {n}" for split, n in store.splits().items()),
        "mended": sum(bool(piece.mended) for piece in store.pieces),
        "sha256": store.fingerprint,
    }
    grids = [
        {"steps per beat": grid, "onsets off the grid %": round(100 * share, 1)}
        for grid, share in store.off_grid().items()
    ]
    return Survey(facts, {"grids": grids, "tracks": store.summary()}, skipped or store.skipped())


def grid_in_words(store: Store) -> str | None:
    """How many onsets lie off the store's grid, and which grid to choose; None if that is not known."""
    off = store.off_grid()
    if store.steps_per_beat not in off:
        return None
    mine = off[store.steps_per_beat]
    said = (
        f"{100 * mine:.1f} % of onsets lie further than a fifth of a step off at {store.steps_per_beat} steps per beat"
    )
    better = [grid for grid, share in off.items() if share <= FEW]
    best = better[0] if better else min(off, key=lambda grid: off[grid])
    if mine <= FEW or best == store.steps_per_beat or off[best] > 0.5 * mine:
        return said
    kind = " (triplets or swing)" if off[min(6, best)] < off[4] or best in (6, 12) else ""
    return f"{said}; at {best} it is {100 * off[best]:.1f} %{kind}: use steps_per_beat={best}"
