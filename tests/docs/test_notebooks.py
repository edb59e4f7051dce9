"""The notebooks run as they are, in a process each, and what they keep is small and shown in the site."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT
from test_site import module

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
QUICK = "add_family"
MOST_BYTES = 200_000
"""Of a notebook with what it shows."""
RUN = """
import json, runpy, sys
from pathlib import Path
found = runpy.run_path(sys.argv[1])
path = Path(sys.argv[2])
print(json.dumps(list(found["execute"](found["read"](path), path.name))))
"""


def kinds(outputs: list[dict[str, object]]) -> list[str]:
    """What a cell shows: text, or a picture."""
    return ["stream" if o["output_type"] == "stream" else next(iter(o["data"])) for o in outputs]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=() if p.stem == QUICK else pytest.mark.slow) for p in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_it_runs_and_shows_what_it_keeps(path: Path, tmp_path: Path) -> None:
    tool = ROOT / "docs/site/notebooks.py"
    command = [sys.executable, "-W", "error::UserWarning", "-c", RUN, str(tool), str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    kept = [cell["outputs"] for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [kinds(outputs) for outputs in made] == [kinds(outputs) for outputs in kept], "python docs/site/notebooks.py"
    assert any("image/png" in kinds(outputs) for outputs in made)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_a_small_notebook_that_names_nobodys_folders(path: Path) -> None:
    text = path.read_text("utf-8")
    notebook = json.loads(text)
    assert len(text) <= MOST_BYTES
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert not re.search(r"/(home|root|tmp|Users)/", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_site_shows_text_code_and_pictures(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    page = module("notebooks").as_markdown(notebook)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert page.startswith("# ")
    assert page.count("```python\n") == len(code)
    assert page.count("<img ") == sum(kinds(cell["outputs"]).count("image/png") for cell in code)


def test_a_cell_shows_its_last_value_its_print_and_its_figures() -> None:
    tool = module("notebooks")
    sources = ["import matplotlib.pyplot as plt\nprint('a')\nplt.plot([1, 2])\n1 + 1", "x = 3", "x", "x;"]
    cells = [{"cell_type": "code", "source": [source]} for source in sources]
    shown = list(tool.execute({"cells": [{"cell_type": "markdown", "source": ["# A"]}, *cells]}, "n"))
    assert [kinds(outputs) for outputs in shown] == [["stream", "image/png", "text/plain"], [], ["text/plain"], []]
    assert shown[0][2]["data"]["text/plain"] == ["2"]
