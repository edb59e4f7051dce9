"""Commands for corpora and packed stores: ``musegen data get``, ``build``, ``cut`` and ``merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from musegen.errors import BadInput
from musegen.options import load_yaml

__all__ = ["build", "cut", "get", "merge"]

Out = Annotated[Path, Parameter(help="The store, a folder.")]
Overwrite = Annotated[bool, Parameter(negative="", help="Replace an older store.")]


def build(
    domain: Annotated[str, Parameter(help="pianoroll: other domains read their files directly.")],
    folder: Annotated[
        Path, Parameter(help="Of MIDI, Lakh pianoroll, MusicXML or ABC files; searched with its subfolders.")
    ],
    /,
    *,
    out: Out,
    tracks: Annotated[str, Parameter(help="band, voices, or a YAML file with a mapping of your own.")] = "band",
    steps_per_beat: Annotated[int, Parameter(help="Time steps per quarter note.")] = 4,
    pedal: Annotated[
        Literal["piano", "all", "off"],
        Parameter(help="Whose notes sound for as long as the sustain pedal is down: pianos, all, or off: none."),
    ] = "piano",
    file_metre: Annotated[
        str, Parameter(help="Take every file to be in this metre, such as 4/4, whatever it says.")
    ] = "",
    velocities: Annotated[
        bool, Parameter(negative="", help="Keep how loud notes are, in four levels, for models that write it.")
    ] = False,
    workers: Annotated[int | None, Parameter(help="Reading processes; one per processor if not given.")] = None,
    shard: Annotated[
        str, Parameter(help="I/N: only the I-th of N parts of the folder, for musegen data merge.")
    ] = "1/1",
    overwrite: Overwrite = False,
) -> None:
    """Build a packed store from a folder of files of music. When interrupted, the same command goes on from there."""
    from musegen_pianoroll.reading.build import build_store

    if domain != "pianoroll":
        raise BadInput(
            f'"{domain}" needs no store: stores are built for pianoroll, and other domains read their files directly.'
        )
    if not 1 <= steps_per_beat <= 96:
        raise BadInput(f"--steps-per-beat {steps_per_beat} is invalid: use 1 to 96.")
    index, _, of = shard.partition("/")
    if not (index.isdecimal() and of.isdecimal()):
        raise BadInput(f"--shard {shard} is invalid: write 1/4 for the first of four parts.")
    mapping: Any = tracks
    if tracks.endswith((".yaml", ".yml")):
        mapping = load_yaml(Path(tracks))
        mapping = mapping.get("tracks", mapping)

    report = build_store(
        folder,
        out,
        tracks=mapping,
        steps_per_beat=steps_per_beat,
        pedal=pedal,
        file_metre=file_metre,
        velocities=velocities,
        workers=workers,
        overwrite=overwrite,
        shard=(int(index), int(of)),
    )
    from musegen_pianoroll.config import PianorollConfig
    from musegen_pianoroll.in_words import remarks
    from musegen_pianoroll.reading.folder import unread_summary
    from musegen_pianoroll.store.store import Store

    print(f"{report.n_read} pieces in {out}, {report.seconds:.1f} s; {report.n_skipped} files left out.")
    for name, reason in report.skipped[:5]:
        print(f"  {name}: {reason}")
    if report.n_skipped > 5:
        print(f"  and {report.n_skipped - 5} more, see {out}/skipped.csv")
    store = Store.open(out)
    if store.pieces:
        for remark in remarks(PianorollConfig(), store, unread_summary(report.unread)):
            print(f"{remark[:1].upper()}{remark[1:]}.")


def get(
    corpus: Annotated[
        Literal["pop909", "chorales"],
        Parameter(
            help="pop909: 880 piano arrangements of Chinese pop songs (MIT licence; 22 MB are downloaded). chorales: 351 chorales "
            "of Bach in four voices, from the corpus of music21 (extra notation); commercial use may need leave."
        ),
    ],
    /,
    *,
    out: Annotated[Path, Parameter(help="A new folder, for the MIDI files.")],
    archive: Annotated[
        Path | None,
        Parameter(help="The corpus as a zip file or a folder, if you have it already: nothing is downloaded."),
    ] = None,
) -> None:
    """Download a corpus, check it, and write its pieces as MIDI files on their own beats."""
    if corpus == "chorales":
        from musegen_pianoroll.corpora.chorales import get_chorales

        n, reasons = get_chorales(out, archive)
        left = ", ".join(f"{k} {reason}" for reason, k in sorted(reasons.items()))
        print(f"{n} chorales in {out}; left out: {left}.")
        print(f"Next: musegen data build pianoroll {out} --tracks voices --out store")
        return
    from musegen_pianoroll.corpora.pop909 import get_pop909

    n_written, n_left = get_pop909(out, archive)
    print(f"{n_written} songs in {out}; {n_left} left out, because their bars are not of four beats.")
    print(f"Next: musegen data build pianoroll {out} --tracks {out / 'tracks.yaml'} --out store")


def cut(
    array: Annotated[Path, Parameter(help="An .npz file with shape and nonzero, or an .npy file.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="A new folder, for the files.")],
    phrases: Annotated[int, Parameter(help="In each file.")] = 100,
) -> None:
    """Cut a large training array of MuseGAN into files that data build reads. Memory does not grow with the array."""
    from musegen_pianoroll.reading.cutting import cut_array

    print(f"{cut_array(array, out, phrases)} files in {out}, of up to {phrases} phrases each.")


def merge(*stores: Path, out: Out, overwrite: Overwrite = False) -> None:
    """Make one store of several, such as the shards of a folder: the same as if it had been built at once."""
    from musegen_pianoroll.store.merge import merge_stores

    n_pieces, n_skipped = merge_stores(stores, out, overwrite=overwrite)
    print(f"{n_pieces} pieces in {out}; {n_skipped} files left out.")
