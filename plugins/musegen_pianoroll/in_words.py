"""What is said of music before anybody trains on it: which bars are used, and how well the grid fits."""

from __future__ import annotations

from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.store.rooms import Rooms
from musegen_pianoroll.store.store import Store

__all__ = ["bars_in_words", "grid_in_words", "remarks", "rooms_of"]

FEW = 0.02
"""Share of onsets off the grid that is no reason to choose another."""


def remarks(config: PianorollConfig, store: Store, unread: str = "") -> list[str]:
    """What a user should know of a store, a sentence each without a full stop.

    Args:
        unread: files of other kinds, in words.
    """
    said = [bars_in_words(config, store)]
    if grid := grid_in_words(store):
        said.append(grid)
    if n := sum(bool(piece.mended) for piece in store.pieces):
        said.append(
            f"{n:,} of {len(store.pieces):,} files had faults and were read all the same: see mended.csv in the store"
        )
    return [*said, *([unread] if unread else [])]


def rooms_of(config: PianorollConfig, store: Store) -> Rooms:
    """How the bars that are used stand in samples: of the metres that the config names, or of what most of the store is in."""
    return Rooms((store.usual_metre,), store.steps_per_beat) if config.metre == "auto" else config.rooms


def bars_in_words(config: PianorollConfig, store: Store) -> str:
    """How many bars are used, why others are not, and the way out."""
    rooms = rooms_of(config, store)
    use, name = store.use_of_bars(config.bars, rooms), rooms.name
    said = [f"{use.all:,} bars: {use.used:,} used"]
    if use.other:
        ways = [f"metre={other} uses {n:,} bars" for other, n in [*store.other_metres(rooms).items()][:2]]
        if not config.file_metre and not config.short_bars:
            ways.append(f"file_metre={name} takes every file to be in {name}")
        said.append(
            f"{use.other:,} left out for their metre, which is not {name}"
            + (f" (try one of: {', '.join(ways)})" if ways else "")
        )
    if use.short:
        fewer = max(1, config.bars // 2)
        said.append(
            f"{use.short:,} left out because fewer than {config.bars} of them stand in a row (try bars={fewer})"
        )
    silent = [
        track.name for i, track in enumerate(store.tracks) if not any(p.n_notes[i] for p in store.pieces if p.n_notes)
    ]
    if silent:
        said.append(f"tracks without notes: {', '.join(silent)}")
    return "; ".join(said)


def grid_in_words(store: Store) -> str | None:
    """How many onsets lie off the store's grid, and which grid to choose; None if they are few, or were not counted."""
    off = store.off_grid()
    if store.steps_per_beat not in off:
        return None
    mine = off[store.steps_per_beat]
    if mine <= FEW:
        return None
    said = (
        f"{100 * mine:.1f} % of onsets lie further than a fifth of a step off at {store.steps_per_beat} steps per beat"
    )
    better = [grid for grid, share in off.items() if share <= FEW]
    best = better[0] if better else min(off, key=lambda grid: off[grid])
    if best == store.steps_per_beat or off[best] > 0.5 * mine:
        return said
    kind = " (triplets or swing)" if off[min(6, best)] < off[4] or best in (6, 12) else ""
    return f"{said}; at {best} it is {100 * off[best]:.1f} %{kind}: use steps_per_beat={best}"
