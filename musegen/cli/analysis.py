"""Commands that look at a trained model, or at files with its eyes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from musegen.cli.app import LOOK, app
from musegen.cli.options import Draws, Files, Flag, Json, ModelName, ModelOption, Source, SourceOptions, at_least
from musegen.cli.output import as_json, check_free, print_table, print_text, save_picture
from musegen.errors import BadInput, did_you_mean, shown
from musegen.files import write_file

if TYPE_CHECKING:
    from torch import Tensor

    from musegen.evaluation.evaluate import Evaluation
    from musegen.models.model import Model

Reference = Annotated[
    Path | None,
    Parameter(help="Data to compare with, as for training, or bundled: those that ship (default: those of the run)."),
]


@app.command(group=LOOK)
def traverse(
    model: ModelName,
    *,
    steps: Annotated[int, Parameter(help="Samples per row.")] = 9,
    out: Annotated[Path, Parameter(help="The picture to write (PNG).")] = Path("traversal.png"),
    seed: int = 0,
    source: SourceOptions = Source(),  # noqa: B008
    overwrite: Flag = False,
) -> None:
    """Draw what each coordinate of the code does: a row per coordinate, or per class for InfoGAN and structured codes."""
    at_least(2, steps=steps)
    check_free(out, overwrite)
    loaded = source.load(model)
    rows = loaded.traversal(steps, seed)
    save_picture(loaded.domain.sheet(loaded.pieces(rows.flatten(0, 1)), columns=steps), out)


@app.command(group=LOOK)
def latent(
    model: ModelName,
    *,
    out: Annotated[Path, Parameter(help="The picture to write (PNG).")] = Path("latent.png"),
    n: Annotated[int, Parameter(name=["-n", "--n"], help="Examples to encode, evenly spread over all.")] = 2000,
    drawn: Annotated[
        int, Parameter(help="Also so many draws of the prior, z ~ P(z), beside the codes; the density is then theirs.")
    ] = 0,
    split: Annotated[Literal["train", "valid", "test"], Parameter(help="Examples to encode.")] = "valid",
    seed: int = 0,
    data: Reference = None,
    source: SourceOptions = Source(),  # noqa: B008
    overwrite: Flag = False,
) -> None:
    """Draw the codes of held-out examples, coloured by class, and their density; with --drawn 1000 that of the prior."""
    from musegen.evaluation.latent import draw

    check_free(out, overwrite)
    loaded = source.load(model)
    loaded._require("encode")
    batch = loaded.examples(n, split, source=data)
    if batch is None:
        raise BadInput(
            f"{model} is a model file, which knows no data to encode: add --data FOLDER or --data bundled, or give a run folder."
        )
    prior = loaded.draw_codes(drawn, seed) if drawn else None
    picture = draw(loaded.encode(batch.x), batch.label, loaded.domain.spec.classes, prior)
    save_picture(picture, out)


def _named(model: Model, files: Sequence[Path]) -> tuple[Tensor, list[str]]:
    """All samples of files, and a name for each."""
    import torch

    parts = [model.read(file) for file in files]
    names = [
        str(file) if len(part) == 1 else f"{file}, part {i + 1}"
        for file, part in zip(files, parts, strict=True)
        for i in range(len(part))
    ]
    return torch.cat(parts), names


@app.command(group=LOOK)
def score(
    model: ModelName,
    files: Files,
    /,
    *,
    k: Draws = 16,
    data: Reference = None,
    bits: Annotated[bool, Parameter(negative="", help="Bits instead of nats.")] = False,
    source: SourceOptions = Source(),  # noqa: B008
    json: Json = False,
) -> None:
    """log p of files, exact or a lower bound. Outliers are less probable than 99 % of the validation examples."""
    import math

    from musegen.evaluation.outliers import outlier_threshold

    at_least(1, k=k)
    loaded = source.load(model)
    loaded._require("log_prob")
    x, names = _named(loaded, files)
    values, threshold = loaded.log_prob(x, k), outlier_threshold(loaded, k, source=data)
    unit, scale = ("bits", math.log(2)) if bits else ("nats", 1.0)
    exact = loaded.family.capabilities.log_prob == "exact"
    how = f"log p, {unit}" if exact else f"log p ≥, {unit} (K = {k})"
    rows = [
        {"file": name, how: round(value / scale, 3), "outlier": _below(value, threshold)}
        for name, value in zip(names, values.tolist(), strict=True)
    ]
    print_table(rows, json)


def _below(value: float, threshold: float | None) -> str:
    return "unknown" if threshold is None else "yes" if value < threshold else "no"


@app.command(group=LOOK)
def classify(
    model: ModelName,
    files: Files,
    /,
    *,
    k: Draws = 16,
    data: Reference = None,
    source: SourceOptions = Source(),  # noqa: B008
    json: Json = False,
) -> None:
    """Classify files, with the probability of each class found; outliers (see score) are rejected."""
    from musegen.evaluation.outliers import outlier_threshold, typicality

    loaded = source.load(model)
    x, names = _named(loaded, files)
    log_p = loaded.classify(x)
    classes = loaded.domain.spec.classes if len(loaded.domain.spec.classes) == log_p.shape[1] else None
    typical, threshold = typicality(loaded, x, k), outlier_threshold(loaded, k, source=data)
    best = log_p.max(1)
    rows = []
    for i, name in enumerate(names):
        c, outlier = int(best.indices[i]), _below(float(typical[i]), threshold)
        found = classes[c] if classes else str(c)
        row = {"file": name, "class": "rejected" if outlier == "yes" else found, "best": found}
        rows.append(row | {"probability": round(float(best.values[i].exp()), 4), "outlier": outlier})
    print_table(rows, json)


@app.command(group=LOOK)
def evaluate(
    model: ModelName,
    *,
    n: Annotated[
        int, Parameter(name=["-n", "--n"], help="Samples, and random real examples to compare them with.")
    ] = 512,
    k: Draws = 16,
    split: Annotated[str | None, Parameter(help="Held-out data: test (where there is one) or valid.")] = None,
    data: Reference = None,
    measure: Annotated[
        str | None,
        Parameter(
            help="One measure of the papers' tables instead, such as parzen (see docs/measures.md); of validation examples unless "
            "--split test."
        ),
    ] = None,
    seed: int = 0,
    out: Annotated[Path | None, Parameter(help="Write the figures into this file as well (JSON).")] = None,
    source: SourceOptions = Source(),  # noqa: B008
    overwrite: Flag = False,
    json: Json = False,
    **options: ModelOption,
) -> None:
    """Compare a model with held-out data: log p, measures of samples, and how much they copy; real examples in parentheses."""
    from musegen.evaluation.evaluate import evaluate

    at_least(2, n=n)
    at_least(1, k=k)
    if split not in (None, "test", "valid"):
        raise BadInput(f'--split "{split}" is invalid: use test or valid.')
    if out is not None:
        check_free(out, overwrite)
    loaded = source.load(model, "evaluate", options)
    if measure is not None:
        print_table([_measured(loaded, measure, split or "valid")], json)
        return
    found = evaluate(loaded, n, k, seed, split, data)
    content = as_json(found.as_dict())
    if out is not None:
        write_file(out, content.encode())
    if json:
        print(content)
    else:
        _print_evaluation(found)


def _measured(model: Model, name: str, split: str) -> dict[str, object]:
    """One of the measures of the papers' tables, and what stands beside it."""
    from musegen.reproduce.measuring import MEASURES

    if name not in MEASURES:
        raise BadInput(
            f'There is no measure "{shown(name)}".{did_you_mean(name, MEASURES)} There are {", ".join(MEASURES)}.'
        )
    if model.run is None:
        raise BadInput("--measure needs the data of a run: give the run folder.")
    score = MEASURES[name](model, split)
    return {"measure": name, "split": split, "value": score["value"], **score.get("beside", {})}


def _print_evaluation(found: Evaluation) -> None:
    from musegen.evaluation.evaluate import rows, tables

    if found.log_prob is not None:
        sign = "=" if found.log_prob["kind"] == "exact" else f"≥ (K = {found.log_prob['draws']})"
        print_text(
            f"log p {sign} {found.log_prob['nats']:.2f} ± {found.log_prob['error']:.2f} nats per example, "
            f"{found.n_held_out} examples of the {found.split} split\n"
        )
    if found.metrics:
        print_text(
            f"{found.n_samples} samples of the model, {found.n_held_out} held-out examples of the {found.split} split, and as many "
            f"training examples{', ' * bool(found.baselines)}{', '.join(found.baselines)}"
        )
        for title, table in tables(found.metrics):
            print_table(table, False, f"\n{title}\n")
        close, far = found.within(2)
        if close or far:
            n = len(close) + len(far)
            print_text(
                f"\n{len(close)} of {n} measures are at most twice as far from held-out data as training data are."
            )
        if far:
            print_text(f"Farther: {', '.join(far)}.")
        for baseline in found.baselines:
            behind = found.behind(baseline)
            print_text(f"Farther than the {baseline}: {', '.join(behind) or 'none'}.")
    if found.copies:
        print_text(
            "\nWhat samples share with the training data; in parentheses, what held-out examples share with them\n"
        )
        print_table(rows(found.copies), False)
