"""Commands that make pieces with a trained model; those beside a given piece are in ``given.py``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from musegen.cli.app import MAKE, app
from musegen.cli.drawing import Best, Seed, names_of
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
from musegen.errors import BadInput, MusegenWarning, shown
from musegen.walking import walk

if TYPE_CHECKING:
    from torch import Tensor

    from musegen.contracts.piece import Writer
    from musegen.models.model import Model

KEPT = 0.6
"""Share of the cells of files below which ``interpolate`` says that its ends are not the files."""


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
    names = names_of("sample", n, best)
    if bars is not None:
        at_least(1, bars=bars)
    folder.check(names)
    loaded = source.load(model, "generate", options)
    from musegen.models import beside, filling  # after the model, whose loading says that it waits for torch

    if best is not None:
        filling.require_fill(loaded.family)  # before it draws
    n_steps = None if bars is None else beside.rows_of(loaded, bars)
    if given is not None and n_steps is not None:
        raise BadInput("--given and --bars do not go together: continue or accompany instead.")
    writer: Writer = loaded.domain
    if given is None:
        samples = loaded.sample(n, seed, label, None, n_steps)
    else:
        samples, writer = loaded.around(given, n, seed, label)
    if best is not None:
        samples = loaded.likeliest(samples, best)
    folder.write(writer, writer.pieces(samples), names, seed=seed)


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
    """Walk from one file to another, both whole, in equal steps of the code; the shorter one ends in silence. Or from one sample to
    another: seed:3 seed:4 are the ones that musegen generate -n 1 --seed 3 and --seed 4 draw."""
    at_least(2, steps=steps)
    names = [f"step_{i:02d}" for i in range(steps)]
    folder.check(names)
    loaded = source.load(model, "interpolate", options)
    import torch  # after the model, whose loading says that it waits for torch

    if seeds := _seeds(a, b):
        walk = loaded.interpolate(*seeds, steps, spherical)
        folder.write(loaded.domain, loaded.domain.pieces(walk), names)
        return
    (first, last), writer = loaded.read_whole(a, b)
    parts = [loaded.interpolate(x, y, steps, spherical) for x, y in zip(first, last, strict=True)]
    walk = torch.stack(parts, 1)  # (steps, n, *S)
    _say_what_was_kept(loaded, torch.cat([first, last]), torch.cat([walk[0], walk[-1]]))
    pieces = [writer.pieces(x) for x in walk]
    if len(pieces[0]) > 1:  # which cannot follow each other
        pieces = [writer.pieces(x[:1]) for x in walk]
    folder.write(writer, [piece for (piece,) in pieces], names)


def _seeds(a: Path, b: Path) -> tuple[int, int] | None:
    """The seeds of two ends that are ``seed:N``; None if both are files.

    Raises:
        BadInput: one is a seed and the other is not.
    """
    texts = [str(end).removeprefix("seed:") for end in (a, b) if str(end).startswith("seed:")]
    if not texts:
        return None
    if len(texts) == 1 or not all(text.isdecimal() and len(text) < 19 for text in texts):
        raise BadInput(f'"{shown(f"{a} {b}")}" is invalid: give two files, or two seeds such as seed:3 seed:4.')
    return int(texts[0]), int(texts[1])


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
