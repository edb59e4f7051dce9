"""What a studio keeps: few models, few pieces, and names of files that lead nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy import ToyPiece

import musegen
from musegen.errors import BadInput
from musegen.studio.shelf import Models, Pieces, description, file_name


@given(text=st.text())
def test_a_name_of_a_file_is_one(text: str) -> None:
    name = file_name(text)
    assert name
    assert Path(name).name == name
    assert len(name.encode()) <= 200
    assert not name.startswith(".")
    assert name.isprintable()
    assert file_name(name) == name


def test_few_models_stay_in_memory() -> None:
    loaded: list[str] = []

    def load(place: str) -> Any:
        loaded.append(place)
        return musegen.load("chorale", device="cpu")

    models = Models({"a": "/a", "b": "/b", "c": "/c"}, load, most=2)
    for name in "abacab":
        models.get(name)
    assert loaded == ["/a", "/b", "/c", "/b"]
    assert models.about("c")["name"] == "c"
    assert len(loaded) == 4
    for name in ("/a", "d", ""):
        with pytest.raises(BadInput, match="has no model"):
            models.get(name)


def test_what_is_said_of_a_model() -> None:
    found = description(musegen.load("chorale", device="cpu"))
    assert found["can"] == ["generate", "continue", "accompany", "infill", "regenerate"]
    assert found["tracks"] == ["Soprano", "Alto", "Tenor", "Bass"]
    options = {row["option"]: row for row in found["options"]}
    assert options["temperature"]["owner"] == "sampling"
    assert options["chords"]["owner"] == "asking"
    notes = description(musegen.load("notes", device="cpu"))
    assert notes["can"] == ["generate"]
    assert "guitar" in notes["labels"]
    assert "Chords" not in description(musegen.load("pop", device="cpu"))["tracks"]


def never(model: str, file: Path) -> Any:
    raise AssertionError


def test_few_pieces_stay_in_memory_and_the_others_are_read_again(tmp_path: Path) -> None:
    again: list[tuple[str, str]] = []

    def reread(model: str, file: Path) -> Any:
        again.append((model, file.name))
        return ToyPiece(torch.ones(1, 4, 4))

    pieces = Pieces(tmp_path, reread, in_memory=2)
    made = [ToyPiece(torch.zeros(1, 4, 4)) for _ in range(3)]
    kept = [pieces.add(piece, f"x {i}", {"model": "toy"}) for i, piece in enumerate(made)]
    assert kept[1].piece is made[1]  # and so it is the last that was used
    found = kept[0].piece
    assert again == [("toy", "x 0.npy")]
    assert kept[0].piece is found
    assert kept[1].piece is made[1]
    assert len(again) == 1
    assert kept[2].piece is not made[2]
    assert len(again) == 2


def test_the_oldest_pieces_are_forgotten_with_their_files(tmp_path: Path) -> None:
    pieces = Pieces(tmp_path, never, most=2)
    kept = [pieces.add(ToyPiece(torch.zeros(1, 4, 4)), f"../x {i}", {}) for i in range(3)]
    assert [one.file.name for one in kept] == ["x 0.npy", "x 1.npy", "x 2.npy"]
    assert len({one.id for one in kept}) == 3
    assert pieces.get(kept[2].id) is kept[2]
    with pytest.raises(BadInput, match="not any more"):
        pieces.get(kept[0].id)
    assert [one.file.exists() for one in kept] == [False, True, True]
    assert len(list(tmp_path.iterdir())) == 2
