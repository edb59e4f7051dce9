"""Commands that write music beside what somebody gives: what follows a piece, what goes with it, and parts of it anew."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from musegen.cli.app import MAKE, app
from musegen.cli.drawing import Best, Seed, names_of, rows_of
from musegen.cli.folder import Folder, FolderOptions
from musegen.cli.options import Label, ModelName, ModelOption, Source, SourceOptions, at_least
from musegen.errors import BadInput, shown

if TYPE_CHECKING:
    from torch import Tensor

    from musegen.contracts.domain import Keep
    from musegen.contracts.piece import Writer
    from musegen.models.model import Model

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
    at_least(1, n=n)
    names = [f"{given.stem}_continued_{i:03d}" for i in range(n)]
    folder.check(names)
    loaded = source.load(model, "continue", options)
    import torch  # after the model, whose loading says that it waits for torch

    from musegen.models import unfolding

    unfolding.require_continue(loaded.family, loaded.domain)
    n_steps = rows_of(loaded, bars)
    past, writer = loaded.read_given(given, "none" if only_new else "all")
    new = loaded.continue_(past, n_steps, n, seed, label)
    whole = torch.cat([past.expand(n, *past.shape), new], 2)
    folder.write(writer, writer.pieces(whole), names, seed=seed)


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
    from musegen.models import filling, unfolding

    at_least(1, n=n)
    names = [f"{given.stem}_accompanied_{i:03d}" for i in range(n)]
    folder.check(names)
    loaded = source.load(model, "accompany", options)
    keep: Keep = "given only" if replace else "given"
    if filling.can_fill(loaded.family):
        sounding = _listed(tracks) or loaded.sounding_parts(loaded.read_given(given, "all")[0])
        filling.given_parts(loaded.domain, sounding, 1)
        part, writer = loaded.read_given(given, keep, sounding)
        samples = loaded.accompany(part, n, seed, sounding)
        folder.write(writer, writer.pieces(samples), names, seed=seed)
        return
    unfolding.require_given_tracks(loaded.family, loaded.domain)
    if tracks is not None:
        trained = loaded.config["given"]
        if set(_listed(tracks) or ()) != set(trained):
            raise BadInput(f"--tracks {tracks} is invalid: this model was trained to be given {','.join(trained)}.")
    part, writer = loaded.read_given(given, keep)
    samples = loaded.accompany(part, n, seed)
    folder.write(writer, writer.pieces(samples), names, seed=seed)


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _bars(text: str | None) -> tuple[int, int | None]:
    """First and last bar of 5-8 or 5; of 5-, and of None, the last one of the piece is None.

    Raises:
        BadInput: it is none of these.
    """
    match = re.fullmatch(r"([0-9]{1,6})(-?)([0-9]{0,6})", "1-" if text is None else text)
    if match is None:
        raise BadInput(f"--bars {shown(text)} is invalid: write the first and the last bar, as 5-8, or one bar.")
    first, dash, last = match.groups()
    return int(first), int(last or first) if last or not dash else None


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
    samples, writer = _anew(loaded, given, tracks, bars, n, seed, best, label)
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
    samples, _ = _anew(loaded, given, tracks, bars, n, seed, best, label)
    folder.write(loaded.domain, loaded.pieces(samples), names, seed=seed)


def _anew(
    model: Model,
    given: Path,
    tracks: str | None,
    bars: str | None,
    n: int,
    seed: int,
    best: int | None,
    label: str | None,
) -> tuple[Tensor, Writer]:
    """Samples of a file of which a region is written anew, the best of them if so many are wanted; and what writes them there."""
    x, mask, writer = model.read_region(given, _listed(tracks), _bars(bars))
    samples = model.fill(x, mask, n, seed, label)
    return samples if best is None else model.likeliest(samples, best, mask), writer
