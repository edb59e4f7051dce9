"""Commands that look at a trained model, or at files with its eyes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from musegen.cli.app import app
from musegen.cli.options import Draws, Files, Flag, Json, ModelName, Source, SourceOptions, TopP
from musegen.cli.output import as_json, print_table, print_text, save_picture, write_file
from musegen.errors import BadInput
from musegen.options import parse_assignments

if TYPE_CHECKING:
    from torch import Tensor

    from musegen.models.model import Model

Reference = Annotated[
    Path | None,
    Parameter(
        help="Data to compare with, as for training, or bundled: those that ship; those of the run if not given."
    ),
]


@app.command
def traverse(
    model: ModelName,
    *,
    steps: Annotated[int, Parameter(help="Samples per row.")] = 9,
    out: Annotated[Path, Parameter(help="The picture to write (PNG).")] = Path("traversal.png"),
    seed: int = 0,
    source: SourceOptions = Source(),  # noqa: B008
    overwrite: Flag = False,
) -> None:
    """Draw what each coordinate of the code does: a row per coordinate, or per class of InfoGAN and structured codes."""
    if steps < 2:
        raise BadInput(f"--steps {steps} will not do: use 2 or more.")
    loaded = source.load(model)
    rows = loaded.traversal(steps, seed)
    save_picture(loaded.domain.picture(rows.flatten(0, 1), columns=steps), out, overwrite)


@app.command
def latent(
    model: ModelName,
    *,
    out: Annotated[Path, Parameter(help="The picture to write (PNG).")] = Path("latent.png"),
    n: Annotated[int, Parameter(name=["-n", "--n"], help="Validation examples to encode.")] = 2000,
    data: Reference = None,
    source: SourceOptions = Source(),  # noqa: B008
    overwrite: Flag = False,
) -> None:
    """Draw the codes of validation examples, coloured by class, and the density that they add up to."""
    from musegen.evaluation.latent import draw

    loaded = source.load(model)
    loaded._require("encode")
    batch = loaded.examples(n, source=data)
    if batch is None:
        raise BadInput(
            f"{model} is a model file, which knows no data to encode: add --data FOLDER or --data bundled, or give a run folder."
        )
    picture = draw(loaded.encode(batch.x), batch.label, loaded.domain.spec.classes)
    save_picture(picture, out, overwrite)


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


@app.command
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
    """log p of files, exact or a lower bound; outliers lie below all but 1 % of the validation examples."""
    import math

    if k < 1:
        raise BadInput(f"-k {k} will not do: use 1 or more.")
    loaded = source.load(model)
    loaded._require("log_prob")
    x, names = _named(loaded, files)
    values, threshold = loaded.log_prob(x, k), loaded.outlier_threshold(k, source=data)
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


@app.command
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
    """The class of files and its probability; outliers (see score) are rejected."""
    loaded = source.load(model)
    x, names = _named(loaded, files)
    log_p = loaded.classify(x)
    classes = loaded.domain.spec.classes if len(loaded.domain.spec.classes) == log_p.shape[1] else None
    typical, threshold = loaded.typicality(x, k), loaded.outlier_threshold(k, source=data)
    best = log_p.max(1)
    rows = []
    for i, name in enumerate(names):
        c, outlier = int(best.indices[i]), _below(float(typical[i]), threshold)
        found = classes[c] if classes else str(c)
        row = {"file": name, "class": "rejected" if outlier == "yes" else found, "best": found}
        rows.append(row | {"probability": round(float(best.values[i].exp()), 4), "outlier": outlier})
    print_table(rows, json)


@app.command
def evaluate(
    model: ModelName,
    *,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="Samples, and real examples to compare them with.")] = 512,
    k: Draws = 16,
    split: Annotated[str | None, Parameter(help="Held-out data: test (where there is one) or valid.")] = None,
    data: Reference = None,
    seed: int = 0,
    temperature: Annotated[float, Parameter(help="Of the samples, as for generate.")] = 1.0,
    top_p: TopP = None,
    out: Annotated[Path | None, Parameter(help="Write the figures into this file as well (JSON).")] = None,
    source: SourceOptions = Source(),  # noqa: B008
    overwrite: Flag = False,
    json: Json = False,
) -> None:
    """Compare a model with held-out data: log p, measures of samples, bars copied; and real examples in parentheses."""
    from musegen.evaluation.evaluate import evaluate, rows

    if n < 2 or k < 1:
        raise BadInput(f"-n {n} -k {k} will not do: use 2 samples or more, and 1 draw or more.")
    if temperature < 0:
        raise BadInput(f"--temperature {temperature} will not do: use 0 or more.")
    if split not in (None, "test", "valid"):
        raise BadInput(f'--split "{split}" will not do: use test or valid.')
    if out is not None and out.exists() and not overwrite:
        raise BadInput(f"{out} exists: choose another --out, or add --overwrite.")
    found = evaluate(source.load(model, top_p=top_p), n, k, seed, split, data, temperature)
    content = as_json(found.as_dict())
    if out is not None:
        write_file(out, content.encode())
    if json:
        print(content)
        return
    if found.log_prob is not None:
        sign = "=" if found.log_prob["kind"] == "exact" else f"≥ (K = {found.log_prob['draws']})"
        print_text(
            f"log p {sign} {found.log_prob['nats']:.2f} ± {found.log_prob['error']:.2f} nats per example, "
            f"{found.n_held_out} examples of the {found.split} split\n"
        )
    if found.metrics:
        print_text(
            f"{found.n_samples} samples against {found.n_held_out} examples of the {found.split} split; "
            "in parentheses: training examples against the same\n"
        )
        print_table(rows(found.metrics), False)
        close, far = found.within(2)
        print_text(
            f"\n{len(close)} of {len(close) + len(far)} measures are at most twice as far from held-out data as training data are."
        )
        if far:
            print_text(f"Farther: {', '.join(far)}.")
    if found.copies:
        print_text("\nWhat samples share with the training data; in parentheses: what held-out examples share\n")
        print_table(rows(found.copies), False)


@app.command
def export(
    model: ModelName,
    file: Path,
    *,
    set_: Annotated[
        list[str],
        Parameter(name="--set", negative="", help="How samples are drawn from now on, as key=value: top_p=0.95."),
    ] = [],  # noqa: B006
    source: SourceOptions = Source(),  # noqa: B008
) -> None:
    """Write a model as one file, which every command takes in place of the run folder."""
    loaded = source.load(model)
    loaded.set_sampling(**parse_assignments(set_))
    loaded.save(file)
    print(f"Wrote {file}")
