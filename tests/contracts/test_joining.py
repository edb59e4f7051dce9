"""Files that are longer than a sample: samples that follow each other, and one piece of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from toy import ToyDomain

from musegen.contracts.piece import Joining, Piece


class Word(Piece):
    suffix = ".txt"

    def __init__(self, text: str) -> None:
        self.text = text

    def save(self, path: str | Path) -> Path:
        Path(path).write_text(self.text)
        return Path(path)

    def picture(self) -> Image.Image:
        return Image.new("L", (8, 8))


class Sentence(Word):
    def then(self, *others: Word) -> Sentence:
        return Sentence(" ".join([self.text, *(other.text for other in others)]))


class Words:
    """A writer: each sample is a word."""

    def __init__(self, kind: type[Word]) -> None:
        self.kind = kind

    def pieces(self, samples: Tensor) -> list[Word]:
        return [self.kind(str(int(x.sum()))) for x in samples]

    def sheet(self, pieces: Sequence[Any], columns: int | None = None) -> Image.Image:
        return pieces[0].picture()


def test_pieces_that_can_follow_each_other_become_one() -> None:
    samples = torch.arange(3)[:, None]
    assert [piece.text for piece in Joining(Words(Sentence)).pieces(samples)] == ["0 1 2"]  # type: ignore[attr-defined]
    assert [piece.text for piece in Joining(Words(Sentence)).pieces(samples[:1])] == ["0"]  # type: ignore[attr-defined]
    assert [piece.text for piece in Joining(Words(Word)).pieces(samples)] == ["0", "1", "2"]  # type: ignore[attr-defined]


def test_shorter_files_end_in_silence(tmp_path: Path) -> None:
    class Numbers(ToyDomain):
        def read(self, path: Path) -> Tensor:
            return torch.full((int(path.name), *self.spec.shape), 7.0)

    domain = Numbers(ToyDomain.Config())
    whole, writer = domain.read_whole(Path("1"), Path("3"))
    assert whole.shape == (2, 3, *domain.spec.shape)
    assert [[float(x.max()) for x in part] for part in whole] == [[7, 0, 0], [7, 7, 7]]
    assert len(writer.pieces(whole[0])) == 3  # pieces of the toy domain cannot follow each other
