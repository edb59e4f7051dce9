"""The trained models that ship: they write music or notes at once, and the accompanist listens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import musegen
from musegen.data.batches import Batches
from musegen.data.bundled import bundled, models, summary

MELODIES = ("bwv253.mid", "bwv254.mid", "bwv255.mid")


def test_each_has_a_card_and_together_they_are_small() -> None:
    files = models()
    assert {"band", "chorale", "notes", "pop"} <= set(files)
    assert sum(file.stat().st_size for file in files.values()) <= 40e6
    for file in files.values():
        card = file.with_suffix(".md").read_text(encoding="utf-8")
        assert all(part in card for part in ("**Data.**", "**Training.**", "**Measures**", "**What it does badly.**"))
        assert summary(file).endswith(".")  # a whole sentence, however the card breaks its lines


def test_a_summary_is_the_first_paragraph(tmp_path: Path) -> None:
    model = tmp_path / "song.safetensors"
    assert summary(model) == ""
    model.with_suffix(".md").write_text("\n# Songs, of any\n  length.\n\n**Data.** Many.\n")
    assert summary(model) == "Songs, of any length."


def test_they_are_drawn_from_without_large_imports(tmp_path: Path) -> None:
    """torch's compiler, which takes longer to import than a piece to draw, comes with operations on tensors without content."""
    code = (
        "import sys, musegen; model = musegen.load('pop', device='cpu'); model.pieces(model.sample(1, n_steps=16))[0].picture(); "
        "print(sorted({'torch._dynamo', 'sympy', 'scipy', 'matplotlib', 'librosa', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["band", "chorale", "pop"])
def test_they_write_music(name: str, tmp_path: Path) -> None:
    model = musegen.load(name)
    x = model.sample(2, seed=0)
    assert not torch.equal(x[0], x[1])
    assert torch.equal(x, model.sample(2, seed=0))
    for piece in model.pieces(x):
        assert len(piece.notes) > 20 * model.config["bars"] / 4
    # In the range of what the data have, by an order of magnitude: a broken file would write noise, or nothing.
    assert 0.002 < float(x.mean()) < 0.05


def test_a_model_is_held_against_the_data_that_ship(tmp_path: Path) -> None:
    model = musegen.load("band")
    assert model.data() is None
    data = model.data(Path("bundled"))
    assert data is not None
    assert "66 pieces" in data.description
    x = next(iter(Batches(data.splits["valid"], 4, 0, torch.device("cpu")).once(4))).x
    assert model.log_prob(x).mean() > 2 * model.log_prob(torch.rand_like(x).round()).mean()


@pytest.mark.slow
def test_two_melodies_get_two_harmonies_each_its_own(tmp_path: Path) -> None:
    """The melody comes back unchanged; the rest is another for another melody, and suits its own better than another's."""
    model = musegen.load("chorale")
    parts = [model.read_given(bundled("chorales") / name, "given", ["Soprano"])[0] for name in MELODIES]
    rows = min(part.shape[1] for part in parts)
    given = torch.zeros(model.domain.spec.shape[0], 1, 1, dtype=torch.bool)
    given[model.domain.spec.plan : model.domain.spec.plan + 2] = True
    melodies = torch.stack([part[:, :rows] * given for part in parts])
    played = torch.cat([model.accompany(melody, 1, 0, ["Soprano"]) for melody in melodies])
    torch.testing.assert_close(played * given, melodies)
    rest = played * ~given
    assert bool((rest.flatten(1).sum(1) > rows / 2).all())
    mask = given[:, :, 0].expand(1, -1, rows)
    fit = [[float(model.family.rest_log_prob((melody + r)[None], mask)) for r in rest] for melody in melodies]
    for i in range(len(MELODIES)):
        for j in range(len(MELODIES)):
            assert i == j or not torch.equal(rest[i], rest[j])
            assert i == j or fit[i][i] > fit[j][i] + 10  # harmony i, beside melody i and beside another


@pytest.fixture(scope="module")
def note_model() -> musegen.Model:
    pytest.importorskip("librosa")
    return musegen.load("notes")


def test_notes_by_name_of_their_class(note_model: musegen.Model) -> None:
    """Levels lie where those of the notes that it learned from do: audible, decaying or held, and never all silence."""
    from musegen_audio.metrics import loudness_db
    from musegen_audio.notes import FAMILIES

    assert note_model.domain.spec.classes == tuple(FAMILIES)
    x = note_model.sample(4, seed=1, label="guitar")
    assert torch.equal(x, note_model.sample(4, seed=1, label=list(FAMILIES).index("guitar")))
    assert not torch.equal(x, note_model.sample(4, seed=1, label="organ"))
    heard = [piece.audio() for piece in note_model.pieces(x)]
    clips = [clip for clip, rate_hz in heard if rate_hz == 16000]
    assert len(clips) == 4
    assert all(abs(clip).max() <= 0.99 for clip in clips)
    loudness = torch.stack([loudness_db(torch.from_numpy(clip))[0] for clip in clips])
    assert bool(((loudness > -45) & (loudness < -3)).all())


def test_classes_of_notes_sound_as_they_are_called(note_model: musegen.Model) -> None:
    """Without a judge: basses are lower and darker than pipes, guitars fade more than organs, and pitches differ."""
    from musegen_audio.metrics import pitch_midi

    domain = note_model.domain
    pitch, centre, fall_db = {}, {}, {}
    for name in ("bass", "pipe", "guitar", "organ"):
        x = note_model.sample(12, seed=0, label=name)
        levels = domain.spectral.decibels(x)  # (n, T, W)
        power = (10 ** (levels / 10)).mean(1)
        centre[name] = float(((power * domain.spectral.centres_hz).sum(1) / power.sum(1)).median())
        first, _, third, _ = levels.amax(2).tensor_split(4, 1)  # the loudest band in each quarter
        fall_db[name] = float((first.mean(1) - third.mean(1)).median())
        pitch[name] = pitch_midi(domain.spectral.synthesise(x), domain.config.sample_rate_hz)
        assert len(pitch[name][~pitch[name].isnan()].round().unique()) >= 2
    every = torch.cat(list(pitch.values()))
    assert len(every[~every.isnan()].round().unique()) >= 10
    assert float(pitch["bass"].nanmedian()) + 12 < float(pitch["pipe"].nanmedian())
    assert 2 * centre["bass"] < centre["pipe"]
    assert fall_db["guitar"] > fall_db["organ"] + 2, (pitch, centre, fall_db)
