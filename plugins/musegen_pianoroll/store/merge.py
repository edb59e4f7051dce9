"""Several packed stores as one, the same byte for byte as if their files had been read together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from musegen.errors import BadInput
from musegen_pianoroll.store.format import Piece
from musegen_pianoroll.store.store import Store
from musegen_pianoroll.store.writer import StoreWriter

__all__ = ["SPLITS", "deal", "merge_stores", "name_order"]

SPLITS = (0.8, 0.1, 0.1)
_SAME = "same as "


def name_order(name: str) -> list[str]:
    """The order in which files of a folder are read: by the names of folders, then files."""
    return name.split("/")


def deal(pieces: list[Piece], splits: tuple[float, float, float] = SPLITS) -> list[Piece]:
    """Deal pieces out by checksum in exact proportions: at least one per split, but with fewer than three all to training."""
    n = len(pieces)
    if n < 3:
        return pieces
    n_valid, n_test = (max(1, round(share * n)) for share in splits[1:])
    order = sorted(range(n), key=lambda i: pieces[i].sha256)
    split = ["train"] * n
    for rank, i in enumerate(order[: n_valid + n_test]):
        split[i] = "valid" if rank < n_valid else "test"
    return [piece if s == piece.split else replace(piece, split=s) for piece, s in zip(pieces, split, strict=True)]


def merge_stores(
    stores: Sequence[Path], out: Path, splits: tuple[float, float, float] = SPLITS, overwrite: bool = False
) -> tuple[int, int]:
    """Put stores together: pieces in the order of their names, doubles left out, splits dealt anew.

    Returns:
        Pieces kept, files left out.

    Raises:
        BadInput: the stores were built differently, or are not all the shards of one folder, or ``out`` exists.
    """
    opened = [Store.open(path) for path in stores]
    if not opened:
        raise BadInput("There is nothing to merge: name the stores.")
    first = opened[0]
    for store in opened[1:]:
        for what in ("steps_per_beat", "tracks", "mapping", "heard", "has_velocities"):
            if getattr(store, what) != getattr(first, what):
                raise BadInput(
                    f"{first.path} and {store.path} differ in {what.removeprefix('has_')}: build them with the same options."
                )
    _check_shards(opened)
    skipped = [left_out for store in opened for left_out in _left_out(store)]
    order = sorted(
        ((store, piece) for store in opened for piece in store.pieces), key=lambda item: name_order(item[1].source)
    )
    seen: dict[str, str] = {}
    with StoreWriter(
        Path(out),
        first.tracks,
        first.steps_per_beat,
        first.mapping,
        overwrite,
        heard=first.heard,
        velocities=first.has_velocities,
    ) as writer:
        for store, piece in order:
            if piece.sha256 in seen:
                skipped.append((piece.source, "", piece.sha256))
                continue
            seen[piece.sha256] = piece.source
            fields = {k: v for k, v in vars(piece).items() if k not in ("first_step", "n_steps")}
            planes = store.planes[piece.first_step : piece.first_step + piece.n_steps]
            writer.add(planes, fields | {"split": "train"})
        if not seen:
            raise BadInput("None of these stores holds a piece.")
        writer.pieces = deal(writer.pieces, splits)
        skipped.sort(key=lambda row: name_order(row[0]))
        writer.finish((name, reason or _SAME + seen[sha256]) for name, reason, sha256 in skipped)
    return len(seen), len(skipped)


def _left_out(store: Store) -> Iterator[tuple[str, str, str]]:
    """Name, reason and, for doubles, the checksum instead of a reason: which file is the first of them is yet to be seen."""
    sha256 = {piece.source: piece.sha256 for piece in store.pieces}
    for name, reason in store.skipped():
        double = sha256.get(reason.removeprefix(_SAME)) if reason.startswith(_SAME) else None
        yield (name, "", double) if double else (name, reason, "")


def _check_shards(stores: Sequence[Store]) -> None:
    shards = [store.shard for store in stores if store.shard]
    if not shards:
        return
    first = shards[0]
    if len(shards) < len(stores) or any((s.of, s.files) != (first.of, first.files) for s in shards):
        raise BadInput(
            "These stores are not shards of one folder: build all shards from the same files with the same number of shards."
        )
    missing = sorted(set(range(1, first.of + 1)) - {s.index for s in shards})
    if missing:
        raise BadInput(f"Shard {missing[0]}/{first.of} is missing: give all {first.of} stores.")
    if len(shards) > first.of:
        raise BadInput(f"There are {len(shards)} stores for {first.of} shards: give each once.")
