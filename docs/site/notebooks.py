"""The notebooks of docs/notebooks: run without Jupyter, which is thirty packages more, and shown as pages of the site.

    python docs/site/notebooks.py    runs all of them, and writes into them what they show

Cells are plain Python. What the last expression of a cell is, a notebook shows; here a picture of it is kept, or its text.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "as_markdown", "execute", "read"]

FOLDER = Path(__file__).parents[1] / "notebooks"

Output = dict[str, Any]


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def execute(notebook: dict[str, Any], name: str) -> Iterator[list[Output]]:
    """Run a notebook in the current folder; yields what each of its cells of code shows, as nbformat 4 has it."""
    import matplotlib

    matplotlib.use("Agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "code":
            yield _run("".join(cell["source"]), f"{name}, cell {number}", names)


def _run(source: str, where: str, names: dict[str, Any]) -> list[Output]:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, where, "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), where, "eval"), names)
    text = printed.getvalue()
    found: list[Output] = [{"output_type": "stream", "name": "stdout", "text": _lines(text)}] if text else []
    found += [_shown({"image/png": png}) for png in _figures()]
    if value is not None and not source.rstrip().endswith(";"):
        found.append(_shown(_bundle(value)))
    return found


def _shown(data: dict[str, Any]) -> Output:
    return {"output_type": "display_data", "metadata": {}, "data": data}


def _figures() -> Iterator[str]:
    """The figures that a cell has drawn, as a notebook shows them at its end."""
    from matplotlib import pyplot

    for number in pyplot.get_fignums():
        content = io.BytesIO()
        pyplot.figure(number).savefig(content, format="png", dpi=72, bbox_inches="tight", metadata={"Software": None})
        yield base64.b64encode(content.getvalue()).decode()
    pyplot.close("all")


def _bundle(value: Any) -> dict[str, Any]:
    """What a notebook keeps of a value: a picture, which is small, in the place of a player, which is not; or its text."""
    if hasattr(value, "_repr_html_"):
        value._repr_html_()  # what a reader sees when he runs it
    picture = value.picture() if hasattr(value, "picture") else value
    if hasattr(picture, "save") and hasattr(picture, "size"):
        content = io.BytesIO()
        picture.convert("RGB").quantize(32).save(content, format="PNG", optimize=True)  # a third of the bytes
        return {"image/png": base64.b64encode(content.getvalue()).decode()}
    return {"text/plain": _lines(repr(value))}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def as_markdown(notebook: dict[str, Any]) -> str:
    """A notebook as a page: its text, its code, and what it shows."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text")})
            if "image/png" in data:
                parts.append(f'<img alt="" src="data:image/png;base64,{data["image/png"]}">')
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _main() -> None:
    os.environ["TQDM_DISABLE"] = "1"
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = read(path)
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            made = list(execute(notebook, path.name))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for cell, outputs in zip(cells, made, strict=True):
            # Where it was run is nobody's affair.
            cell["outputs"] = json.loads(json.dumps(outputs).replace(f"{folder}/", ""))
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(f"{path.name}: {path.stat().st_size >> 10} kB")


if __name__ == "__main__":
    _main()
