"""Tables that break no word, in any width; what is printed where nobody wants colours; hints that work."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_files import piece
from rich.cells import cell_len
from terminal import in_terminal

from musegen.cli import output

QUICK = ["--steps", "2", "--batch-size", "4", "--validate-every", "0", "--sample-every", "0", "--quiet"]
words = st.text("abcé音(-_", min_size=1, max_size=12)
cells = st.lists(words, max_size=12).map(" ".join)


def tables(n_columns: int) -> st.SearchStrategy[list[dict[str, str]]]:
    names = [f"name_{i}" for i in range(n_columns)]
    rows = st.lists(cells, min_size=n_columns, max_size=n_columns).map(lambda row: dict(zip(names, row, strict=True)))
    return st.lists(rows, min_size=1, max_size=6)


def printed(monkeypatch: pytest.MonkeyPatch, columns: int, call: Callable[[], None]) -> list[str]:
    lines: list[str] = []
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(output, "print", lambda text="": lines.extend(text.split("\n")), raising=False)
    call()
    return lines


@settings(deadline=None)
@given(rows=st.integers(1, 6).flatmap(tables), columns=st.integers(20, 120))
def test_no_word_is_broken_and_none_is_lost(rows: list[dict[str, str]], columns: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        lines = printed(monkeypatch, columns, lambda: output.print_table(rows, False))
    expected = sorted(word for row in rows for cell in row.values() for word in cell.split())
    found = sorted(word for line in lines for word in line.split())
    for name in rows[0]:  # once as the head of a column, or in every block where there is a value
        while name in found:
            found.remove(name)
    assert found == expected
    for line in lines:
        # Too long can only be a word that no line could hold.
        assert cell_len(line) <= columns or any(cell_len(word) > columns - 30 for word in line.split()), line


def test_rows_become_blocks_where_columns_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"name": "one", "colour": "blue", "length in steps": "12"},
        {"name": "two", "colour": "", "length in steps": "7"},
    ]

    def table() -> None:
        output.print_table(rows, False)

    assert printed(monkeypatch, 40, table) == [
        "name  colour  length in steps",
        "one   blue    12",
        "two           7",
    ]
    assert printed(monkeypatch, 28, table) == [
        "name  colour  length in",
        "              steps",
        "one   blue    12",
        "two           7",
    ]
    assert printed(monkeypatch, 17, table) == [
        "one",
        "  colour           blue",
        "  length in steps  12",
        "two",
        "  length in steps  7",
    ]


def test_texts_are_filled_again_but_not_what_is_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = "word " * 19 + "end"
    text = f"{filled}\nof a paragraph.\n\n    a = b + c    (1)\n* {filled}\n  and on\nlast"

    monkeypatch.setattr(output, "width_of", lambda stream, otherwise: 60)
    lines: list[str] = []
    monkeypatch.setattr(output, "print", lambda text="": lines.extend(text.split("\n")), raising=False)
    output.print_text(text)
    assert lines == [
        "word word word word word word word word word word word word",
        "word word word word word word word end of a paragraph.",
        "",
        "    a = b + c    (1)",
        "* word word word word word word word word word word word",
        "  word word word word word word word word end and on",
        "last",
    ]


@pytest.mark.parametrize("columns", [80, 60])
def test_every_table_fits(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: int
) -> None:
    """Every command that prints a table, in so many columns: the words are those of a wide one."""
    (tmp_path / "songs").mkdir()
    for i in range(3):
        (tmp_path / "songs" / f"a song with a long name {i}.mid").write_bytes(piece(6, transpose=i))
    (tmp_path / "songs" / "broken.mid").write_bytes(b"MThd")
    assert run("data", "build", "pianoroll", "songs", "--out", "store").code == 0
    assert run("train", "vae", "toy", "--out", "run", *QUICK, "--set", "latent_dim=2").code == 0
    assert run("train", "ada", "toy", "--out", "ada", *QUICK, "--set", "target=true").code == 0
    assert run("generate", "run", "-n", 2, "--out", "out").code == 0
    for command in (
        ["families"],
        ["models"],
        ["domains"],
        ["plugins"],
        ["data", "info", "store"],
        ["evaluate", "run", "-n", 8],
        ["score", "run", "out/sample_000.npy", "out/sample_001.npy"],
        ["classify", "ada", "out/sample_000.npy"],
        ["train", "vae", "pianoroll", "--help"],
        ["explain", "structured_vae"],
    ):
        shown = {}
        for width in (columns, 1000):
            monkeypatch.setenv("COLUMNS", str(width))
            result = run(*command)
            assert result.code == 0, result.err
            shown[width] = result.out
        narrow, wide = (set(shown[width].split()) for width in (columns, 1000))
        assert narrow <= wide
        assert wide - narrow <= {
            "family",
            "domain",
            "track",
            "file",
            "option",
        }  # blocks do not name what stands at their heads
        for line in shown[columns].splitlines():
            assert cell_len(line) <= columns or re.fullmatch("sha256 +[0-9a-f]{64}", line), line


def test_tables_and_texts_on_a_terminal(tmp_path: Path) -> None:
    for columns, command in ((80, ["explain", "vae"]), (60, ["train", "vae", "pianoroll", "--help"])):
        seen = in_terminal(command, columns, tmp_path)
        assert seen.code == 0, seen.raw
        assert seen.screen.wrapped == []
        assert "\x1b[1m" in seen.raw


# What to do next


@pytest.mark.parametrize(
    ("family", "options", "command"),
    [
        ("vae", [], "generate"),
        ("ae", [], "generate"),
        ("ada", ["--set", "target=true"], "classify"),
        ("conditional_gan", ["--set", "condition=given", "--set", "given=true"], "generate"),
    ],
)
def test_the_next_command_works_for_the_family_in_a_shell(
    run: Callable[..., Result], family: str, options: list[str], command: str
) -> None:
    result = run("train", family, "toy", "--out", "my runs/first one", *QUICK, *options)
    assert result.code == 0, result.err
    words = shlex.split(result.out.strip().rpartition("Next: ")[2])
    assert words[:3] == ["musegen", command, "my runs/first one"]
    assert run("train", "vae", "toy", "--out", "other", *QUICK).code == 0
    assert run("generate", "other", "-n", 1, "--out", "files").code == 0
    done = run(*("files/sample_000.npy" if word == "FILE" else word for word in words[1:]))
    assert done.code == 0, done.err
