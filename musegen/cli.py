"""The command line: thin commands over the Python API. torch is imported by the commands that need it, not before."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from musegen.config import RunConfig, describe, load_yaml, parse_assignments
from musegen.errors import BadInput, MusegenError, MusegenWarning, did_you_mean
from musegen.launch import launch, wanted

if TYPE_CHECKING:
    from torch import Tensor

    from musegen.domain import Domain
    from musegen.model import Model

__all__ = ["app", "main"]


def _version() -> str:
    from importlib.metadata import version

    return f"musegen {version('musegen')}"


app = App(
    name="musegen",
    help="Deep generative models for music and images: every family on every domain.",
    version=_version,
    result_action="return_value",
)
data_app = App(name="data", help="Build packed stores, and look at them.", result_action="return_value")
app.command(data_app)

# Every option of a run, as text: conversion and bounds are checked in one place, by musegen.config.
RunOptions = dataclasses.make_dataclass(
    "RunOptions",
    [
        (
            field.name,
            Annotated[
                (bool if isinstance(field.default, bool) else str) | None, Parameter(help=field.metadata["meaning"])
            ],
            dataclasses.field(default=None, kw_only=True),
        )
        for field in dataclasses.fields(RunConfig)
    ],
)

RunOptions.__module__ = __name__  # without a module of its own, cyclopts takes the class for a builtin
Options = Annotated[RunOptions, Parameter(name="*")]  # type: ignore[valid-type]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of a table.")]
Assignments = Annotated[
    list[str],
    Parameter(name="--set", negative="", help="An option of the family or the domain, as key=value; repeatable."),
]
Flag = Annotated[bool, Parameter(negative="")]


def _given(options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in vars(options).items() if value is not None}


@app.command
def train(
    family: str | None = None,
    domain: str | None = None,
    data: Path | None = None,
    *,
    out: Path | None = None,
    set_: Assignments = [],  # noqa: B006
    config: Path | None = None,
    overwrite: Flag = False,
    quiet: Flag = False,
    options: Options = RunOptions(),  # noqa: B008
) -> None:
    """Train a family on a domain. With FAMILY and DOMAIN given, --help lists exactly their options.

    Parameters
    ----------
    family
        What to train; see musegen families. May come from --config.
    domain
        On what; see musegen domains. May come from --config.
    data
        A file or folder; without it, the data that ship with musegen.
    out
        The run folder to create; runs/FAMILY-DOMAIN if not given.
    config
        A YAML file of options; those on the command line win.
    overwrite
        Replace an older run of that name.
    quiet
        No progress.
    """
    import musegen

    from_file = load_yaml(config) if config is not None else {}
    family, domain = family or from_file.get("family"), domain or from_file.get("domain")
    if family is None or domain is None:
        raise BadInput(
            "Say what to train on what: musegen train FAMILY DOMAIN, for example musegen train vae pianoroll."
        )
    out = out or Path("runs") / f"{family}-{domain}"
    given = parse_assignments(set_) | _given(options)
    if (n := wanted((from_file | given).get("processes"))) > 1:
        raise SystemExit(launch(n))
    run = musegen.train(family, domain, data=data, out=out, config=config, overwrite=overwrite, quiet=quiet, **given)
    _say_next(run.path)


@app.command
def resume(run: Path, *, quiet: Flag = False, options: Options = RunOptions()) -> None:  # noqa: B008
    """Continue a run exactly where it stopped.

    Parameters
    ----------
    run
        The run folder.
    quiet
        No progress.
    """
    import musegen

    recorded = run / "config.yaml"
    known = load_yaml(recorded) if recorded.is_file() else {}
    if (n := wanted((known | _given(options)).get("processes"))) > 1:
        raise SystemExit(launch(n))
    _say_next(musegen.resume(run, quiet=quiet, **_given(options)).path)


def _say_next(run: Path) -> None:
    shown = os.path.relpath(run)
    if os.environ.get("RANK", "0") == "0":  # of several processes the first one speaks
        print(f"The run is in {shown}. Next: musegen generate {shown} -n 8 --out out")


Model_ = Annotated[
    str, Parameter(help="A run folder, a model file, or the name of a model that ships (see musegen models).")
]
Given = Annotated[Path, Parameter(help="The piece, as a file.")]
Out = Annotated[Path, Parameter(help="Folder to write to.")]
Checkpoint = Annotated[str, Parameter(help="Of a run: best, last, or the number of a step.")]
Audio = Annotated[
    Literal["wav", "flac", "ogg", "mp3", "none"], Parameter(help="Format of sound, for domains that have any.")
]
Device = Annotated[str, Parameter(help="auto, cpu, cuda or cuda:N.")]


@dataclasses.dataclass
class Writing:
    """How music is written, as text; see ``Domain.for_writing``."""

    tempo: Annotated[str | None, Parameter(help="Beats per minute.")] = None
    programs: Annotated[
        str | None, Parameter(help="General MIDI programs, numbers from 0 or names: Piano=5,Bass=33.")
    ] = None
    threshold: Annotated[
        str | None, Parameter(help="A cell sounds above this probability; one for all, or Piano=0.4,Bass=0.3.")
    ] = None

    def options(self) -> dict[str, Any]:
        """Those that were given."""
        found: dict[str, Any] = _given(self)
        for name in {"programs", "threshold"} & set(found):
            if name == "programs" or "=" in found[name]:
                found[name] = _by_name(name, found[name])
        return found


def _by_name(option: str, text: str) -> dict[str, str]:
    """``"Piano=5,Bass=33"`` by name."""
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and equals and value.strip() for name, equals, value in pairs):
        raise BadInput(f'--{option} "{text}" will not do: write it like Piano=5,Bass=33.')
    return {name.strip(): value.strip() for name, _, value in pairs}


WritingOptions = Annotated[Writing, Parameter(name="*")]


def _load(model: str, checkpoint: str, device: str, writing: Writing | None = None) -> Model:
    import musegen

    loaded = musegen.load(model, checkpoint=checkpoint, device=device)
    if writing is not None:
        loaded.domain = loaded.domain.for_writing(writing.options())
    return loaded


@app.command
def generate(
    model: Model_,
    *,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="How many samples.")] = 8,
    out: Out = Path("out"),
    seed: int = 0,
    temperature: Annotated[
        float,
        Parameter(help="Scales the spread of the prior, or an autoregressive family's logits; below 1: more typical."),
    ] = 1.0,
    label: Annotated[str | None, Parameter(help="A class, by name or number, for families with a condition.")] = None,
    given: Annotated[Path | None, Parameter(help="A file whose given part every sample keeps.")] = None,
    bars: Annotated[
        int | None, Parameter(help="Length of each sample in bars; longer than trained on: families that continue.")
    ] = None,
    writing: WritingOptions = Writing(),  # noqa: B008
    audio: Audio = "wav",
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
    overwrite: Flag = False,
) -> None:
    """Write new samples: files in the domain's native format, sound where there is sound, and one picture of all."""
    _check_drawing(n, temperature)
    loaded = _load(model, checkpoint, device, writing)
    names = [f"sample_{i:03d}" for i in range(n)]
    n_steps = None if bars is None else _rows(loaded, bars)
    part = None if given is None else loaded.read(given)[0]
    samples = loaded.sample(n, seed=seed, temperature=temperature, label=label, given=part, n_steps=n_steps)
    _write(loaded.domain, samples, out, names, overwrite, audio)


def _check_drawing(n: int, temperature: float) -> None:
    if n < 1:
        raise BadInput(f"-n {n} will not do: ask for one sample or more.")
    if temperature < 0:
        raise BadInput(f"--temperature {temperature} will not do: use 0 or more.")


def _rows(model: Model, bars: int) -> int:
    """Rows of a sample in so many bars."""
    if bars < 1:
        raise BadInput(f"--bars {bars} will not do: ask for one bar or more.")
    if not model.domain.spec.bar:
        raise BadInput(f'Samples of the domain "{model.domain.name}" have no bars: leave --bars away.')
    return bars * model.domain.spec.bar


@app.command(name="continue")
def continue_(
    model: Model_,
    given: Given,
    *,
    bars: Annotated[int, Parameter(help="How many bars to add.")] = 8,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="How many continuations.")] = 4,
    out: Out = Path("out"),
    only_new: Annotated[bool, Parameter(negative="", help="Write the new bars without the given ones.")] = False,
    seed: int = 0,
    temperature: Annotated[float, Parameter(help="Of every choice; below 1: more typical.")] = 1.0,
    label: Annotated[str | None, Parameter(help="A class, by name or number, for families with a condition.")] = None,
    writing: WritingOptions = Writing(),  # noqa: B008
    audio: Audio = "wav",
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
    overwrite: Flag = False,
) -> None:
    """Write how a piece may go on: its own bars, unchanged, and new ones after them."""
    import torch

    _check_drawing(n, temperature)
    loaded = _load(model, checkpoint, device)
    n_steps = _rows(loaded, bars)
    loaded.require_continue()
    past, writer = loaded.read_whole(given, "none" if only_new else "all")
    new = loaded.continue_(past, n_steps, n, seed, temperature, label)
    names = [f"{given.stem}_continued_{i:03d}" for i in range(n)]
    whole = torch.cat([past.expand(n, *past.shape), new], 2)
    _write(writer.for_writing(writing.options()), whole, out, names, overwrite, audio)


@app.command
def accompany(
    model: Model_,
    given: Given,
    *,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="How many accompaniments.")] = 4,
    out: Out = Path("out"),
    tracks: Annotated[
        str | None,
        Parameter(help="The tracks that are given, as Piano,Drums; a model takes those it was trained with."),
    ] = None,
    seed: int = 0,
    temperature: Annotated[float, Parameter(help="Scales the spread of the prior; below 1: more typical.")] = 1.0,
    writing: WritingOptions = Writing(),  # noqa: B008
    audio: Audio = "wav",
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
    overwrite: Flag = False,
) -> None:
    """Write new tracks to given ones, which come back unchanged; the whole piece, however long."""
    _check_drawing(n, temperature)
    loaded = _load(model, checkpoint, device)
    loaded.require_given_tracks()
    if tracks is not None:
        trained: Any = loaded.config["given"]
        wanted = [name.strip() for name in tracks.split(",")]
        if set(wanted) != set(trained):
            raise BadInput(f"--tracks {tracks} will not do: this model was trained to be given {','.join(trained)}.")
    part, writer = loaded.read_whole(given, "given")
    samples = loaded.accompany(part, n, seed, temperature)
    names = [f"{given.stem}_accompanied_{i:03d}" for i in range(n)]
    _write(writer.for_writing(writing.options()), samples, out, names, overwrite, audio)


@app.command
def reconstruct(
    model: Model_,
    files: Annotated[list[Path], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    out: Out = Path("out"),
    writing: WritingOptions = Writing(),  # noqa: B008
    audio: Audio = "wav",
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
    overwrite: Flag = False,
) -> None:
    """Pass files through a model's code and back; the picture shows each original beside its reconstruction."""
    import torch

    loaded = _load(model, checkpoint, device, writing)
    parts = [loaded.read(file) for file in files]
    originals = torch.cat(parts)
    names = [
        f"{file.stem}_{i:02d}" if len(part) > 1 else file.stem
        for file, part in zip(files, parts, strict=True)
        for i in range(len(part))
    ]
    rebuilt = loaded.reconstruct(originals)
    pairs = torch.stack([originals, rebuilt], 1).flatten(0, 1)[:64]
    _write(loaded.domain, rebuilt, out, _unique(names), overwrite, audio, shown=pairs)


@app.command
def interpolate(
    model: Model_,
    a: Path,
    b: Path,
    *,
    steps: Annotated[int, Parameter(help="How many samples, both ends included.")] = 8,
    out: Out = Path("out"),
    spherical: Annotated[bool, Parameter(negative="", help="Along a great circle instead of a straight line.")] = False,
    writing: WritingOptions = Writing(),  # noqa: B008
    audio: Audio = "wav",
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
    overwrite: Flag = False,
) -> None:
    """Walk from one file to another in equal steps of the code."""
    if steps < 2:
        raise BadInput(f"--steps {steps} will not do: the two ends alone are 2.")
    loaded = _load(model, checkpoint, device, writing)
    first, last = (loaded.read(file)[0] for file in (a, b))
    names = [f"step_{i:02d}" for i in range(steps)]
    _write(
        loaded.domain, loaded.interpolate(first, last, steps=steps, spherical=spherical), out, names, overwrite, audio
    )


@app.command
def arithmetic(
    model: Model_,
    a: Path,
    b: Path,
    c: Path,
    *,
    out: Out = Path("out"),
    writing: WritingOptions = Writing(),  # noqa: B008
    audio: Audio = "wav",
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
    overwrite: Flag = False,
) -> None:
    """Write the sample whose code is that of A − B + C; each is a file, or a folder of files whose mean code counts."""
    loaded = _load(model, checkpoint, device, writing)
    result = loaded.arithmetic(*(_read_all(loaded, path) for path in (a, b, c)))
    _write(loaded.domain, result, out, ["a_minus_b_plus_c"], overwrite, audio)


def _read_all(model: Model, path: Path) -> Tensor:
    """The samples of a file, or of all files of a folder."""
    import torch

    if not path.is_dir():
        return model.read(path)
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    if not files:
        raise BadInput(f"The folder {path} is empty.")
    return torch.cat([model.read(file) for file in files])


@app.command
def traverse(
    model: Model_,
    *,
    steps: Annotated[int, Parameter(help="Samples per row.")] = 9,
    out: Annotated[Path, Parameter(help="The picture to write (PNG).")] = Path("traversal.png"),
    seed: int = 0,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
    overwrite: Flag = False,
) -> None:
    """Draw what each coordinate of the code does: a row per coordinate, or per class of InfoGAN and structured codes."""
    if steps < 2:
        raise BadInput(f"--steps {steps} will not do: use 2 or more.")
    loaded = _load(model, checkpoint, device)
    rows = loaded.traversal(steps, seed)
    _save_picture(loaded.domain.picture(rows.flatten(0, 1), columns=steps), out, overwrite)


@app.command
def latent(
    model: Model_,
    *,
    out: Annotated[Path, Parameter(help="The picture to write (PNG).")] = Path("latent.png"),
    n: Annotated[int, Parameter(name=["-n", "--n"], help="Validation examples to encode.")] = 2000,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
    overwrite: Flag = False,
) -> None:
    """Draw the codes of validation examples, coloured by class, and the density that they add up to."""
    from musegen.evaluation.latent import draw

    loaded = _load(model, checkpoint, device)
    loaded._require("encode")
    batch = loaded.examples(n)
    if batch is None:
        raise BadInput(f"{model} is a model file, which knows no data to encode: give a run folder.")
    picture = draw(loaded.encode(batch.x), batch.label, loaded.domain.spec.classes)
    _save_picture(picture, out, overwrite)


def _save_picture(picture: Any, out: Path, overwrite: bool) -> None:
    import io

    if out.exists() and not overwrite:
        raise BadInput(f"{out} exists: choose another --out, or add --overwrite.")
    content = io.BytesIO()
    picture.save(content, "PNG")
    _write_file(out, content.getvalue())
    print(out)


def _write_file(path: Path, content: bytes) -> None:
    from musegen.checkpoint import write_atomically

    try:
        write_atomically(path, content)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.") from None


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


Files = Annotated[list[Path], Parameter(negative="", consume_multiple=True)]
Samples = Annotated[int, Parameter(name=["-k", "--k"], help="Draws per example for a bound; exact families need none.")]


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
    model: Model_,
    files: Files,
    /,
    *,
    k: Samples = 16,
    bits: Annotated[bool, Parameter(negative="", help="Bits instead of nats.")] = False,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """log p of files, exact or a lower bound; outliers lie below all but 1 % of the validation examples."""
    import math

    if k < 1:
        raise BadInput(f"-k {k} will not do: use 1 or more.")
    loaded = _load(model, checkpoint, device)
    loaded._require("log_prob")
    x, names = _named(loaded, files)
    values, threshold = loaded.log_prob(x, k), loaded.outlier_threshold(k)
    unit, scale = ("bits", math.log(2)) if bits else ("nats", 1.0)
    exact = loaded.family.capabilities.log_prob == "exact"
    how = f"log p, {unit}" if exact else f"log p ≥, {unit} (K = {k})"
    rows = [
        {"file": name, how: round(value / scale, 3), "outlier": _below(value, threshold)}
        for name, value in zip(names, values.tolist(), strict=True)
    ]
    _print_table(rows, json)


@app.command
def evaluate(
    model: Model_,
    *,
    n: Annotated[int, Parameter(name=["-n", "--n"], help="Samples, and real examples to compare them with.")] = 512,
    k: Samples = 16,
    split: Annotated[str | None, Parameter(help="Held-out data: test (where there is one) or valid.")] = None,
    data: Annotated[
        Path | None, Parameter(help="Data to compare with, as for training; those of the run if not given.")
    ] = None,
    seed: int = 0,
    temperature: Annotated[float, Parameter(help="Of the samples, as for generate.")] = 1.0,
    out: Annotated[Path | None, Parameter(help="Write the figures into this file as well (JSON).")] = None,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
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
    found = evaluate(_load(model, checkpoint, device), n, k, seed, split, data, temperature)
    content = _json(found.as_dict())
    if out is not None:
        _write_file(out, content.encode())
    if json:
        print(content)
        return
    if found.log_prob is not None:
        sign = "=" if found.log_prob["kind"] == "exact" else f"≥ (K = {found.log_prob['draws']})"
        print(
            f"log p {sign} {found.log_prob['nats']:.2f} ± {found.log_prob['error']:.2f} nats per example, "
            f"{found.n_held_out} examples of the {found.split} split\n"
        )
    if found.metrics:
        print(
            f"{found.n_samples} samples against {found.n_held_out} examples of the {found.split} split; "
            "in parentheses: training examples against the same\n"
        )
        _print_table(rows(found.metrics), False)
    if found.copies:
        print("\nWhat samples share with the training data; in parentheses: what held-out examples share\n")
        _print_table(rows(found.copies), False)


def _below(value: float, threshold: float | None) -> str:
    return "unknown" if threshold is None else "yes" if value < threshold else "no"


@app.command
def classify(
    model: Model_,
    files: Files,
    /,
    *,
    k: Samples = 16,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """The class of files and its probability; outliers (see score) are rejected."""
    loaded = _load(model, checkpoint, device)
    x, names = _named(loaded, files)
    log_p = loaded.classify(x)
    classes = loaded.domain.spec.classes if len(loaded.domain.spec.classes) == log_p.shape[1] else None
    typical, threshold = loaded.typicality(x, k), loaded.outlier_threshold(k)
    best = log_p.max(1)
    rows = []
    for i, name in enumerate(names):
        c, outlier = int(best.indices[i]), _below(float(typical[i]), threshold)
        found = classes[c] if classes else str(c)
        row = {"file": name, "class": "rejected" if outlier == "yes" else found, "best": found}
        rows.append(row | {"probability": round(float(best.values[i].exp()), 4), "outlier": outlier})
    _print_table(rows, json)


@app.command
def export(model: Model_, file: Path, *, checkpoint: Checkpoint = "best") -> None:
    """Write a model as one file, which every command takes in place of the run folder."""
    _load(model, checkpoint, "cpu").save(file)
    print(f"Wrote {file}")


def _unique(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that repeat."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return result


def _write(
    domain: Domain,
    x: Tensor,
    out: Path,
    names: Sequence[str],
    overwrite: bool,
    audio: str,
    shown: Tensor | None = None,
) -> None:
    """Native files, sound and a picture; refuses to replace what is there."""
    taken = [p for name in [*names, "picture"] for p in sorted(out.glob(f"{name}.*"))] if out.is_dir() else []
    if taken and not overwrite:
        raise BadInput(f"{taken[0]} exists: choose another --out, or add --overwrite.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"The folder {out} cannot be written: {error.strerror}.") from None
    paths = domain.write(x, out, names)
    picture = out / "picture.png"
    domain.picture(x if shown is None else shown).save(picture)
    sound = domain.audio(x) if audio != "none" else None
    if sound is not None:
        from musegen.sound import write_sound

        clips, rate_hz = sound
        for name, clip in zip(names, clips, strict=True):
            paths.append(out / f"{name}.{audio}")
            write_sound(paths[-1], clip, rate_hz)
    for path in [*paths, picture]:
        print(path)


def _print_table(rows: Sequence[dict[str, Any]], as_json: bool, title: str = "") -> None:
    if as_json:
        print(_json(rows))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in rows[0] if rows else ():
        table.add_column(name, overflow="fold", header_style="bold", min_width=len(name))
    for row in rows:
        table.add_row(*(str(value).replace("[", r"\[") for value in row.values()))
    # A file or a pipe has no width of its own; 80 columns would break what follows there.
    Console(width=None if sys.stdout.isatty() else 140).print(table)


@app.command
def families(*, json: Json = False) -> None:
    """List the families and what each can do."""
    from musegen.plugins import registry

    classes: dict[str, Any] = {name: offer.load() for name, offer in registry().families.items()}
    titles = {name: family.title for name, family in classes.items()}
    rows = [{"family": name, **family.capabilities.table()} for name, family in classes.items()]
    if json:
        _print_table([{**row, "title": titles[row["family"]]} for row in rows], True)
        return
    _print_table(rows, False)
    print()
    _print_table([{"family": name, "title": title} for name, title in titles.items()], False)


@app.command
def domains(*, json: Json = False) -> None:
    """List the domains."""
    from musegen.plugins import registry

    _print_table([{"domain": name, "summary": offer.summary} for name, offer in registry().domains.items()], json)


@app.command
def models(*, json: Json = False) -> None:
    """List the trained models that ship with musegen; every command takes their names."""
    from musegen.checkpoint import read_model_config
    from musegen.data import bundled

    rows = []
    for name, file in bundled.models().items():
        config, size = read_model_config(file), file.stat().st_size
        made = {"model": name, "family": config.get("family"), "domain": config.get("domain")}
        rows.append({**made, "MB": round(size / 1e6, 1), "what": bundled.summary(file), "file": str(file)})
    if json:
        _print_table(rows, True)
    elif rows:
        _print_table([{key: value for key, value in row.items() if key != "file"} for row in rows], False)
    else:
        print("No models ship with this musegen.")


@app.command
def plugins(*, json: Json = False) -> None:
    """List the plugins, where they come from, and what is wrong with broken ones."""
    from musegen.plugins import registry

    rows = [
        {
            "plugin": found.name,
            "status": "BROKEN" if found.problem else "OK",
            "distribution": f"{found.distribution} {found.version}",
            "offers": ", ".join(found.offers),
            "problem": found.problem,
        }
        for found in registry().found
    ]
    _print_table(rows, json)


@app.command
def explain(
    family: str, *, svg: Annotated[Path | None, Parameter(help="Draw the graph into this file.")] = None
) -> None:
    """Explain a family: objective, paper, players, options, and its graphical model."""
    import inspect

    from musegen.family import build
    from musegen.plugins import registry

    family_class = registry().family(family)
    config = family_class.Config()
    graph = family_class.graph(config)
    if svg is not None:
        _write_file(svg, graph.svg(family_class.title).encode())
        print(f"Wrote {svg}")
        return
    module = inspect.getmodule(family_class)
    # The players are those of a real instance, so that what is printed is what trains.
    domain_class = registry().domain("image") if "image" in registry().domains else None
    print(f"{family_class.title} ({family})\n{family_class.paper}\n\nObjective\n  {family_class.objective}\n")
    if domain_class is not None:
        instance = build(family_class, config, domain_class(domain_class.Config()))
        print("Players, in the order of their names; each moves its own networks alone")
        for name, player in instance.players.items():
            print(f"  {name}: {', '.join(player.networks)}   (Adam {player.learning_rate:g}, β {player.betas})")
    print(f"\nGraphical model\n{graph.text()}\n")
    _print_table(describe(family_class.Config), False, "Options")
    if module is not None and module.__doc__:
        print(f"\n{inspect.cleandoc(module.__doc__)}")


@data_app.command
def build(
    domain: str,
    folder: Path,
    *,
    out: Out,
    tracks: Annotated[str, Parameter(help="band, voices, or a YAML file with a mapping of your own.")] = "band",
    steps_per_beat: Annotated[int, Parameter(help="Time steps per quarter note.")] = 4,
    workers: Annotated[int | None, Parameter(help="Reading processes; one per processor if not given.")] = None,
    overwrite: Flag = False,
) -> None:
    """Build a packed store from a folder of MIDI or Lakh pianoroll files."""
    _need_pianoroll(domain)
    from musegen_pianoroll.build import build_store

    if not 1 <= steps_per_beat <= 96:
        raise BadInput(f"--steps-per-beat {steps_per_beat} will not do: use 1 to 96.")
    mapping: Any = tracks
    if tracks.endswith((".yaml", ".yml")):
        mapping = load_yaml(Path(tracks))
        mapping = mapping.get("tracks", mapping)

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty() or done == total:
            print(f"\r{done} of {total} files", end="\n" if done == total else "", file=sys.stderr, flush=True)

    report = build_store(
        folder,
        out,
        tracks=mapping,
        steps_per_beat=steps_per_beat,
        workers=workers,
        overwrite=overwrite,
        progress=progress,
    )
    print(f"{report.n_read} pieces in {out}, {report.seconds:.1f} s; {report.n_skipped} files left out.")
    for name, reason in report.skipped[:5]:
        print(f"  {name}: {reason}")
    if report.n_skipped > 5:
        print(f"  and {report.n_skipped - 5} more, see {out}/skipped.csv")


@data_app.command
def info(store: Path, *, json: Json = False) -> None:
    """Show what is in a packed store."""
    from musegen.data.store import Store

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
        _print_table([{"store": str(store), **pieces, "reasons": dict(reasons.most_common()), "tracks": tracks}], True)
        return
    for name, value in pieces.items():
        print(f"{name:<15} {value}")
        if name == "left out":
            for reason, n in reasons.most_common():
                print(f"{n:>6} {reason}")
    print()
    _print_table(tracks, False)


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


def _pair_help(family: str, domain: str) -> None:
    """The options of one pair, as three tables."""
    from musegen.plugins import registry

    family_class, domain_class = registry().family(family), registry().domain(domain)
    print(f"Usage: musegen train {family} {domain} [DATA] --out RUN [OPTIONS] [--set key=value …]\n")
    run_rows = [{**row, "option": "--" + row["option"].replace("_", "-")} for row in describe(RunConfig)]
    _print_table(run_rows, False, "Options of the run (also --config FILE.yaml, --overwrite, --quiet)")
    print()
    _print_table(describe(family_class.Config), False, f"--set for the family {family}: {family_class.title}")
    print()
    _print_table(describe(domain_class.Config), False, f"--set for the domain {domain}: {domain_class.summary}")


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Our own warnings as plain lines; others as Python shows them."""
    if issubclass(category, MusegenWarning):
        print(message, file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, *where[:2]), end="", file=sys.stderr)


def _usage(error: CycloptsError) -> str:
    """cyclopts' message as one plain line."""
    return " ".join(str(error).split())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong use or bad input, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]

    def run() -> None:
        pair = arguments[1:3]
        if (
            arguments[:1] == ["train"]
            and {"--help", "-h"} & set(arguments)
            and len(pair) == 2
            and not any(p.startswith("-") for p in pair)
        ):
            _pair_help(*pair)
        else:
            app(arguments, exit_on_error=False, print_error=False)

    return _guarded(run, debug)


def _guarded(run: Callable[[], None], debug: bool) -> int:
    """Run, and turn errors and our own warnings into plain lines on stderr, errors into exit codes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", MusegenWarning)
            warnings.showwarning = _show_warning
            run()
        sys.stdout.flush()
    except (MusegenError, CycloptsError) as error:
        if debug:
            raise
        if isinstance(error, CycloptsError):
            print(_usage(error), file=sys.stderr)
            return 2
        if not error.told:
            print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output is gone; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Exception as error:
        if debug:
            raise
        print(f"Something unexpected happened: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
