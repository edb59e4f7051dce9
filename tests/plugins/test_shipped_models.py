"""The trained models that ship: they write music at once, and the accompanist listens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import musegen
from musegen.data.bundled import bundled, models

MELODIES = ("bwv253.mid", "bwv254.mid", "bwv255.mid")


def test_each_has_a_card_and_together_they_are_small() -> None:
    files = models()
    assert {"band", "chorale", "harmony"} <= set(files)
    assert sum(file.stat().st_size for file in files.values()) <= 25e6
    for file in files.values():
        card = file.with_suffix(".md").read_text(encoding="utf-8")
        assert all(part in card for part in ("**Data.**", "**Training.**", "**Measures**", "**What it does badly.**"))


@pytest.mark.parametrize("name", ["band", "chorale"])
def test_they_write_music(name: str, tmp_path: Path) -> None:
    model = musegen.load(name)
    x = model.sample(2, seed=0)
    assert not torch.equal(x[0], x[1])
    assert torch.equal(x, model.sample(2, seed=0))
    for piece in model.domain.pianorolls(x):
        assert len(piece.notes) > 20 * model.config["bars"] / 4
    # In the range of what the data have, by an order of magnitude: a broken file would write noise, or nothing.
    assert 0.002 < float(x.mean()) < 0.05


def test_two_melodies_get_two_harmonies_each_its_own(tmp_path: Path) -> None:
    """The melody comes back unchanged; the rest is another for another melody, and suits its own better than another's."""
    model = musegen.load("harmony")
    parts = [model.read_whole(bundled("chorales") / name, "given")[0] for name in MELODIES]
    rows = min(part.shape[1] for part in parts)
    given = model.domain.spec.given_mask()[:, :1]  # (C, 1, W): whole tracks
    melodies = torch.stack([part[:, :rows] * given for part in parts])
    played = torch.cat([model.accompany(melody, 1, seed=0) for melody in melodies])
    torch.testing.assert_close(played * given, melodies)
    rest = played * ~given
    assert bool((rest.flatten(1).sum(1) > rows / 2).all())
    fit = torch.stack([model.log_prob(melody + rest) for melody in melodies])  # (melody, harmony), nats
    for i in range(len(MELODIES)):
        for j in range(len(MELODIES)):
            assert i == j or not torch.equal(rest[i], rest[j])
            assert i == j or float(fit[i, i]) > float(fit[j, i]) + 10  # harmony i, beside melody i and beside another
