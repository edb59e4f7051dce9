"""One model of several metres: what it sees of pieces, what it writes, and that bars are as long as they are said to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest
import torch
from commands import Result, bad
from hypothesis import given, settings
from hypothesis import strategies as st

import musegen
from musegen.contracts.asked import Asked
from musegen.contracts.dataset import Batch
from musegen.contracts.missing import missing_rows
from musegen.data.bundled import bundled
from musegen.errors import BadInput
from musegen.families.rnn_nade import RNNNADE, RNNNADEConfig
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.domain import PianorollDomain
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.writing.midi import midi_of, notes_of
from musegen_pianoroll.writing.pianoroll import Pianoroll

Run = Callable[..., Result]
METRES = [(4, 4), (3, 4), (6, 8)]
CONFIG = PianorollConfig(
    bars=2,
    metre="4/4,3/4,6/8",
    given=["any"],
    plan="chords",
    tracks={"Drums": {"drums": True}, "Piano": {"programs": ["0-127"]}},
)
DOMAIN = PianorollDomain(CONFIG)
TRACKS = [StoreTrack("Drums", 0, True), StoreTrack("Piano")]
WAYS = {
    "one metre": {"metre": "4/4", "options": {"metre": "3/4"}, "said": "writes 4/4 alone"},
    "another": {"metre": "4/4,3/4", "options": {"metre": "6/8"}, "said": "writes 4/4 or 3/4, and not 6/8"},
    "none": {"metre": "4/4,3/4", "options": {"metre": "waltz"}, "said": "is no time signature"},
}


def length(metre: tuple[int, int]) -> int:
    return metre[0] * 16 // metre[1]


@st.composite
def pieces(draw: st.DrawFn) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Metres of some bars, and notes of a piano and drums in them that are held over bar lines too."""
    metres = draw(st.lists(st.sampled_from(METRES), min_size=2, max_size=5))
    n_steps = sum(length(metre) for metre in metres)
    roll = np.zeros((2, 2, n_steps, 128), bool)
    for _ in range(draw(st.integers(1, 8))):
        track, pitch = draw(st.integers(0, 1)), draw(st.integers(30, 100))
        first = draw(st.integers(0, n_steps - 1))
        last = first + 1 if track == 0 else min(n_steps, first + draw(st.integers(1, 30)))
        if not roll[track, 0, first:last, pitch].any():
            roll[track, 0, first:last, pitch] = roll[track, 1, first, pitch] = True
    return metres, roll


def changes_of(metres: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    found, step = [], 0
    for before, metre in zip([None, *metres], metres, strict=False):
        if metre != before:
            found.append((step, *metre))
        step += length(metre)
    return found


@settings(max_examples=8)
@given(piece=pieces())
def test_pieces_that_change_their_metre_come_back(
    piece: tuple[list[tuple[int, int]], np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From a file to cells, and from cells to a piece: every note, and every change of metre."""
    metres, roll = piece
    first, *changes = changes_of(metres)
    path = tmp_path_factory.mktemp("metres") / "piece.mid"
    midi = midi_of(roll, TRACKS, steps_per_beat=4, metre=first[1:], changes=changes)
    path.write_bytes(midi.content())
    x, _ = DOMAIN.read_given(path, "all")
    assert x.shape[1] == 16 * len(metres)
    gone = missing_rows(x[None])[0]
    assert (~gone).sum() == roll.shape[2]
    (found,) = DOMAIN.pieces(x[None])
    assert sorted(notes_of(found.roll).tolist()) == sorted(notes_of(roll).tolist())
    assert [(0, *found.metre), *found.changes] == [first, *changes]
    assert found.bars == np.cumsum([0, *(length(metre) for metre in metres)])[:-1].tolist()
    again = tmp_path_factory.mktemp("metres") / "again.mid"
    found.save(again)
    y, _ = DOMAIN.read_given(again, "all")
    assert torch.equal(x, y)
    assert torch.equal(DOMAIN.discretise(x[None])[0] > 0, x > 0)


def family(config: PianorollConfig = CONFIG) -> RNNNADE:
    torch.manual_seed(0)
    made = RNNNADE(RNNNADEConfig(units=12, hidden=8, features=12, depth=1, lags=[1]), PianorollDomain(config).spec, {})
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.1 * torch.randn_like(weight)
        made.network.absolute.step_bias.bias -= 4  # few cells are on
    return made.eval()


def waltz() -> torch.Tensor:
    """Two bars of 3/4, with notes."""
    x = DOMAIN.asked(DOMAIN.Asking(metre="3/4"), Asked.nothing(2, DOMAIN.spec.shape, 32)).cells
    x[:, 4, [0, 4, 16, 20], 40] = x[:, 5, [0, 4, 16, 20], 40] = 1
    return x


def test_rows_that_bars_lack_have_no_term() -> None:
    """The likelihood is that of the other rows alone, of samples whose missing rows are given as empty."""
    model, x = family(), waltz()
    gone = missing_rows(x)
    assert gone.sum(1).tolist() == [8, 8]
    empty = x.masked_fill(gone[:, None, :, None], 0)
    mask = gone[:, None].expand(-1, x.shape[1], -1).clone()
    mask[:, :2] = True  # without a plan
    empty[:, :2] = 0
    of_steps = model.step_log_prob(empty, None, mask)
    assert torch.equal(of_steps[gone], torch.zeros(16))
    assert torch.allclose(model.log_prob(x), of_steps.sum(1))
    ((_, losses),) = model.updates(Batch(x, torch.arange(2)))
    assert torch.allclose(losses["nats_per_step"], -of_steps.sum(1).mean() / 24)
    nothing = torch.zeros_like(mask)
    assert torch.allclose(
        model.rest_log_prob(x, nothing), model.rest_log_prob(x, mask & (torch.arange(x.shape[1]) > 1)[:, None])
    )


def test_the_metre_matters() -> None:
    """The network is told how long a bar is: the same notes in a bar of 4/4 have another probability."""
    model, x = family(), waltz()
    common = x.masked_fill(missing_rows(x)[:, None, :, None], 0)
    assert not torch.allclose(model.log_prob(x), model.log_prob(common))


def test_the_first_batch_counts_rows_that_are_there() -> None:
    """b starts at the log-odds of each cell over the 48 rows that two samples of two bars of 3/4 have."""
    model, x = family(), waltz()
    model.prepare(Batch(x, torch.arange(2)))
    rate = torch.sigmoid(model.network.cells.grid(model.network.absolute.step_bias.bias[None, None])[0, :, 0])
    clean = x.masked_fill(missing_rows(x)[:, None, :, None], 0)
    assert torch.allclose(rate[4, 40], (8 + clean.mean()) / 49)


def test_drawn_bars_are_as_long_as_they_are_asked_for() -> None:
    model = family()
    for text, lengths in {"3/4": [12] * 4, "6/8": [12] * 4, "3/4 4/4": [12, 16, 12, 16], "": [16] * 4}.items():
        asked = DOMAIN.asked(DOMAIN.Asking(metre=text), Asked.nothing(1, DOMAIN.spec.shape, 64))
        torch.manual_seed(1)
        x = model.fill(asked)
        gone = missing_rows(x)[0]
        assert torch.equal(gone, missing_rows(asked.cells)[0])
        assert (~gone).view(4, 16).sum(1).tolist() == lengths
        assert set(x.unique().tolist()) <= {0.0, 1.0}
        (piece,) = DOMAIN.pieces(x)
        assert piece.roll.shape[2] == sum(lengths)
        assert np.diff([*piece.bars, sum(lengths)]).tolist() == lengths


def test_new_bars_are_as_the_last_ones() -> None:
    x = waltz()[:1]
    shape = (DOMAIN.spec.shape[0], 64, DOMAIN.spec.shape[2])
    mask = (torch.arange(64) < 32).expand(1, shape[0], -1)
    cells = torch.zeros(1, *shape)
    cells[:, :, :32] = x
    asked = DOMAIN.asked(DOMAIN.Asking(), Asked(cells, mask))
    assert (~missing_rows(asked.cells)[0]).view(4, 16).sum(1).tolist() == [12] * 4
    with_metre = DOMAIN.asked(DOMAIN.Asking(metre="4/4"), Asked(cells, mask))
    assert (~missing_rows(with_metre.cells)[0]).view(4, 16).sum(1).tolist() == [12, 12, 16, 16]
    with pytest.raises(BadInput, match="the given piece says its metre"):
        DOMAIN.asked(DOMAIN.Asking(metre="4/4"), Asked(x, torch.ones(1, shape[0], 32, dtype=torch.bool)))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_metres_that_cannot_be_asked_for(way: dict[str, str]) -> None:
    domain = PianorollDomain(PianorollConfig(bars=2, metre=way["metre"], given=["any"], plan="chords"))
    with pytest.raises(BadInput, match=way["said"]):
        domain.asked(domain.Asking(**way["options"]), Asked.nothing(1, domain.spec.shape, 32))  # type: ignore[arg-type]


def test_several_metres_need_a_model_that_may_be_given_any_part() -> None:
    with pytest.raises(BadInput, match="needs given=any"):
        _ = PianorollDomain(PianorollConfig(metre="4/4,3/4")).spec


def test_an_ending_in_three_four_has_its_dominant_on_the_last_beat() -> None:
    """In the bar before the last, rows 8 to 11 are the third beat, and rows 12 to 15 are missing."""
    asking = DOMAIN.Asking(metre="3/4", ending=True)
    whole = DOMAIN.asked(asking, Asked.nothing(1, DOMAIN.spec.shape, 64))
    x = whole.cells.clone()
    for pitch in (48, 52, 55):  # C major in the first two bars
        x[:, 4, :12, pitch - 24] = x[:, 4, 16:28, pitch - 24] = 1
    last = DOMAIN.ending(asking, x, whole)
    assert last is not None
    low = CONFIG.plan_octave - CONFIG.lowest_pitch
    roots = [torch.nonzero(last.cells[0, 1, row, low : low + 12]).flatten().tolist() for row in (40, 43, 48, 59)]
    assert roots == [[7], [7], [0], [0]]
    assert last.mask[0, 1].nonzero().flatten().tolist() == [*range(32), *range(40, 64)]
    assert missing_rows(last.cells)[0].nonzero().flatten().tolist() == [r for r in range(64) if r % 16 >= 12]


def test_measures_of_a_piece_that_changes_its_metre() -> None:
    """Three notes in a bar of 3/4 and four in one of 4/4."""
    roll = np.zeros((1, 2, 28, 128), bool)
    roll[0, :, ::4, 60] = True
    piece = Pianoroll(roll, [StoreTrack("Piano")], 4, metre=(3, 4), changes=[(12, 4, 4)])
    assert repr(piece) == "Pianoroll(2 bars of 3/4 and 4/4, 7 notes, Piano)"
    assert piece.measures()["notes per bar/Piano"] == 3.5
    both = piece.then(piece)
    assert ([(0, *both.metre), *both.changes], both.bars) == (
        [(0, 3, 4), (12, 4, 4), (28, 3, 4), (40, 4, 4)],
        [0, 12, 28, 40],
    )
    assert [signature.time for signature in both.to_pretty_midi().time_signature_changes] == [0.0, 1.5, 3.5, 5.0]
    assert np.flatnonzero(both.to_pypianoroll().downbeat).tolist() == both.bars


def test_windows_that_are_cut_to_a_shorter_metre() -> None:
    """Three of four windows: rows that 3/4 or 6/8 lack are marked, and all others are as they were."""
    config = replace(CONFIG, shorten=0.75)
    data = PianorollDomain(config).synthetic(400, seed=1).splits
    plain = PianorollDomain(CONFIG).synthetic(400, seed=1).splits
    assert data["train"].shorten == 0.75  # type: ignore[attr-defined]
    index, generator = torch.arange(400), torch.Generator().manual_seed(3)
    x = data["train"].gather(index, generator).x
    before = plain["train"].gather(index, torch.Generator().manual_seed(3)).x
    gone = missing_rows(x)
    assert torch.equal(x, before.masked_fill(gone[:, None, :, None], 1))
    kinds = {tuple(row.tolist()): int(n) for row, n in zip(*gone.unique(dim=0, return_counts=True), strict=True)}
    rooms = CONFIG.rooms
    three, six, four = (tuple(rooms.missing(metre).tolist()) * 2 for metre in ((3, 4), (6, 8), (4, 4)))
    assert set(kinds) == {three, six, four}
    assert 70 < kinds[four] < 130  # of 400, 100 are expected
    assert 120 < kinds[three] < 180
    assert not missing_rows(data["valid"].gather(torch.arange(50), generator).x).any()


# Commands


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("metres")
    options = {"tracks": "voices", "steps_per_beat": 2, "bars": 2, "given": ["any"], "plan": "chords"}
    sizes = {"units": 16, "hidden": 8, "features": 10, "depth": 0, "lags": [1]}
    run = musegen.train(
        "rnn_nade", "pianoroll", data=bundled("chorales"), out=folder / "run", steps=20, batch_size=8, sample_every=0, samples=1,
        validate_every=0, quiet=True, device="cpu", metre="4/4,3/4", **options, **sizes,
    )  # fmt: skip
    musegen.load(run.path, checkpoint="last").save(folder / "metres.safetensors")
    return folder / "metres.safetensors"


def metres_in(path: Path) -> list[tuple[int, str]]:
    file = mido.MidiFile(path)
    found, now = [], 0
    for message in mido.merge_tracks(file.tracks):
        now += message.time
        if message.type == "time_signature":
            found.append((now // (file.ticks_per_beat or 1), f"{message.numerator}/{message.denominator}"))
    return found


def test_pieces_of_any_metre_are_written_and_go_on(model: Path, run: Run, tmp_path: Path) -> None:
    text = run("generate", model, "-n", 1, "--metre", "3/4", "--audio", "none", "--out", tmp_path / "a").out
    assert "sample_000.mid" in text
    assert metres_in(tmp_path / "a" / "sample_000.mid") == [(0, "3/4")]
    waltz_file = tmp_path / "a" / "sample_000.mid"
    assert mido.MidiFile(waltz_file).tracks[0][-1].time >= 0
    run("continue", model, waltz_file, "-n", 1, "--bars", 3, "--audio", "none", "--out", tmp_path / "b")
    (longer,) = (tmp_path / "b").glob("*.mid")
    assert metres_in(longer) == [(0, "3/4")]
    assert musegen.load(model).read_given(longer)[0].shape[1] == 5 * 8
    run(
        "continue",
        model,
        waltz_file,
        "-n",
        1,
        "--bars",
        2,
        "--metre",
        "4/4",
        "--audio",
        "none",
        "--out",
        tmp_path / "c",
    )
    (changed,) = (tmp_path / "c").glob("*.mid")
    assert metres_in(changed) == [(0, "3/4"), (6, "4/4")]
    run(
        "infill",
        model,
        waltz_file,
        "--tracks",
        "Bass",
        "--bars",
        "2-2",
        "-n",
        1,
        "--audio",
        "none",
        "--out",
        tmp_path / "d",
    )
    (filled,) = (tmp_path / "d").glob("*.mid")
    assert metres_in(filled) == [(0, "3/4")]
    bad(run("generate", model, "--metre", "5/4", "--out", tmp_path / "e"), "writes 4/4 or 3/4, and not 5/4")
