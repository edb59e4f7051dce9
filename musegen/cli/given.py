"""Commands that write music beside what somebody gives: what follows a piece, what goes with it, and parts of it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from musegen.cli.app import MAKE, app
from musegen.cli.drawing import Best, Seed, names_of
from musegen.cli.folder import Folder, FolderOptions
from musegen.cli.options import Label, ModelName, ModelOption, Source, SourceOptions, at_least

Given = Annotated[Path, Parameter(help="The piece, as a file.")]
Tracks = Annotated[str | None, Parameter(help="Names of tracks, as Bass,Drums; all if not given.")]
Region = Annotated[
    str | None,
    Parameter(help="The first and the last bar, as 5-8, or one bar; bars of the model's metre, counted from 1."),
]


@app.command(name="continue", group=MAKE)
def continue_(
    model: ModelName,
    given: Given,
    *,
    bars: Annotated[int, Parameter(help="How many bars to add.")] = 8,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="How many continuations.")] = 4,
    seed: Seed = 0,
    only_new: Annotated[bool, Parameter(negative="", help="Write the new bars without the given ones.")] = False,
    label: Label = None,
    folder: FolderOptions = Folder(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
    **options: ModelOption,
) -> None:
    """Continue a piece: all of it, unchanged, and new bars after its end."""
    at_least(1, n=n, bars=bars)
    names = [f"{given.stem}_continued_{i:03d}" for i in range(n)]
    folder.check(names)
    loaded = source.load(model, "continue", options)
    from musegen.models import beside  # after the model, whose loading says that it waits for torch

    samples, writer = beside.continued(loaded, given, bars, n, seed, label, only_new)
    folder.write(writer, writer.pieces(samples), names, seed=seed)


@app.command(group=MAKE)
def accompany(
    model: ModelName,
    given: Given,
    *,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="How many accompaniments.")] = 4,
    seed: Seed = 0,
    tracks: Annotated[
        str | None,
        Parameter(
            help="The given tracks, as Piano,Drums: any of a model that takes any part, and otherwise those that it was trained "
            "with. All that have notes in the file, if not given."
        ),
    ] = None,
    replace: Annotated[
        bool, Parameter(negative="", help="Leave out the file's own notes of the tracks that the model writes.")
    ] = False,
    folder: FolderOptions = Folder(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
    **options: ModelOption,
) -> None:
    """Write new tracks beside those of a piece of any length, which comes back unchanged."""
    at_least(1, n=n)
    names = [f"{given.stem}_accompanied_{i:03d}" for i in range(n)]
    folder.check(names)
    loaded = source.load(model, "accompany", options)
    from musegen.models import beside

    samples, writer = beside.accompanied(loaded, given, _listed(tracks), n, seed, replace)
    folder.write(writer, writer.pieces(samples), names, seed=seed)


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


@app.command(group=MAKE)
def infill(
    model: ModelName,
    given: Given,
    *,
    tracks: Tracks = None,
    bars: Region = None,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="How many versions.")] = 4,
    seed: Seed = 0,
    best: Best = None,
    label: Label = None,
    folder: FolderOptions = Folder(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
    **options: ModelOption,
) -> None:
    """Write some tracks of some bars of a piece anew, to what stands before, after and beside them, which stays unchanged."""
    names = names_of(f"{given.stem}_infilled", n, best)
    folder.check(names)
    loaded = source.load(model, "infill", options)
    from musegen.models import beside

    samples, writer = beside.rewritten(loaded, given, _listed(tracks), bars, n, seed, best, label)
    folder.write(writer, writer.pieces(samples), names, seed=seed)


@app.command(group=MAKE)
def regenerate(
    model: ModelName,
    given: Given,
    *,
    tracks: Tracks = None,
    bars: Region = None,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="How many versions.")] = 4,
    seed: Seed = 0,
    best: Best = None,
    label: Label = None,
    folder: FolderOptions = Folder(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
    **options: ModelOption,
) -> None:
    """Write some tracks of some bars of a piece that the model wrote anew, on the same tracks as the rest."""
    names = names_of(f"{given.stem}_regenerated", n, best)
    folder.check(names)
    loaded = source.load(model, "regenerate", options)
    from musegen.models import beside

    samples, _ = beside.rewritten(loaded, given, _listed(tracks), bars, n, seed, best, label)
    folder.write(loaded.domain, loaded.pieces(samples), names, seed=seed)
