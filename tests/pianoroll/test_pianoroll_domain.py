"""The pianoroll domain: rolls, calibration, metrics, networks, and files out and in again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_files import piece
from readers import read_file
from torch import Tensor

from musegen.contracts.domain import Decoder, Discriminator, Encoder
from musegen.contracts.family import build
from musegen.contracts.piece import save
from musegen.data.batches import Batches
from musegen.data.bundled import bundled
from musegen.errors import BadInput
from musegen.families.rnn_nade import RNNNADE, RNNNADEConfig
from musegen.models.model import Model
from musegen.models.reference import reference_data
from musegen_pianoroll.config import PianorollConfig, PianorollWriting
from musegen_pianoroll.domain import PianorollDomain
from musegen_pianoroll.measures.bars import measure, onsets_of, table
from musegen_pianoroll.measures.keys import key_of, piece_labels
from musegen_pianoroll.networks.musegan import strides
from musegen_pianoroll.reading.build import build_store
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.options import Reading
from musegen_pianoroll.reading.piece import read_piece
from musegen_pianoroll.reading.roles import BAND
from musegen_pianoroll.store import planes
from musegen_pianoroll.store.format import PACKED, PLANES_AT, StoreTrack, digest_of
from musegen_pianoroll.store.store import Store
from musegen_pianoroll.store.windows import gather_windows
from musegen_pianoroll.store.writer import StoreWriter
from musegen_pianoroll.writing.midi import notes_of, write_midi
from musegen_pianoroll.writing.picture import COLOURS, contact_sheet, picture
from musegen_pianoroll.writing.sound import synthesise

CPU = torch.device("cpu")


def first_batch(domain: PianorollDomain, data: Any, n: int = 64, split: str = "train") -> Tensor:
    return next(Batches(data.splits[split], n, 0, CPU).once()).x


# Files out and in again


@st.composite
def rolls(draw: st.DrawFn) -> np.ndarray:
    """A valid roll of the band: frame and onset planes, drums one step long."""
    n_steps = 16 * draw(st.integers(1, 3))
    roll = np.zeros((5, 2, n_steps, 128), bool)
    notes = draw(
        st.lists(
            st.tuples(st.integers(0, 4), st.integers(0, 127), st.integers(0, n_steps - 1), st.integers(1, 20)),
            max_size=25,
        )
    )
    for track, pitch, start, length in sorted(notes):
        end = start + 1 if track == 0 else min(n_steps, start + length)
        roll[track, 0, start:end, pitch] = True
        roll[track, 1, start, pitch] = True
    return roll


def slow_notes(roll: np.ndarray) -> list[list[int]]:
    found = []
    for track in range(len(roll)):
        for pitch in range(128):
            frame, onset = roll[track, 0, :, pitch] | roll[track, 1, :, pitch], roll[track, 1, :, pitch]
            for start in range(len(frame)):
                if onset[start] or (frame[start] and (start == 0 or not frame[start - 1])):
                    end = start + 1
                    while end < len(frame) and frame[end] and not onset[end]:
                        end += 1
                    found.append([track, pitch, start, end])
    return found


@settings(deadline=None, max_examples=60)
@given(rolls())
def test_notes_of_a_roll(roll: np.ndarray) -> None:
    assert notes_of(roll).tolist() == slow_notes(roll)


@settings(deadline=None, max_examples=60)
@given(roll=rolls(), steps_per_beat=st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24, 96]), tempo=st.floats(20, 300))
def test_roll_to_midi_to_roll_is_exact(
    roll: np.ndarray, steps_per_beat: int, tempo: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("midi") / "x.mid"
    write_midi(roll, path, BAND, steps_per_beat=steps_per_beat, tempo_bpm=tempo)
    if not roll.any():
        with pytest.raises(MidiError, match="no notes"):
            read_file(path, "band", steps_per_beat)
        return
    found, _ = read_file(path, "band", steps_per_beat)
    planes = np.unpackbits(found.planes, axis=-1, bitorder="little").astype(bool).transpose(1, 2, 0, 3)
    length = max(end for *_, end in slow_notes(roll))
    np.testing.assert_array_equal(planes[:, :, :length], roll[:, :, :length])
    assert not planes[:, :, length:].any()
    assert found.tempos[0][1] == pytest.approx(tempo, rel=1e-4)


def test_midi_to_store_to_midi_is_exact_for_every_bundled_piece(tmp_path: Path) -> None:
    """Once on the grid, a piece survives writing and reading: onset, pitch, length and track of every note."""
    for name, tracks in (("freedoom", "band"), ("chorales", "voices")):
        files = sorted(bundled(name).glob("*.mid"))[:: 6 if name == "freedoom" else 30]
        domain = PianorollDomain(PianorollConfig(tracks=tracks))
        for file in files:
            first, _ = read_file(file, tracks, 4)
            roll = np.unpackbits(first.planes, axis=-1, bitorder="little").astype(bool).transpose(1, 2, 0, 3)
            write_midi(roll, tmp_path / "x.mid", domain.tracks, steps_per_beat=4)
            again, _ = read_file(tmp_path / "x.mid", tracks, 4)
            n = min(len(first.planes), len(again.planes))
            assert np.array_equal(first.planes[:n], again.planes[:n]), file.name
            assert not first.planes[n:].any()
            assert first.n_notes == again.n_notes


def test_written_midi_says_who_plays(tmp_path: Path) -> None:
    import pretty_midi

    roll = np.zeros((5, 2, 32, 128), bool)
    roll[:, :, 0, 60] = True
    write_midi(roll, tmp_path / "x.mid", BAND, steps_per_beat=4, tempo_bpm=90.0, metre=(4, 4))
    midi = pretty_midi.PrettyMIDI(str(tmp_path / "x.mid"))
    assert [(i.name, i.program, i.is_drum) for i in midi.instruments] == [(t.name, t.program, t.is_drum) for t in BAND]
    assert midi.get_tempo_changes()[1][0] == pytest.approx(90.0, rel=1e-5)
    assert (midi.time_signature_changes[0].numerator, midi.time_signature_changes[0].denominator) == (4, 4)
    assert midi.instruments[1].notes[0].end == pytest.approx(60 / 90 / 4)


# The domain


@pytest.mark.parametrize("planes", ["frame+onset", "frame"])
def test_data_pass_through_rolls_unchanged(band_store: Path, planes: Any, tmp_path: Path) -> None:
    domain, data = PianorollDomain.open(PianorollConfig(bars=2, planes=planes), band_store, tmp_path)
    x = first_batch(domain, data)
    found = domain.rolls(x)
    cells = x.unflatten(1, (5, -1)).bool()
    low, high = domain.config.pitch_range
    if planes == "frame+onset":
        # A window may begin inside a held note: its frames have no onset in the window and are left out.
        assert torch.equal(found[:, :, 1, :, low:high], cells[:, :, 1])
        assert not (found[:, :, 0, :, low:high] & ~cells[:, :, 0]).any()
        lost = (cells[:, :, 0] & ~found[:, :, 0, :, low:high]).nonzero()
        assert all(cells[n, t, 0, : s + 1, p].all() for n, t, s, p in lost.tolist())
        inside = [i for i in range(len(x)) if not (cells[i, 1:, 0, 0] & ~cells[i, 1:, 1, 0]).any()]
        assert torch.equal(found[inside][:, :, 0, :, low:high], cells[inside][:, :, 0])
    else:
        assert torch.equal(found[:, 1:, 0, :, low:high], cells[:, 1:, 0])


def test_windows_are_the_bars_of_the_files(tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    songs.mkdir()
    (songs / "a.mid").write_bytes(piece(6))
    domain, data = PianorollDomain.open(PianorollConfig(bars=2), songs, tmp_path / "cache")
    assert len(data.splits["train"]) == 5  # six bars hold five windows of two
    read = domain.read(songs / "a.mid")
    assert read.shape == (3, *domain.spec.shape)  # and three that do not overlap
    assert torch.equal(read[0], data.splits["train"].gather(torch.tensor([0]), torch.Generator()).x[0])
    written = save(domain.pieces(read), tmp_path, ["a0", "a1", "a2"])
    assert torch.equal(torch.cat([domain.read(path) for path in written]), read)
    assert domain.config.tempo_bpm == 120.0


def test_both_networks_and_all_ranges_fit(tmp_path: Path) -> None:
    for options in (
        {"networks": "mlp", "widths": [8]},
        {"networks": "musegan-composer", "channels": 3},
        {"networks": "musegan-composer", "channels": 3, "lowest_pitch": 60, "highest_pitch": 60, "bars": 1},
        {
            "networks": "musegan-composer",
            "channels": 3,
            "lowest_pitch": 20,
            "highest_pitch": 33,
            "steps_per_beat": 1,
            "metre": "3/4",
        },
        {"networks": "musegan-composer", "channels": 3, "steps_per_beat": 12, "bars": 3, "planes": "frame"},
        {"networks": "musegan-composer", "channels": 3, "metre": "7/8", "tracks": "voices"},
    ):
        domain = PianorollDomain(PianorollConfig(**options))  # type: ignore[arg-type]
        shape = domain.spec.shape
        x, z = torch.rand(3, *shape), torch.randn(3, 7)
        encoder = domain.network(Encoder())
        assert encoder(x).shape == (3, encoder.n_features)
        assert domain.network(Decoder(7))(z).shape == (3, *shape)
        for norm in ("batch", "spectral", "none"):
            discriminator = domain.network(Discriminator(norm))  # type: ignore[arg-type]
            features, logit = discriminator(x)
            assert (features.shape, logit.shape) == ((3, discriminator.n_features), (3,))


@given(st.integers(1, 200), st.integers(1, 128))
def test_strides_cover_a_bar(bar_steps: int, n_pitches: int) -> None:
    time, pitch = (int(np.prod(factors)) for factors in zip(*strides(bar_steps, n_pitches), strict=True))
    assert time == bar_steps
    assert n_pitches <= pitch < n_pitches + 12


def test_bars_do_not_see_each_other_in_the_bar_network() -> None:
    """The decoder's bar network is one for all bars: equal bar codes give equal bars."""
    domain = PianorollDomain(PianorollConfig(bars=3, channels=4))
    decoder = domain.network(Decoder(5)).eval()
    with torch.no_grad():
        different = decoder(torch.randn(2, 5))
        torch.nn.init.zeros_(decoder.temporal[0].layers[-3].weight)
        x = decoder(torch.randn(2, 5))
    assert not torch.allclose(different[:, :, :16], different[:, :, 16:32])
    torch.testing.assert_close(x[:, :, :16], x[:, :, 16:32])
    torch.testing.assert_close(x[:, :, :16], x[:, :, 32:])


def test_single_plane_keeps_repeats_apart() -> None:
    """With frames alone, the last step before a repeated note becomes a rest, as in MuseGAN's data."""
    roll = np.zeros((8, 1, 2, 128), bool)
    roll[0:6, 0, 0, 60] = True
    roll[[0, 3], 0, 1, 60] = True  # two notes of three steps
    frame = planes.model_planes(torch.from_numpy(np.packbits(roll, axis=-1, bitorder="little")), 1)
    sounding = np.unpackbits(frame.numpy(), axis=-1, bitorder="little")[:, 0, 0, 60]
    assert sounding.tolist() == [1, 1, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("block", [1, 3, 64, 1000])
def test_the_frame_planes_of_a_store_are_computed_in_blocks(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planes, "BLOCK_STEPS", block)
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "a.mid").write_bytes(piece(4))
    build_store(tmp_path / "songs", tmp_path / "store")
    store = Store.open(tmp_path / "store")
    found = planes.mapped_planes(store, 1, tmp_path / "cache")
    expected = planes.model_planes(torch.from_numpy(store.planes), 1)
    assert torch.equal(found, expected)
    assert not torch.equal(expected[:, :, 0], torch.from_numpy(store.planes)[:, :, 0])
    (written,) = (tmp_path / "cache").iterdir()
    state = written.stat()
    assert torch.equal(planes.mapped_planes(store, 1, tmp_path / "cache"), found)
    assert written.stat().st_mtime_ns == state.st_mtime_ns


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from musegen_pianoroll.config import PianorollConfig, PianorollWriting
from musegen_pianoroll.domain import PianorollDomain
store, cache = Path(sys.argv[1]), Path(sys.argv[2])
pages = int(Path("/proc/self/statm").read_text().split()[0])
maps = (store / "planes.safetensors").stat().st_size * 3 // 2  # the store, and its frames
limit = pages * resource.getpagesize() + maps + (96 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
domain, data = PianorollDomain.open(PianorollConfig(planes="frame", bars=1), store, cache)
batch = data.splits["train"].gather(torch.arange(4), torch.Generator())
print(tuple(batch.x.shape), float(batch.x.sum()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_opening_a_large_store_with_frames_alone_takes_little_memory(tmp_path: Path) -> None:
    """A store of 320 MB, sparse but for a note, in 96 MB beside the maps."""
    n_bars = 125_000
    specs = list(BAND)
    with StoreWriter(tmp_path / "store", specs, 4, "band") as writer:
        rest = {"sha256": "", "content": "", "split": "train", "tempo_bpm": 120.0, "segments": [[0, n_bars, 4, 4]]}
        writer.reserve(16 * n_bars, rest | {"source": "a.mid", "n_notes": [0, 1, 0, 0, 0]})
        writer.finish()
    with (tmp_path / "store" / "planes.safetensors").open("r+b") as file:
        for step in range(4):  # C4 on the piano
            file.seek(PLANES_AT + step * writer.step_bytes + 2 * PACKED + 60 // 8)
            file.write(bytes([1 << 60 % 8]))
    index = json.loads((tmp_path / "store" / "store.json").read_text())
    index["planes_sha256"] = digest_of(tmp_path / "store" / "planes.safetensors")
    (tmp_path / "store" / "store.json").write_text(json.dumps(index))
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "store"), str(tmp_path / "cache")]
    said = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert said.stdout.strip() == "(4, 5, 16, 84) 4.0", said.stderr[-500:]


# Calibration


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000))
def test_calibrated_samples_have_the_notes_and_the_empty_bars_of_the_data(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    domain = PianorollDomain(PianorollConfig(bars=2, lowest_pitch=48, highest_pitch=71, tracks="band"))
    shape = domain.spec.shape
    density = torch.rand(5, 1, generator=generator).repeat_interleave(2, 0)[..., None] * 0.02
    silent = torch.rand(60, 5, 2, generator=generator) < torch.rand(5, 1, generator=generator)
    real = (torch.rand(60, *shape, generator=generator) < density).float().unflatten(1, (5, 2))
    real = real * (~silent).repeat_interleave(16, 2)[:, :, None, :, None]
    real[:, :, 0] = torch.maximum(real[:, :, 0], real[:, :, 1])
    samples = torch.rand(60, *shape, generator=generator) ** 4
    samples[:, ::2] = 0  # frames: no note is held over into a bar where none begins
    writing = domain.calibrate(samples, real.flatten(1, 2))
    calibrated = measure(PianorollDomain(domain.config, writing).rolls(samples), 16)
    wanted = measure(domain.rolls(real.flatten(1, 2)), 16)
    torch.testing.assert_close(calibrated.empty_bars, wanted.empty_bars, atol=0.02, rtol=0)
    torch.testing.assert_close(calibrated.notes_per_bar, wanted.notes_per_bar, atol=0.05, rtol=0.02)


def test_a_saturated_model_is_not_silenced() -> None:
    """All probabilities 0 or 1, as a late GAN gives them: what sounds must stay, whatever the data's counts."""
    domain = PianorollDomain(PianorollConfig(bars=1))
    samples = (torch.rand(50, *domain.spec.shape) < 0.01).float()
    real = (torch.rand(50, *domain.spec.shape) < 0.002).float()
    rolls_ = PianorollDomain(domain.config, domain.calibrate(samples, real)).rolls(samples)
    assert (measure(rolls_, 16).notes_per_bar > 5).all()


@pytest.mark.parametrize("density", [0.0, 0.0005, 0.01])
def test_what_is_given_is_never_cut(density: float) -> None:
    """Given tracks are 0 or 1 in samples, and have more notes there than the reference by chance."""
    torch.manual_seed(0)
    domain = PianorollDomain(PianorollConfig(bars=2, given=["Piano", "Bass"]))
    shape = domain.spec.shape
    given_cells = (torch.rand(40, *shape) < 0.002).float()
    given_cells[:, ::2] = 0
    samples = torch.where(domain.spec.given_mask(), given_cells, torch.rand(40, *shape) ** 4)
    real = (torch.rand(40, *shape) < density).float()
    calibrated = PianorollDomain(domain.config, domain.calibrate(samples, real))
    low, high = domain.config.pitch_range
    found = calibrated.rolls(samples)[:, [1, 3], 1, :, low:high]
    assert torch.equal(found.float(), given_cells[:, [3, 7]])


def test_a_threshold_that_was_set_is_left_alone() -> None:
    writing = PianorollWriting(threshold=0.3)
    domain = PianorollDomain(PianorollConfig(), writing)
    x = torch.rand(4, *domain.spec.shape)
    assert domain.calibrate(x, x) is writing
    assert domain.rolls(torch.full((1, *domain.spec.shape), 0.31)).any()
    assert not domain.rolls(torch.full((1, *domain.spec.shape), 0.29)).any()


def test_a_run_that_went_on_is_calibrated_again(band_store: Path, tmp_path: Path) -> None:
    """Stopped, calibrated and resumed, it ends with the thresholds of a run that was never stopped."""
    import musegen

    options = {"bars": 1, "networks": "mlp", "widths": [8], "latent_dim": 4, "batch_size": 8, "validate_every": 0}
    run = musegen.train("vae", "pianoroll", data=band_store, out=tmp_path / "a", steps=2, quiet=True, **options)
    before = run.config().writing
    after = musegen.resume(run.path, steps=40, quiet=True).config().writing
    whole = musegen.train("vae", "pianoroll", data=band_store, out=tmp_path / "b", steps=40, quiet=True, **options)
    assert after == whole.config().writing
    assert after.threshold != before.threshold


def test_one_threshold_per_track() -> None:
    domain = PianorollDomain(PianorollConfig(), PianorollWriting(threshold=[0.2, 0.4, 0.6, 0.8, 0.9]))
    sounding = domain.rolls(torch.full((1, *domain.spec.shape), 0.5))[0, :, 1].flatten(1).any(1)
    assert sounding.tolist() == [True, True, False, False, False]
    with pytest.raises(BadInput, match="2 numbers for 5 tracks"):
        PianorollDomain(PianorollConfig(), PianorollWriting(threshold=[0.2, 0.4])).rolls(
            torch.zeros(1, *domain.spec.shape)
        )


# Measures


def bars(notes: list[tuple[int, int, int]], n_steps: int = 32) -> Tensor:
    """One sample, one track, from (pitch, start, end)."""
    roll = torch.zeros(1, 1, 2, n_steps, 128, dtype=torch.bool)
    for pitch, start, end in notes:
        roll[0, 0, 0, start:end, pitch] = True
        roll[0, 0, 1, start, pitch] = True
    return roll


def test_measures_by_hand() -> None:
    """Bar 1: a C major triad for half a bar and a C an octave up; bar 2: silence."""
    found = measure(bars([(60, 0, 8), (64, 0, 8), (67, 0, 8), (72, 8, 12)]), 16)
    assert float(found.notes_per_bar) == 2.0  # four notes in two bars
    assert float(found.pitch_classes) == 3.0  # C, E, G in the one bar that sounds; octaves are one class
    assert float(found.empty_bars) == 0.5
    assert float(found.polyphony) == pytest.approx(8 / 12)


def test_pitch_classes_are_modulo_12_wherever_the_range_begins() -> None:
    """Neighbouring semitones are different classes; the public code that folds by reshape(12, -1) says otherwise."""
    octaves = measure(bars([(36, 0, 4), (48, 0, 4), (60, 0, 4)]), 32)
    semitones = measure(bars([(60, 0, 4), (61, 0, 4), (62, 0, 4)]), 32)
    assert float(octaves.pitch_classes) == 1.0
    assert float(semitones.pitch_classes) == 3.0
    cropped = measure(bars([(60, 0, 4), (72, 0, 4), (61, 0, 4)])[..., 24:108], 32, lowest_pitch=24)
    assert float(cropped.pitch_classes) == 2.0


def test_onsets_count_repeats_and_rises() -> None:
    frame = torch.zeros(6, 128, dtype=torch.bool)
    onset = frame.clone()
    frame[[0, 1, 2, 4], 60] = True
    onset[[0, 2], 60] = True
    assert onsets_of(frame, onset)[:, 60].tolist() == [True, False, True, False, True, False]


def test_the_table_shows_model_beside_data() -> None:
    text = table(measure(bars([(60, 0, 4)]), 16), measure(bars([]), 16), ["Lead"])
    assert "Lead" in text
    assert "50" in text
    assert "100" in text


# Sound and pictures


def test_sound_has_level_and_silence_is_silent() -> None:
    roll = np.zeros((5, 2, 32, 128), bool)
    assert not synthesise(roll, BAND, steps_per_beat=4, tempo_bpm=120).any()
    roll[:, :, ::4, [40, 60, 64, 67]] = True
    sound = synthesise(roll, BAND, steps_per_beat=4, tempo_bpm=120)
    assert sound.dtype == np.float32
    assert sound.shape[0] == 2
    assert np.isfinite(sound).all()
    assert 0.05 < np.abs(sound).max() <= 10 ** (-1 / 20) + 1e-6
    assert np.sqrt((sound**2).mean()) > 0.005
    # Two bars at 120 beats per minute last 4 s, of which the last step sounds to 3.625 s; after it notes ring, drums longest.
    assert 3.7 < sound.shape[1] / 44_100 < 12
    assert (
        np.abs(sound[:, -1000:]).max() < 10 ** (-50 / 20) * np.abs(sound).max() < 10 * np.abs(sound[:, 160_000:]).max()
    )


def test_sound_has_the_pitches_of_the_notes() -> None:
    """Of a scale of six notes, one by one: the strongest pitch class of each note's time is its own, for every pitched track."""
    keys, step = [48, 50, 52, 53, 55, 57], 44_100 // 8
    for track in range(1, 5):
        roll = np.zeros((5, 2, 48, 128), bool)
        for i, key in enumerate(keys):
            roll[track, 0, 8 * i : 8 * i + 4, key] = roll[track, 1, 8 * i, key] = True
        sound = synthesise(roll, BAND, steps_per_beat=4, tempo_bpm=120).mean(0)
        hz = np.fft.rfftfreq(1 << 17, 1 / 44_100)
        low = (hz > 60) & (hz < 1500)
        classes = np.rint(12 * np.log2(hz[low] / 440) + 69).astype(int) % 12
        for i, key in enumerate(keys):
            spectrum = np.abs(np.fft.rfft(sound[8 * i * step : (8 * i + 4) * step] * np.hanning(4 * step), 1 << 17))
            assert np.bincount(classes, spectrum[low] ** 2).argmax() == key % 12, (track, key)


def test_every_track_is_heard() -> None:
    for i in range(5):
        roll = np.zeros((5, 2, 16, 128), bool)
        roll[i, :, 0, 40] = True
        assert np.abs(synthesise(roll, BAND, steps_per_beat=4, tempo_bpm=120)).max() > 0.01


def test_a_picture_shows_every_track_in_its_colour() -> None:
    roll = np.zeros((5, 2, 32, 128), bool)
    for i in range(5):
        roll[i, :, 3 * i, 40 + 5 * i] = True
    image = picture(roll, BAND, bars=[0, 16], steps_per_beat=4)
    colours = {pixel for _, pixel in image.getcolors(1 << 20)}
    from PIL import ImageColor

    grid = np.asarray(image)[20:]  # below the legend
    for i in range(5):
        colour = ImageColor.getrgb(COLOURS[i])
        assert colour in colours
        assert (grid == colour).all(-1).any()
    sheet = contact_sheet([roll, roll, roll], BAND, bars=[[0, 16]] * 3, steps_per_beat=4)
    assert sheet.width > 1000
    assert picture(np.zeros((5, 2, 16, 128), bool), BAND, bars=[0], steps_per_beat=4).width > 300


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest_pitch": 90, "highest_pitch": 50}, "swap them"),
        ({"metre": "four"}, "no time signature"),
        ({"metre": "7/16", "steps_per_beat": 1}, "no whole number of steps"),
        ({"widths": []}, "widths"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        PianorollConfig(**options)


def test_too_few_bars(tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    songs.mkdir()
    (songs / "a.mid").write_bytes(piece(3))
    with pytest.raises(BadInput, match="4 bars of 4/4 in a row"):
        PianorollDomain.open(PianorollConfig(bars=4), songs, tmp_path / "cache")
    domain = PianorollDomain(PianorollConfig(bars=4))
    with pytest.raises(BadInput, match="has no 4 bars"):
        domain.read(songs / "a.mid")
    (songs / "b.mid").write_bytes(b"x")
    with pytest.raises(MidiError):
        domain.read(songs / "b.mid")


def test_a_store_brings_its_own_tracks_and_resolution(tmp_path: Path) -> None:
    from musegen_pianoroll.reading.build import build_store

    songs = tmp_path / "songs"
    songs.mkdir()
    (songs / "a.mid").write_bytes(piece(4))
    mapping = {"Beat": {"drums": True}, "Low": {"programs": ["32-39"]}}
    build_store(songs, tmp_path / "store", tracks=mapping, steps_per_beat=12)
    domain, _ = PianorollDomain.open(PianorollConfig(bars=1), tmp_path / "store", tmp_path / "cache")
    assert domain.spec.shape == (4, 48, 84)
    assert domain.tracks == [StoreTrack("Beat", 0, True), StoreTrack("Low", 32)]
    # A trained model is built again from its config alone.
    assert PianorollDomain(domain.config).spec == domain.spec


def test_a_store_with_its_own_mapping_reads_files_by_it(tmp_path: Path) -> None:
    """What was trained on a store with a mapping of one's own must assign tracks of new files in the same way."""
    from musegen_pianoroll.reading.build import build_store

    songs = tmp_path / "songs"
    songs.mkdir()
    (songs / "a.mid").write_bytes(piece(4))
    build_store(songs, tmp_path / "store", tracks={"Low": {"programs": ["32-39"]}})
    domain, data = PianorollDomain.open(PianorollConfig(bars=1), tmp_path / "store", tmp_path / "cache")
    read = domain.read(songs / "a.mid")
    assert read.shape == (4, *domain.spec.shape)
    assert torch.equal(read[0], data.splits["train"].gather(torch.tensor([0]), torch.Generator()).x[0])


@pytest.mark.parametrize("order", [("Beat", "Low"), ("Low", "Beat")])
def test_data_of_a_model_have_its_tracks_in_its_order(order: tuple[str, str], tmp_path: Path) -> None:
    """A file is read by the model's tracks whatever the order of its mapping; a store in another order would swap them."""
    from musegen_pianoroll.reading.build import build_store

    songs = tmp_path / "songs"
    songs.mkdir()
    (songs / "a.mid").write_bytes(piece(4))
    mapping = {"Beat": {"drums": True}, "Low": {"programs": ["32-39"]}}
    build_store(songs, tmp_path / "store", tracks={name: mapping[name] for name in order})
    trained, data = PianorollDomain.open(PianorollConfig(bars=1), tmp_path / "store", tmp_path / "a")
    assert [track.name for track in trained.tracks] == list(order)

    sorted_config = replace(trained.config, tracks=mapping)  # as model files were once written
    again, read = PianorollDomain.open(sorted_config, songs, tmp_path / "b")
    assert again.tracks == trained.tracks
    first = torch.tensor([0])
    assert torch.equal(*(d.splits["train"].gather(first, torch.Generator()).x for d in (data, read)))

    build_store(songs, tmp_path / "other", tracks={name: mapping[name] for name in reversed(order)})
    swapped = f"has {order[1]}, {order[0]}, and the model has {order[0]}, {order[1]}: build it again"
    with pytest.raises(BadInput, match=swapped):
        reference_data(trained, None, tmp_path / "other")
    build_store(songs, tmp_path / "third", tracks={"High": {"drums": True}, "Low": {"programs": ["32-39"]}})
    with pytest.raises(BadInput, match="has other tracks"):
        reference_data(trained, None, tmp_path / "third")
    assert reference_data(trained, None, tmp_path / "store") is not None


def test_synthetic_data_look_like_data() -> None:
    domain = PianorollDomain(PianorollConfig(bars=1))
    data = domain.synthetic(20)
    x = first_batch(domain, data, 20)
    assert x.shape == (20, *domain.spec.shape)
    assert ((x == 0) | (x == 1)).all()
    assert 0 < float(x.mean()) < 0.2
    assert data.fingerprint == domain.synthetic(20).fingerprint != domain.synthetic(20, seed=1).fingerprint


def test_metrics_of_data_against_themselves(band_store: Path, tmp_path: Path) -> None:
    domain, data = PianorollDomain.open(PianorollConfig(bars=1), band_store, tmp_path)
    x = first_batch(domain, data)
    found = domain.metrics(x, x)
    for track in domain.tracks:
        assert f"notes per bar/{track.name}/mean" in found
    for key, value in found.items():
        wanted = {"overlap": 1.0, "kl": 0.0, "distance": 0.0}.get(key.rsplit("/")[-1])
        assert wanted is None or np.isnan(value) or value == pytest.approx(wanted, abs=1e-9), key
    assert found["notes per bar/Drums/mean"] == found["notes per bar/Drums/reference"] > 0
    assert replace(domain.config) == domain.config


def test_many_samples_are_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    domain = PianorollDomain(PianorollConfig(bars=1))
    x = (torch.rand(10, *domain.spec.shape) < 0.02).float()
    whole = domain.measures(x)
    monkeypatch.setattr("musegen_pianoroll.domain.MEASURED_AT_ONCE", 4)
    for name, found in domain.measures(x).items():
        torch.testing.assert_close(found.counts, whole[name].counts)


def test_musegans_own_measures_where_its_code_takes_the_bars() -> None:
    for steps_per_beat, expected in ((24, True), (12, False)):
        domain = PianorollDomain(PianorollConfig(bars=1, steps_per_beat=steps_per_beat))
        names = domain.measures(torch.zeros(2, *domain.spec.shape))
        assert any(name.startswith("MuseGAN") for name in names) == expected


def test_copies_are_found_in_training_windows(band_store: Path, tmp_path: Path) -> None:
    """A training window moved by two semitones is a copy of all its bars; augmentation does not hide it."""
    domain, data = PianorollDomain.open(PianorollConfig(bars=2, transpose=6), band_store, tmp_path)
    train = data.splits["train"]
    x = gather_windows(
        train.planes, train.starts[20:23], 32, domain.config.pitch_range, torch.full((3,), 2), train.fixed
    )
    assert domain.copies(x, train)["copied bars/2 or more"] == 1
    x[:, 5, 0, 40] = 1 - x[:, 5, 0, 40]  # a guitar onset more or less in the first bar
    found = domain.copies(x, train)
    assert found["copied bars/2 or more"] == 0
    assert found["copied bars/1 or more"] == found["copied bars/mean"] == 1


def test_planes_on_disk_are_read_by_the_file_reader_alike(tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(piece(2))
    planes, known = read_piece(tmp_path / "a.mid", Reading())
    direct, _ = read_file(tmp_path / "a.mid", "band", 4)
    np.testing.assert_array_equal(planes, direct.planes)
    assert known["segments"] == direct.grid.segments


# Labels and second data sets


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize("mode", [0, 1])
def test_keys_of_scales(tonic: int, mode: int) -> None:
    """A scale with weight on its triad, in every key; transposing rotates the profile and nothing else."""
    scale = [[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 11]][mode]
    counts = np.zeros(12)
    counts[[(tonic + s) % 12 for s in scale]] = 1
    counts[[(tonic + s) % 12 for s in (0, 7, 4 - mode)]] += 1.5
    assert key_of(counts) == (tonic, mode)


def test_silence_has_a_key_too() -> None:
    assert key_of(np.zeros(12)) == (0, 0)


def test_the_modes_of_the_chorales_agree_with_their_key_signatures(tmp_path: Path) -> None:
    """The bundled files carry the mode that the score has; the key profile finds it in most of them."""
    from symusic import Score

    from musegen_pianoroll.reading.build import build_store

    songs = tmp_path / "songs"
    songs.mkdir()
    for path in sorted(bundled("chorales").glob("*.mid"))[::8]:
        (songs / path.name).write_bytes(path.read_bytes())
    build_store(songs, tmp_path / "store", tracks="voices")
    store = Store.open(tmp_path / "store")
    label, classes = piece_labels(store, "mode")
    written = [Score(songs / piece.source).key_signatures[0].tonality for piece in store.pieces]
    assert classes == ["major", "minor"]
    assert np.mean(label == np.array(written)) > 0.85


def test_windows_carry_the_class_of_their_piece(tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    for i, name in enumerate(("calm", "wild")):
        (songs / name).mkdir(parents=True)
        for j in range(3):
            (songs / name / f"{j}.mid").write_bytes(piece(4, transpose=3 * i + j))
    domain, data = PianorollDomain.open(PianorollConfig(bars=1, labels="folder"), songs, tmp_path / "cache")
    assert domain.spec.classes == ("calm", "wild")
    labels = torch.cat([data.splits[s].label for s in ("train", "valid", "test")])
    assert labels.bincount().tolist() == [12, 12]
    batch = data.splits["train"].gather(torch.arange(8), torch.Generator())
    assert batch.label is not None
    lowest = batch.x.unflatten(1, (5, 2))[:, 3, 1].any(1).float().argmax(1)  # lowest bass pitch per window
    assert all((low >= 12 + 3) == bool(label) for low, label in zip(lowest.tolist(), batch.label.tolist(), strict=True))


def test_a_second_corpus(band_store: Path, tmp_path: Path) -> None:
    config = PianorollConfig(bars=1, labels="mode", target="chorales")
    domain, data = PianorollDomain.open(config, band_store, tmp_path / "cache")
    assert len(data.splits["target"]) > 1000
    x = data.splits["target"].gather(torch.arange(64), torch.Generator()).x
    assert x.shape[1:] == domain.spec.shape
    voices = x.unflatten(1, (5, 2)).flatten(2).any(2)
    assert not voices[:, :4].any()  # organ voices play the role of strings in a band
    assert voices[:, 4].all()
    again, _ = PianorollDomain.open(domain.config, band_store, tmp_path / "cache")
    assert again.spec == domain.spec
    with pytest.raises(BadInput, match="other tracks"):
        PianorollDomain.open(
            replace(config, target=str(band_store), tracks="voices"), bundled("chorales"), tmp_path / "c2"
        )


def test_what_is_given() -> None:
    domain = PianorollDomain(PianorollConfig(bars=3, given=["Bass", "past"]))
    mask = domain.spec.given_mask()
    assert mask[6:8].all()  # both planes of the fourth track
    assert mask[:, :32].all()  # the first two bars
    assert not mask[:6, 32:].any()
    assert not mask[8:, 32:].any()
    with pytest.raises(BadInput, match='Did you mean "Drums"'):
        PianorollDomain(PianorollConfig(given=["Drum"])).spec  # noqa: B018
    with pytest.raises(BadInput, match="use bars=2"):
        PianorollDomain(PianorollConfig(bars=1, given=["past"])).spec  # noqa: B018


def test_given_tracks_come_back_as_they_were(band_store: Path, tmp_path: Path) -> None:
    """From file to file: the bass of an accompaniment is the bass that was given, note for note."""
    import musegen

    options = {"bars": 1, "channels": 4, "given": ["Bass"], "condition": "given", "latent_dim": 4}
    run = musegen.train(
        "conditional_gan",
        "pianoroll",
        data=band_store,
        out=tmp_path / "run",
        steps=3,
        batch_size=8,
        quiet=True,
        **options,
    )
    model = musegen.load(run.path)
    (tmp_path / "a.mid").write_bytes(piece(2))
    x = model.read(tmp_path / "a.mid")[0]
    samples = model.sample(3, given=x)
    found, wanted = model.domain.rolls(samples), model.domain.rolls(x[None])  # type: ignore[attr-defined]
    assert wanted[:, 3].any()
    assert torch.equal(found[:, 3], wanted[:, 3].expand(3, -1, -1, -1))
    assert not torch.equal(samples[0], samples[1])


def test_music_that_was_continued_beyond_the_window_is_written_whole(tmp_path: Path) -> None:
    """One bar given, two more from a model of one-bar samples: the file has the three bars, the first of them unchanged."""
    domain = PianorollDomain(PianorollConfig(bars=1, lowest_pitch=60, highest_pitch=71))
    assert domain.spec.bar == 16
    past = domain.synthetic(1).splits["train"].gather(torch.tensor([0]), torch.Generator()).x[0]
    family = build(RNNNADE, RNNNADEConfig(units=4, hidden=4, features=0), domain)
    torch.nn.init.constant_(family.network.step_bias.bias, -2.0)
    model = Model(family, domain, {})
    for bad in (past[:, :, :5], past[:4]):
        with pytest.raises(BadInput, match="A past of shape"):
            model.continue_(bad, 16)
    whole = torch.cat([past[None], model.continue_(past, 32)], 2)
    (path,) = model.write(whole, tmp_path, ["long"])
    longer = PianorollDomain(replace(domain.config, bars=3))
    assert torch.equal(longer.rolls(longer.read(path)), longer.rolls(whole))
    assert torch.equal(longer.rolls(whole)[:, :, :, :15], domain.rolls(past[None])[:, :, :, :15])
    assert longer.rolls(whole)[:, :, 1, 32:].any()
