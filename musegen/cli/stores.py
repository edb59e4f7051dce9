"""Commands for packed stores."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from musegen.cli.app import data_app
from musegen.cli.options import Flag, Json
from musegen.cli.output import print_fields, print_table, print_text
from musegen.errors import BadInput, did_you_mean
from musegen.options import load_yaml

Out = Annotated[Path, Parameter(help="The store, a folder.")]


@data_app.command
def build(
    domain: str,
    folder: Path,
    *,
    out: Out,
    tracks: Annotated[str, Parameter(help="band, voices, or a YAML file with a mapping of your own.")] = "band",
    steps_per_beat: Annotated[int, Parameter(help="Time steps per quarter note.")] = 4,
    workers: Annotated[int | None, Parameter(help="Reading processes; one per processor if not given.")] = None,
    shard: Annotated[
        str, Parameter(help="I/N: only the I-th of N parts of the folder, for musegen data merge.")
    ] = "1/1",
    overwrite: Flag = False,
) -> None:
    """Build a packed store from a folder of MIDI or Lakh pianoroll files. When interrupted, the same command goes on from there."""
    _need_pianoroll(domain)
    from musegen_pianoroll.reading.build import build_store

    if not 1 <= steps_per_beat <= 96:
        raise BadInput(f"--steps-per-beat {steps_per_beat} will not do: use 1 to 96.")
    index, _, of = shard.partition("/")
    if not (index.isdecimal() and of.isdecimal()):
        raise BadInput(f"--shard {shard} will not do: write 1/4 for the first of four parts.")
    mapping: Any = tracks
    if tracks.endswith((".yaml", ".yml")):
        mapping = load_yaml(Path(tracks))
        mapping = mapping.get("tracks", mapping)

    report = build_store(
        folder,
        out,
        tracks=mapping,
        steps_per_beat=steps_per_beat,
        workers=workers,
        overwrite=overwrite,
        shard=(int(index), int(of)),
    )
    print(f"{report.n_read} pieces in {out}, {report.seconds:.1f} s; {report.n_skipped} files left out.")
    for name, reason in report.skipped[:5]:
        print(f"  {name}: {reason}")
    if report.n_skipped > 5:
        print(f"  and {report.n_skipped - 5} more, see {out}/skipped.csv")


@data_app.command
def merge(*stores: Path, out: Out, overwrite: Flag = False) -> None:
    """Make one store of several, such as the shards of a folder: the same as if it had been built at once."""
    from musegen_pianoroll.store.merge import merge_stores

    n_pieces, n_skipped = merge_stores(stores, out, overwrite=overwrite)
    print(f"{n_pieces} pieces in {out}; {n_skipped} files left out.")


@data_app.command
def info(store: Path, *, json: Json = False) -> None:
    """Show what is in a packed store."""
    from musegen_pianoroll.store.store import Store

    opened = Store.open(store)
    tracks = opened.summary()
    lowest, median, highest = opened.tempo_range()
    reasons = Counter(_kind_of_reason(reason) for _, reason in opened.skipped())
    pieces = {
        "pieces": len(opened.pieces),
        "steps per beat": opened.steps_per_beat,
        "bars": sum(bars for piece in opened.pieces for _, bars, _, _ in piece.segments),
        "metres": ", ".join(f"{metre} ({bars} bars)" for metre, bars in opened.metres().items()),
        "tempo": f"{lowest:.0f} to {highest:.0f} bpm, median {median:.0f}",
        "splits": ", ".join(f"{split} {n}" for split, n in opened.splits().items()),
        "left out": len(opened.skipped()),
        "sha256": opened.fingerprint,
    }
    if json:
        print_table([{"store": str(store), **pieces, "reasons": dict(reasons.most_common()), "tracks": tracks}], True)
        return
    print_fields(pieces)
    if reasons:
        print_text("\nLeft out:")
        for reason, n in reasons.most_common():
            print_text(f"{n:>6} {reason}")
    print()
    print_table(tracks, False)


def _kind_of_reason(reason: str) -> str:
    """Why a file was left out, without the name of another file, so that doubles count together."""
    return "same as another file" if reason.startswith("same as ") else reason


def _need_pianoroll(domain: str) -> None:
    if domain != "pianoroll":
        from musegen.plugins import registry

        known = registry().domains
        problem = (
            "reads its files directly and needs no store"
            if domain in known
            else "is no domain" + did_you_mean(domain, known)
        )
        raise BadInput(f'"{domain}" {problem}; stores are built for pianoroll.')
