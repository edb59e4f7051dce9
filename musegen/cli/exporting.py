"""The command that writes models for elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from musegen.cli.app import TRAIN, app
from musegen.cli.options import Json, ModelName, Source, SourceOptions
from musegen.cli.output import as_json, print_table, print_text
from musegen.errors import BadInput
from musegen.option_texts import parse_assignments
from musegen.reporting import plain

if TYPE_CHECKING:
    from musegen.models.model import Model


@app.command(group=TRAIN)
def export(
    model: ModelName,
    file: Path | None = None,
    *,
    set_: Annotated[
        list[str],
        Parameter(
            name="--set",
            negative="",
            help="A default of drawing or writing, as key=value: temperature=0.9; repeatable.",
        ),
    ] = [],  # noqa: B006
    half: Annotated[
        bool,
        Parameter(negative="", help="Weights in half precision, in half the space; they are computed with in full."),
    ] = False,
    onnx: Annotated[
        bool, Parameter(negative="", help="Write its networks for ONNX runtimes (needs the extra export).")
    ] = False,
    torch_export: Annotated[
        bool, Parameter(negative="", help="Write its networks in the format of torch.export.")
    ] = False,
    out: Annotated[Path | None, Parameter(help="With --onnx or --torch-export: the folder to write.")] = None,
    source: SourceOptions = Source(),  # noqa: B008
    json: Json = False,
) -> None:
    """Write a model as one file, which every command accepts in place of the run folder; or its networks for other runtimes.

    Parameters
    ----------
    file
        Of the model, its name ends in .safetensors; without --onnx and --torch-export.
    """
    if onnx and torch_export:
        raise BadInput("--onnx and --torch-export do not go together: choose one.")
    if onnx or torch_export:
        if out is None or file is not None or set_ or half:
            raise BadInput(
                "Networks for other runtimes are written into a folder, in full precision and without options: give --out FOLDER, "
                "and leave out the file, --set and --half."
            )
        _networks(source.load(model), out, onnx, json)
        return
    if file is None or out is not None:
        raise BadInput("Name the file to write: musegen export MODEL FILE.safetensors.")
    loaded = source.load(model)
    loaded.configure(**parse_assignments(set_))
    loaded.save(file, half)
    print(plain(f"Wrote {file}"))


def _networks(loaded: Model, out: Path, onnx: bool, json: bool) -> None:
    from musegen.exporting.export import export as write

    found = write(loaded, out, "onnx" if onnx else "torch")
    if json:
        print(as_json({"parts": [vars(part) for part in found.parts], "left_out": found.left_out}))
        return
    rows = [
        {
            "file": str(found.folder / part.file),
            "inputs": ", ".join(_shown(value) for value in part.inputs),
            "output": ", ".join(_shown(value) for value in part.outputs),
            "difference": f"{part.difference:.1g}",
        }
        for part in found.parts
    ]
    print_table(rows, False)
    for name, why in found.left_out.items():
        print_text(f"Left out: {name}, because {why}.")


def _shown(value: dict[str, object]) -> str:
    """code (batch × 40)"""
    shape = value["shape"]
    assert isinstance(shape, list)
    return f"{value['name']} ({' × '.join(map(str, shape))})"
