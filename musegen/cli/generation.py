"""Commands that make pieces with a trained model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from musegen.cli.app import MAKE, app
from musegen.cli.folder import Folder, FolderOptions
from musegen.cli.options import (
    Files,
    Label,
    ModelName,
    ModelOption,
    Source,
    SourceOptions,
    at_least,
    unique,
)
from musegen.errors import BadInput, MusegenWarning
from musegen.walking import walk

if TYPE_CHECKING:
    from torch import Tensor

    from musegen.contracts.domain import Keep
    from musegen.contracts.piece import Writer
    from musegen.models.model import Model

KEPT = 0.6
"""Share of the cells of files below which ``interpolate`` says that its ends are not the files."""
Given = Annotated[Path, Parameter(help="The piece, as a file.")]
Tracks = Annotated[str | None, Parameter(help="Names of tracks, as Bass,Drums; all if not given.")]
Region = Annotated[
    str | None,
    Parameter(help="The first and the last bar, as 5-8, or one bar; bars of the model's metre, counted from 1."),
]
Best = Annotated[
    int | None,
    Parameter(help="Of all that are drawn, write only so many: those that the model itself finds most probable."),
]
Seed = Annotated[int, Parameter(help="Random seed: the same seed gives the same files; more of them for a larger -n.")]


@app.command(group=MAKE)
def generate(
    model: ModelName,
    *,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="How many samples.")] = 8,
    seed: Seed = 0,
    label: Label = None,
    given: Annotated[
        Path | None, Parameter(help="A file; every sample keeps the part of it that the model is trained to be given.")
    ] = None,
    bars: Annotated[
        int | None,
        Parameter(help="Length of each sample in bars; longer than in training only with families that can continue."),
    ] = None,
    best: Best = None,
    folder: FolderOptions = Folder(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
    **options: ModelOption,
) -> None:
    """Write new samples: files in the domain's native format, sound if there is any, and one picture of all."""
    at_least(1, n=n)
    names = _names("sample", n, best)
    folder.check(names)
    loaded = source.load(model, "generate", options)
    n_steps = None if bars is None else _rows(loaded, bars)
    if given is not None and n_steps is not None:
        raise BadInput("--given and --bars do not go together: continue or accompany instead.")
    writer: Writer = loaded.domain
    if given is None:
        samples = loaded.sample(n, seed, label, None, n_steps)
    else:
        samples, writer = loaded.around(given, n, seed, label)
    if best is not None:
        samples = loaded.likeliest(samples, best)
    folder.write(writer, writer.pieces(samples), names)


def _names(stem: str, n: int, best: int | None) -> list[str]:
    """Names of n files, or of the best of them."""
    if best is not None:
        at_least(1, best=best)
        if best > n:
            raise BadInput(f"--best {best} is invalid: only {n} are drawn (-n).")
    return [f"{stem}_{i:03d}" for i in range(n if best is None else best)]


def _rows(model: Model, bars: int) -> int:
    """Rows of a sample in so many bars."""
    at_least(1, bars=bars)
    if not model.domain.spec.bar:
        raise BadInput(f'Samples of the domain "{model.domain.name}" have no bars: leave out --bars.')
    return bars * model.domain.spec.bar


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
    n_steps = _rows(loaded, bars)
    past, writer = loaded.read_given(given, "none" if only_new else "all")
    new = loaded.continue_(past, n_steps, n, seed, label)
    whole = torch.cat([past.expand(n, *past.shape), new], 2)
    folder.write(writer, writer.pieces(whole), names)


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
        folder.write(writer, writer.pieces(samples), names)
        return
    unfolding.require_given_tracks(loaded.family, loaded.domain)
    if tracks is not None:
        trained = loaded.config["given"]
        if set(_listed(tracks) or ()) != set(trained):
            raise BadInput(f"--tracks {tracks} is invalid: this model was trained to be given {','.join(trained)}.")
    part, writer = loaded.read_given(given, keep)
    samples = loaded.accompany(part, n, seed)
    folder.write(writer, writer.pieces(samples), names)


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _bars(text: str | None) -> tuple[int, int | None]:
    """First and last bar of 5-8, 5 or 5-.

    Raises:
        BadInput: it is none of these.
    """
    if text is None:
        return 1, None
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (not (last.isdecimal() or (dash and not last)) and dash):
        raise BadInput(f"--bars {text} is invalid: write the first and the last bar, as 5-8, or one bar.")
    return int(first), int(last) if last else (None if dash else int(first))


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
    at_least(1, n=n)
    names, region = _names(f"{given.stem}_infilled", n, best), _bars(bars)
    folder.check(names)
    loaded = source.load(model, "infill", options)
    x, mask, writer = loaded.read_region(given, _listed(tracks), region)
    samples = loaded.fill(x, mask, n, seed, label)
    if best is not None:
        samples = loaded.likeliest(samples, best, mask)
    folder.write(writer, writer.pieces(samples), names)


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
    at_least(1, n=n)
    names, region = _names(f"{given.stem}_regenerated", n, best), _bars(bars)
    folder.check(names)
    loaded = source.load(model, "regenerate", options)
    x, mask, _ = loaded.read_region(given, _listed(tracks), region)
    samples = loaded.fill(x, mask, n, seed, label)
    if best is not None:
        samples = loaded.likeliest(samples, best, mask)
    folder.write(loaded.domain, loaded.pieces(samples), names)


@app.command(group=MAKE)
def reconstruct(
    model: ModelName,
    files: Files,
    /,
    *,
    folder: FolderOptions = Folder(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
    **options: ModelOption,
) -> None:
    """Encode and decode files, each whole; the picture shows the first originals, each beside its reconstruction."""
    import torch

    loaded = source.load(model, "reconstruct", options)
    read = [loaded.read_whole(file) for file in files]
    counts = [len(writer.pieces(x[0])) for x, writer in read]  # one, but for pieces that cannot follow each other
    names = unique(
        [
            f"{file.stem}_{i:02d}" if count > 1 else file.stem
            for file, count in zip(files, counts, strict=True)
            for i in range(count)
        ]
    )
    folder.check(names)
    rebuilt = [loaded.reconstruct(x[0]) for x, _ in read]
    pieces = [piece for x, (_, writer) in zip(rebuilt, read, strict=True) for piece in writer.pieces(x)]
    shown = (loaded.pieces(torch.cat(parts)[:32]) for parts in ([x[0] for x, _ in read], rebuilt))
    folder.write(loaded.domain, pieces, names, shown=[piece for pair in zip(*shown, strict=True) for piece in pair])


@app.command(group=MAKE)
def interpolate(
    model: ModelName,
    a: Path,
    b: Path,
    *,
    steps: Annotated[int, Parameter(help="How many samples, both ends included.")] = 8,
    spherical: Annotated[bool, Parameter(negative="", help="Along a great circle instead of a straight line.")] = False,
    folder: FolderOptions = Folder(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
    **options: ModelOption,
) -> None:
    """Walk from one file to another, both whole, in equal steps of the code; the shorter one ends in silence."""
    at_least(2, steps=steps)
    names = [f"step_{i:02d}" for i in range(steps)]
    folder.check(names)
    loaded = source.load(model, "interpolate", options)
    import torch  # after the model, whose loading says that it waits for torch

    (first, last), writer = loaded.read_whole(a, b)
    parts = [loaded.interpolate(x, y, steps, spherical) for x, y in zip(first, last, strict=True)]
    walk = torch.stack(parts, 1)  # (steps, n, *S)
    _say_what_was_kept(loaded, torch.cat([first, last]), torch.cat([walk[0], walk[-1]]))
    pieces = [writer.pieces(x) for x in walk]
    if len(pieces[0]) > 1:  # which cannot follow each other
        pieces = [writer.pieces(x[:1]) for x in walk]
    folder.write(writer, [piece for (piece,) in pieces], names)


def _say_what_was_kept(model: Model, originals: Tensor, rebuilt: Tensor) -> None:
    """Warn where the ends of a walk are not the files, because the code does not hold them: what lies between cannot be, either."""
    from musegen.probability.likelihood import Bernoulli

    if not isinstance(model.domain.spec.likelihood, Bernoulli):
        return
    found = model.domain.discretise(rebuilt) > 0.5
    wanted = originals > 0.5
    both, on = int((found & wanted).sum()), int(found.sum()) + int(wanted.sum())
    share = 2 * both / on if on else 1.0
    if share < KEPT:
        warnings.warn(
            f"The ends of the walk share {share:.0%} of their cells with the files (F1): this model's code holds little of what it "
            "was not trained on, so the walk goes between what it made of them. A model of your own files keeps more.",
            MusegenWarning,
            stacklevel=2,
        )


@app.command(group=MAKE)
def arithmetic(
    model: ModelName,
    a: Path,
    b: Path,
    c: Path,
    *,
    folder: FolderOptions = Folder(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
    **options: ModelOption,
) -> None:
    """Write the sample whose code is that of A − B + C; each is a file, or a folder, whose mean code is used."""
    names = ["a_minus_b_plus_c"]
    folder.check(names)
    loaded = source.load(model, "arithmetic", options)
    result = loaded.arithmetic(*(_read_all(loaded, path) for path in (a, b, c)))
    folder.write(loaded.domain, loaded.pieces(result), names)


def _read_all(model: Model, path: Path) -> Tensor:
    """The samples of a file, or of all files of a folder."""
    import torch

    if not path.is_dir():
        return model.read(path)
    files, _ = walk(path, model.domain.suffixes or ("",))
    if not files:
        raise BadInput(f"The folder {path} is empty, or holds no files that this model reads: give others.")
    return torch.cat([model.read(file) for file in files])
