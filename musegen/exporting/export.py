"""Writing the parts of a model, each compared with torch before it is kept."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from musegen.engine.shared_state import in_float32, seeded
from musegen.errors import BadInput
from musegen.exporting.formats import SUFFIXES, Format, check_installed, written
from musegen.exporting.parts import Part, parts_of
from musegen.files import user_path, write_file
from musegen.models.loading import load
from musegen.models.model import Model
from musegen.reporting import each

if TYPE_CHECKING:
    from musegen.running.runs import Run

__all__ = ["TOLERANCE", "Exported", "Written", "export"]

TOLERANCE = 1e-5
"""The largest difference from torch, as a share of the largest value that comes out, or of 1 if that is more."""


@dataclass(frozen=True)
class Written:
    """One part that was written.

    Attributes:
        part: its name.
        file: beside the description.
        meaning: what it computes.
        inputs, outputs: name, shape with the batch first, and type of each.
        difference: the largest difference from torch over a few examples, as ``TOLERANCE`` counts it.
    """

    part: str
    file: str
    meaning: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    difference: float


@dataclass(frozen=True)
class Exported:
    """What an export wrote into a folder, and what it left out.

    Attributes:
        folder: where the files are, with ``export.json`` and ``README.md`` beside them.
        parts: what was written.
        left_out: why, by name of the part.
    """

    folder: Path
    parts: list[Written]
    left_out: dict[str, str] = field(default_factory=dict)


def export(model: Model | Run | str | Path, out: str | Path, to: Format = "onnx") -> Exported:
    """Write the parts of a model for other runtimes: its encoder, decoder or generator, classifier, discriminator, and the network
    of an autoregressive family. Each file is run, with several numbers of examples, and compared with torch before it is kept.

    Args:
        model: or what ``musegen.load`` takes.
        out: the folder to write; it must not exist, or be empty.
        to: ``onnx``, which the extra ``musegen[export]`` writes and onnxruntime runs; or ``torch``, torch.export's format.

    Raises:
        BadInput: the folder is not empty, the extra is not installed, or no part can be exported.

    >>> import musegen
    >>> run = musegen.train("vae", "image", out="run", steps=2, widths=[16], validate_every=0, sample_every=0, quiet=True)
    >>> found = musegen.export(run, "exported", to="torch")
    >>> [(part.file, part.inputs[0]["shape"]) for part in found.parts]
    [('encoder.pt2', ['batch', 1, 28, 28]), ('decoder.pt2', ['batch', 40])]
    """
    if to not in SUFFIXES:
        raise BadInput(f"to={to} is invalid: use onnx or torch.")
    folder = user_path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} exists and is not empty: choose another folder.")
    check_installed(to)
    model = model if isinstance(model, Model) else load(model)
    family = copy.deepcopy(model.family).cpu().eval()
    found = Exported(folder, [])
    with in_float32(), seeded(0, torch.device("cpu")), torch.no_grad():
        parts = parts_of(family)
        for name, part in each(list(parts.items()), "Exporting", "parts"):
            _add(found, name, part, to)
    if not found.parts:
        why = "; ".join(f"{name}: {reason}" for name, reason in found.left_out.items())
        raise BadInput(
            f'Nothing of this model of the family "{family.name}" can be exported{f" ({why})" if why else ""}: '
            "docs/export.md says which families can be."
        )
    _describe(found, model, to)
    return found


def _add(found: Exported, name: str, part: Part, to: Format) -> None:
    try:
        content, run = written(part, to)
    except Exception as error:  # torch has no common class for what it cannot trace
        found.left_out[name] = f"torch cannot trace it ({type(error).__name__}: {_first_line(error)})"
        return
    difference = max(_difference(part, run, n) for n in (1, 2, 5))
    if not difference <= TOLERANCE:
        found.left_out[name] = f"it differs from torch by {difference:.1g}, more than {TOLERANCE:g}"
        return
    found.folder.mkdir(parents=True, exist_ok=True)
    path = write_file(found.folder / f"{name}{SUFFIXES[to]}", content)
    inputs = [_described(label, value) for label, value in part.inputs.items()]
    outputs = [_described(part.output, part.module(*part.inputs.values()))]
    found.parts.append(Written(name, path.name, part.meaning, inputs, outputs, difference))


def _difference(part: Part, run: Any, n: int) -> float:
    """Of n examples."""
    inputs = {name: value[torch.arange(n) % len(value)] for name, value in part.inputs.items()}
    ours, theirs = part.module(*inputs.values()), run(inputs)
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1))


def _described(name: str, value: Tensor) -> dict[str, Any]:
    return {"name": name, "shape": ["batch", *value.shape[1:]], "type": str(value.dtype).removeprefix("torch.")}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def _describe(found: Exported, model: Model, to: Format) -> None:
    spec = model.domain.spec
    facts = {
        "musegen": version("musegen"),
        "torch": torch.__version__,
        "format": to,
        "family": model.family.name,
        "domain": model.domain.name,
        "sample": dict(zip(spec.axes, spec.shape, strict=True)),
        "likelihood": spec.likelihood.name,
        "classes": list(spec.classes),
        "parts": [asdict(part) for part in found.parts],
        "left_out": found.left_out,
    }
    write_file(found.folder / "export.json", json.dumps(facts, indent=1, ensure_ascii=False).encode())
    write_file(found.folder / "README.md", _readme(found, model, to).encode())


def _readme(found: Exported, model: Model, to: Format) -> str:
    shapes = lambda values: ", ".join(f"`{v['name']}` {v['type']} {v['shape']}" for v in values)  # noqa: E731
    rows = [
        f"| `{part.file}` | {shapes(part.inputs)} | {shapes(part.outputs)} | {part.meaning} |" for part in found.parts
    ]
    first, of = found.parts[0], model.family
    names = ", ".join(value["name"] for value in first.inputs)
    if to == "onnx":
        arrays = ", ".join(f'"{value["name"]}": {value["name"]}' for value in first.inputs)
        code = [
            "import onnxruntime",
            "",
            f'session = onnxruntime.InferenceSession("{first.file}")',
            f"({first.outputs[0]['name']},) = session.run(None, {{{arrays}}})",
        ]
    else:
        code = [
            "import torch",
            "",
            f'module = torch.export.load("{first.file}").module()',
            f"{first.outputs[0]['name']} = module({names})",
        ]
    left_out = [f"Left out: {name}, because {why}." for name, why in found.left_out.items()]
    return "\n".join(
        [
            f"# {of.title} on {model.domain.name}",
            "",
            f"Written by musegen {version('musegen')} ({to}). The first axis is the batch, of any size.",
            "",
            "| file | inputs | output | what it computes |",
            "|---|---|---|---|",
            *rows,
            "",
            "```python",
            *code,
            "```",
            "",
            *left_out,
        ]
    )
