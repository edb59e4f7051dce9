"""Commands that make music or pictures with a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from musegen.cli.app import app
from musegen.cli.options import (
    Drawing,
    DrawingOptions,
    Files,
    Label,
    ModelName,
    Source,
    SourceOptions,
    Target,
    TargetOptions,
    Writing,
    WritingOptions,
)
from musegen.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from musegen.models.model import Model

Given = Annotated[Path, Parameter(help="The piece, as a file.")]


@app.command
def generate(
    model: ModelName,
    *,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="How many samples.")] = 8,
    label: Label = None,
    given: Annotated[Path | None, Parameter(help="A file whose given part every sample keeps.")] = None,
    bars: Annotated[
        int | None, Parameter(help="Length of each sample in bars; longer than trained on: families that continue.")
    ] = None,
    drawing: DrawingOptions = Drawing(),  # noqa: B008
    writing: WritingOptions = Writing(),  # noqa: B008
    target: TargetOptions = Target(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
) -> None:
    """Write new samples: files in the domain's native format, sound where there is sound, and one picture of all."""
    drawing.check(n)
    loaded = source.load(model, writing, drawing.top_p)
    n_steps = None if bars is None else _rows(loaded, bars)
    part = None if given is None else loaded.read(given)[0]
    samples = loaded.sample(n, drawing.seed, drawing.temperature, label, part, n_steps)
    target.write(loaded.domain, samples, [f"sample_{i:03d}" for i in range(n)])


def _rows(model: Model, bars: int) -> int:
    """Rows of a sample in so many bars."""
    if bars < 1:
        raise BadInput(f"--bars {bars} will not do: ask for one bar or more.")
    if not model.domain.spec.bar:
        raise BadInput(f'Samples of the domain "{model.domain.name}" have no bars: leave --bars away.')
    return bars * model.domain.spec.bar


@app.command(name="continue")
def continue_(
    model: ModelName,
    given: Given,
    *,
    bars: Annotated[int, Parameter(help="How many bars to add.")] = 8,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="How many continuations.")] = 4,
    only_new: Annotated[bool, Parameter(negative="", help="Write the new bars without the given ones.")] = False,
    label: Label = None,
    drawing: DrawingOptions = Drawing(),  # noqa: B008
    writing: WritingOptions = Writing(),  # noqa: B008
    target: TargetOptions = Target(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
) -> None:
    """Write how a piece may go on: its own bars, unchanged, and new ones after them."""
    drawing.check(n)
    loaded = source.load(model, top_p=drawing.top_p)
    import torch  # slow: loading the model says so

    loaded.require_continue()
    n_steps = _rows(loaded, bars)
    past, writer = loaded.read_whole(given, "none" if only_new else "all")
    new = loaded.continue_(past, n_steps, n, drawing.seed, drawing.temperature, label)
    whole = torch.cat([past.expand(n, *past.shape), new], 2)
    target.write(writer.for_writing(writing.options()), whole, [f"{given.stem}_continued_{i:03d}" for i in range(n)])


@app.command
def accompany(
    model: ModelName,
    given: Given,
    *,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="How many accompaniments.")] = 4,
    tracks: Annotated[
        str | None,
        Parameter(help="The tracks that are given, as Piano,Drums; a model takes those it was trained with."),
    ] = None,
    drawing: DrawingOptions = Drawing(),  # noqa: B008
    writing: WritingOptions = Writing(),  # noqa: B008
    target: TargetOptions = Target(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
) -> None:
    """Write new tracks to given ones, which come back unchanged; the whole piece, however long."""
    drawing.check(n)
    loaded = source.load(model, top_p=drawing.top_p)
    loaded.require_given_tracks()
    if tracks is not None:
        trained: Any = loaded.config["given"]
        wanted = [name.strip() for name in tracks.split(",")]
        if set(wanted) != set(trained):
            raise BadInput(f"--tracks {tracks} will not do: this model was trained to be given {','.join(trained)}.")
    part, writer = loaded.read_whole(given, "given")
    samples = loaded.accompany(part, n, drawing.seed, drawing.temperature)
    names = [f"{given.stem}_accompanied_{i:03d}" for i in range(n)]
    target.write(writer.for_writing(writing.options()), samples, names)


@app.command
def reconstruct(
    model: ModelName,
    files: Files,
    /,
    *,
    writing: WritingOptions = Writing(),  # noqa: B008
    target: TargetOptions = Target(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
) -> None:
    """Pass files through a model's code and back; the picture shows each original beside its reconstruction."""
    loaded = source.load(model, writing)
    import torch  # slow: loading the model says so

    parts = [loaded.read(file) for file in files]
    originals = torch.cat(parts)
    names = [
        f"{file.stem}_{i:02d}" if len(part) > 1 else file.stem
        for file, part in zip(files, parts, strict=True)
        for i in range(len(part))
    ]
    rebuilt = loaded.reconstruct(originals)
    pairs = torch.stack([originals, rebuilt], 1).flatten(0, 1)[:64]
    target.write(loaded.domain, rebuilt, _unique(names), shown=pairs)


def _unique(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that repeat."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return result


@app.command
def interpolate(
    model: ModelName,
    a: Path,
    b: Path,
    *,
    steps: Annotated[int, Parameter(help="How many samples, both ends included.")] = 8,
    spherical: Annotated[bool, Parameter(negative="", help="Along a great circle instead of a straight line.")] = False,
    writing: WritingOptions = Writing(),  # noqa: B008
    target: TargetOptions = Target(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
) -> None:
    """Walk from one file to another in equal steps of the code."""
    if steps < 2:
        raise BadInput(f"--steps {steps} will not do: the two ends alone are 2.")
    loaded = source.load(model, writing)
    first, last = (loaded.read(file)[0] for file in (a, b))
    walk = loaded.interpolate(first, last, steps=steps, spherical=spherical)
    target.write(loaded.domain, walk, [f"step_{i:02d}" for i in range(steps)])


@app.command
def arithmetic(
    model: ModelName,
    a: Path,
    b: Path,
    c: Path,
    *,
    writing: WritingOptions = Writing(),  # noqa: B008
    target: TargetOptions = Target(),  # noqa: B008
    source: SourceOptions = Source(),  # noqa: B008
) -> None:
    """Write the sample whose code is that of A − B + C; each is a file, or a folder of files whose mean code counts."""
    loaded = source.load(model, writing)
    result = loaded.arithmetic(*(_read_all(loaded, path) for path in (a, b, c)))
    target.write(loaded.domain, result, ["a_minus_b_plus_c"])


def _read_all(model: Model, path: Path) -> Tensor:
    """The samples of a file, or of all files of a folder."""
    import torch

    if not path.is_dir():
        return model.read(path)
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    if not files:
        raise BadInput(f"The folder {path} is empty.")
    return torch.cat([model.read(file) for file in files])
