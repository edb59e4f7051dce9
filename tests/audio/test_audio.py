"""The audio domain: notes, folders, labels, conditions, second data, figures in units, and files out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from commands import Result
from torch import Tensor

import musegen
from musegen.contracts.domain import Autoregressive, Decoder, Discriminator, Encoder
from musegen.contracts.piece import save
from musegen.errors import BadInput
from musegen_audio import notes, spectral
from musegen_audio.clips import LIMITER_S, PEAK, limited
from musegen_audio.domain import AudioConfig, AudioDomain
from musegen_audio.metrics import (
    compare,
    features,
    frechet,
    log_spectral_distance,
    loudness_db,
    measures,
    pitch_midi,
)
from musegen_audio.targets import CUTOFF_HZ, SNR_DB, muffled, noisy

RATE = 16000
SMALL: dict[str, Any] = {"sample_rate_hz": 4000, "seconds": 0.12, "hop": 32, "n_fft": 128, "n_mels": 16}


def tone(hz: float, seconds: float = 1.0, level: float = 0.5, rate: int = RATE) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


# Notes


@pytest.fixture(scope="module")
def few_notes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return notes.render(RATE, 16128, programs=2, pitches=4)


def test_notes_are_what_they_are_called(few_notes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    clips, family, pitch = few_notes
    assert clips.shape == (10 * 2 * 4 * 2, 16128)
    assert np.bincount(family).tolist() == [16] * 10
    # All loud notes have one peak; soft ones lie 40 lg(110/60) = 10.5 dB below, and more where they are darker or sampled anew.
    peaks = np.abs(clips.astype(int)).max(1).reshape(-1, 2)
    assert peaks[:, 1].tolist() == [round(notes.PEAK * 32767)] * len(peaks)
    softer_db = 20 * np.log10(peaks[:, 0] / peaks[:, 1])
    assert np.median(softer_db) == pytest.approx(40 * np.log10(60 / 110), abs=1)
    assert softer_db.max() < -6
    # They play the pitch that their label says, by a tracker that knows nothing of it, but for octaves: some organs are one lower.
    # Overtones of bars are no multiples of a pitch.
    clear = (family != list(notes.FAMILIES).index("mallet")) & (np.arange(len(family)) % 3 == 0)
    heard = pitch_midi(torch.from_numpy(clips[clear].astype(np.float32) / 32767), RATE).numpy()
    off = (heard - pitch[clear] + 6) % 12 - 6
    assert np.abs(off).max() < 0.2
    assert notes.note_name(60) == "C4"
    assert notes.note_name(69) == "A4"


def test_notes_are_the_same_every_time(few_notes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    again = notes.render(RATE, 16128, programs=2, pitches=4)
    assert all(np.array_equal(a, b) for a, b in zip(few_notes, again, strict=True))


def test_notes_are_kept_and_damage_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(notes, "user_cache_dir", lambda name: tmp_path / name)
    whole, calls = notes.render, []
    monkeypatch.setattr(notes, "render", lambda rate, n: calls.append(rate) or whole(rate, n, programs=1, pitches=1))
    first = notes.cached(8000, 4000)
    assert "Rendering" in capsys.readouterr().err
    second = notes.cached(8000, 4000)
    assert len(calls) == 1
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    (kept,) = (tmp_path / "musegen").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert np.array_equal(notes.cached(8000, 4000)[0], first[0])
    assert len(calls) == 2


def test_no_note_of_a_held_out_split_is_in_training() -> None:
    parts = notes.splits(5000)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(5000))
    pairs = {name: set((index // 2).tolist()) for name, index in parts.items()}
    assert not pairs["train"] & (pairs["valid"] | pairs["test"])
    assert not pairs["valid"] & pairs["test"]
    assert len(parts["train"]) == 4000


@pytest.mark.parametrize(("labels", "expected"), [("auto", 10), ("instrument", 10), ("pitch", 35 + 4), ("none", 0)])
def test_labels_of_notes(labels: Any, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "cached", lambda rate, n: notes.render(rate, n, programs=1, pitches=3))
    domain, data = AudioDomain.open(AudioConfig(labels=labels), None, Path())
    assert domain.spec.shape == (1, 64, 64)
    classes = domain.spec.classes
    label = data.splits["train"].label
    if not expected:
        assert classes == ()
        assert label is None
        return
    assert label is not None
    assert int(label.max()) < len(classes)
    if labels == "pitch":
        assert classes[0] == "E1"  # the lowest string of a bass
        assert classes[-1] == "D4"  # two semitones above middle C: mallets and pipes
    else:
        assert classes == tuple(notes.FAMILIES)
    sizes = {name: len(part) for name, part in data.splits.items()}
    assert sizes == {"train": 48, "valid": 6, "test": 6}


# Folders


def test_folders_are_split_by_file_and_labelled_by_subfolder(sound_folder: Path) -> None:
    domain, data = AudioDomain.open(AudioConfig(**SMALL), sound_folder, Path())
    assert domain.spec.classes == ("high", "low")
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 64, "valid": 8, "test": 8}
    _, again = AudioDomain.open(AudioConfig(**SMALL), sound_folder, Path())
    assert data.fingerprint == again.fingerprint
    plain, unlabelled = AudioDomain.open(AudioConfig(labels="none", **SMALL), sound_folder, Path())
    assert plain.spec.classes == ()
    assert unlabelled.splits["train"].label is None
    with pytest.raises(BadInput, match="labels=pitch is for the notes that ship"):
        AudioDomain.open(AudioConfig(labels="pitch", **SMALL), sound_folder, Path())


def test_second_data(sound_folder: Path, tmp_path: Path) -> None:
    for target in ("muffled", "noisy", str(sound_folder)):
        _, data = AudioDomain.open(AudioConfig(target=target, **SMALL), sound_folder, Path())
        assert len(data.splits["target"]) == len(data.splits["train"])
        assert data.splits["target_valid"].label is not None
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for kind in "ab":
        soundfile.write(tmp_path / kind / "x.wav", tone(300, 0.2, rate=4000), 4000)
    with pytest.raises(BadInput, match="has the classes a, b"):
        AudioDomain.open(AudioConfig(target=str(tmp_path), **SMALL), sound_folder, Path())


def test_muffling_and_noise_are_as_strong_as_they_say() -> None:
    clips = (32767 * np.stack([tone(CUTOFF_HZ / 8), tone(CUTOFF_HZ), tone(4 * CUTOFF_HZ)])).astype(np.int16)
    power = lambda x: np.square(x[:, 2000:-2000].astype(float)).mean(1)  # noqa: E731
    lost_db = 10 * np.log10(power(muffled(clips, RATE)) / power(clips))
    np.testing.assert_allclose(lost_db, [-20 * math.log10(1 + r**2) for r in (1 / 8, 1, 4)], atol=0.05)
    noise = noisy(clips).astype(float) - clips
    np.testing.assert_allclose(10 * np.log10(power(clips) / power(noise)), SNR_DB, atol=0.2)


# Samples


@pytest.mark.parametrize("representation", ["mel", "if"])
@pytest.mark.parametrize("preset", ["mlp", "dcgan", "gansynth"])
@pytest.mark.parametrize("shape", [(16, 16), (32, 16), (16, 64)])
def test_networks_fit(preset: Any, representation: Any, shape: tuple[int, int]) -> None:
    frames, columns = shape
    n_fft = 2 * columns if representation == "if" else 256
    options: dict[str, Any] = {"sample_rate_hz": 8000, "hop": 16, "n_fft": n_fft, "seconds": (frames - 1) * 16 / 8000}
    domain = AudioDomain(
        AudioConfig(
            networks=preset,
            representation=representation,
            n_mels=min(columns, 32),
            widths=[8, 5],
            channels=2,
            **options,
        )
    )
    spec = domain.spec
    assert spec.shape == (2, frames, columns) if representation == "if" else (1, frames, min(columns, 32))
    x, z, label = 2 * torch.rand(3, *spec.shape) - 1, torch.randn(3, 6), torch.tensor([0, 2, 1])
    encoder = domain.network(Encoder())
    assert encoder(x).shape == (3, encoder.n_features)
    params = domain.network(Decoder(6))(z)
    assert params.shape == (3, *spec.params_shape)
    assert spec.likelihood.log_prob(params, x).shape == (3,)
    of_class = domain.network(Decoder(6, n_classes=3))
    assert of_class(z, label).shape == (3, *spec.params_shape)
    if preset == "gansynth":  # conditional batch normalisation of the others starts alike for all classes
        assert not torch.equal(of_class(z, label), of_class(z, label.flip(0)))
    assert domain.network(Decoder(6, given=True))(z, given=x).shape == (3, *spec.params_shape)
    for norm in ("batch", "spectral", "none"):
        discriminator = domain.network(Discriminator(norm))  # type: ignore[arg-type]
        hidden, logit = discriminator(x)
        assert (hidden.shape, logit.shape) == ((3, discriminator.n_features), (3,))
    assert domain.network(Autoregressive(channels=4, layers=1))(x).shape == (3, *spec.params_shape)


def test_minibatch_deviation_tells_a_collapsed_batch() -> None:
    from musegen_audio.networks import _deviation

    one = torch.randn(1, 4, 3, 3)
    assert float(_deviation(one.expand(8, -1, -1, -1)).abs().max()) < 1e-3
    many = torch.randn(4000, 4, 3, 3)
    assert _deviation(many).shape == (4000, 1, 3, 3)
    torch.testing.assert_close(_deviation(many), torch.ones(4000, 1, 3, 3), atol=0.02, rtol=0)


def test_files_in_and_out(tmp_path: Path) -> None:
    domain = AudioDomain(AudioConfig())
    soundfile.write(tmp_path / "a.flac", np.stack([tone(880, 2.5), tone(880, 2.5)], 1), RATE)
    x = domain.read(tmp_path / "a.flac")
    assert x.shape == (2, 1, 64, 64)  # of the third clip there is less than half
    paths = save(domain.pieces(x), tmp_path, ["b", "c"])
    assert [p.name for p in paths] == ["b.wav", "c.wav"]
    first = [p.read_bytes() for p in paths]
    assert [p.read_bytes() for p in save(domain.pieces(x), tmp_path, ["b", "c"])] == first
    info = soundfile.info(paths[0])
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (RATE, 1, "PCM_16", 63 * 256)
    again = domain.read(paths[0])
    assert float((domain.spectral.decibels(again) - domain.spectral.decibels(x[:1]))[:, :, 4:40].abs().mean()) < 2


def test_loud_samples_are_written_without_clipping(tmp_path: Path) -> None:
    domain = AudioDomain(AudioConfig())
    x = torch.cat([torch.ones(1, 1, 64, 64), torch.full((1, 1, 64, 64), float("nan")), -torch.ones(1, 1, 64, 64)])
    sounds = [soundfile.read(path)[0] for path in save(domain.pieces(x), tmp_path, ["loud", "nan", "silent"])]
    assert 0.9 < np.abs(sounds[0]).max() <= 0.991
    clipped = np.abs(sounds[0]) > 0.985
    assert np.mean(clipped) < 0.1
    assert np.mean(clipped[2:] & clipped[1:-1] & clipped[:-2]) < 0.001  # peaks are brought down, not cut off
    assert not sounds[1].any()
    assert not sounds[2].any()


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_peak_makes_only_its_surroundings_softer(rate: int) -> None:
    quiet = torch.from_numpy(tone(300, 0.5, 0.5, rate)).float()[None]
    assert torch.equal(limited(quiet, rate), quiet)
    loud = quiet.clone()
    middle, near = loud.shape[1] // 2, round(2 * LIMITER_S * rate)
    wide = rate // 300
    loud[0, middle - wide : middle + wide] *= 4  # two periods
    found = limited(loud, rate)
    assert float(found.abs().max()) == pytest.approx(PEAK, abs=1e-3)
    far = torch.ones(loud.shape[1], dtype=torch.bool)
    far[middle - wide - near : middle + wide + near] = False
    assert torch.equal(found[0, far], loud[0, far])
    assert limited(torch.zeros(1, 0), rate).shape == (1, 0)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.1, 5.03])
@pytest.mark.parametrize("representation", ["mel", "if"])
def test_a_file_is_one_sound_as_long_as_it_was(representation: Any, seconds: float, tmp_path: Path) -> None:
    domain = AudioDomain(AudioConfig(representation=representation))
    n = round(seconds * RATE)
    sound = tone(600, seconds, 0.3) + tone(1500, seconds, 0.1)
    soundfile.write(tmp_path / "a.wav", sound, RATE)
    (x,), writer = domain.read_whole(tmp_path / "a.wav")
    assert x.shape[1:] == domain.spec.shape
    (piece,) = writer.pieces(x)
    found, rate = piece.audio()
    assert (found.shape, rate) == ((1, n), RATE)
    level_db = lambda y, at: 10 * np.log10(np.square(y[at : at + 800]).mean())  # noqa: E731
    for at in range(1000, n - 2000, 800):  # also where two clips meet
        assert abs(level_db(found[0], at) - level_db(sound, at)) < (0.2 if representation == "if" else 2), at
    if representation == "if":
        error = found[0, 1000:-1000] - sound[1000:-1000]
        assert 10 * np.log10(np.square(error).mean() / np.square(sound).mean()) < -30
    assert piece.picture().width > 100


def test_parts_of_a_long_sound_are_not_heard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(500, 6), RATE)
    for representation, bound_db in (("if", 0.1), ("mel", 1.5)):
        domain = AudioDomain(AudioConfig(representation=representation))  # type: ignore[arg-type]
        (x,), writer = domain.read_whole(tmp_path / "a.wav")
        monkeypatch.setattr(spectral, "PART_FRAMES", 5000)
        whole = writer.pieces(x)[0].audio()[0][0]
        monkeypatch.setattr(spectral, "PART_FRAMES", 100)
        found = writer.pieces(x)[0].audio()[0][0]
        assert len(found) == len(whole) == 6 * RATE
        levels = 10 * np.log10(np.square(found[1600:-1600].reshape(-1, 800)).mean(1))
        np.testing.assert_allclose(levels, 10 * np.log10(0.125), atol=bound_db)


def test_files_of_two_lengths_are_as_long_as_the_longer_one(tmp_path: Path) -> None:
    domain = AudioDomain(AudioConfig())
    soundfile.write(tmp_path / "short.wav", tone(500, 0.5), RATE)
    soundfile.write(tmp_path / "long.wav", tone(500, 4), RATE)
    (short, long), writer = domain.read_whole(tmp_path / "short.wav", tmp_path / "long.wav")
    assert len(short) == len(long) > 3
    assert (short[2:] == -1).all()
    assert writer.pieces(short)[0].audio()[0].shape == (1, 4 * RATE)


def test_pictures_have_axes(tmp_path: Path) -> None:
    domain = AudioDomain(AudioConfig())
    x = domain.spectral.analyse(torch.from_numpy(tone(1000, 63 * 256 / RATE)).float()[None].expand(3, -1))
    picture = domain.sheet(domain.pieces(x), columns=3)
    assert picture.width > 2 * picture.height > 200
    colours = np.asarray(picture)
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) > 100


# Figures


def test_pitch_in_midi_numbers() -> None:
    pitches = torch.tensor([45.0, 57.5, 69.0, 76.25, 88.0])
    waves = torch.from_numpy(np.stack([tone(440 * 2 ** ((float(p) - 69) / 12)) for p in pitches])).float()
    torch.testing.assert_close(pitch_midi(waves, RATE), pitches.double(), atol=0.1, rtol=0)  # 10 cents
    rich = sum(tone(220 * k, level=0.3 / k) for k in range(1, 9))
    assert float(pitch_midi(torch.from_numpy(np.asarray(rich)).float()[None], RATE)) == pytest.approx(57, abs=0.05)
    assert pitch_midi(torch.stack([torch.zeros(RATE), 0.3 * torch.randn(RATE)]), RATE).isnan().all()


def test_loudness_of_a_sine() -> None:
    waves = torch.from_numpy(np.stack([tone(440, level=1.0), tone(440, level=0.1), tone(440, level=0.0)]))
    torch.testing.assert_close(
        loudness_db(waves), torch.tensor([-3.0103, -23.0103, -100.0]).double(), atol=1e-3, rtol=0
    )


def test_log_spectral_distance_of_a_scaled_spectrogram() -> None:
    a = -60 * torch.rand(4, 10, 16)
    torch.testing.assert_close(log_spectral_distance(a, a - 7), torch.full((4,), 7.0))
    half = a.clone()
    half[..., :8] += 10
    torch.testing.assert_close(log_spectral_distance(a, half), torch.full((4,), 10 / math.sqrt(2)))


def test_frechet_distance_of_normal_sets() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(40_000, 3, generator=generator, dtype=torch.float64)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, a + 2) == pytest.approx(12, abs=1e-6)  # 3 · 2²
    assert frechet(a, 3 * a) == pytest.approx(12, abs=0.2)  # 3 · (3 − 1)²
    assert math.isnan(frechet(a[:1], a))
    assert features(torch.full((2, 5, 64), -30.0)).tolist() == [[-30.0] * 16 + [0.0] * 16] * 2


def test_figures_of_a_set_against_itself_and_against_noise() -> None:
    domain = AudioDomain(AudioConfig())
    clips, _, _ = notes.render(RATE, domain.spectral.n_samples, programs=1, pitches=1)
    real = domain.spectral.analyse(torch.from_numpy(clips.astype(np.float32) / 32767))
    same = domain.metrics(real, real)
    assert same["frechet_distance_db2"] == pytest.approx(0, abs=1e-3)
    assert same["mean_spectrogram_distance_db"] == 0
    assert all(same[f"{name}/overlap"] == pytest.approx(1) for name in ("chroma", "onsets", "pitch (MIDI number)"))
    noise = compare(2 * torch.rand_like(real) - 1, real, domain.spectral)
    assert noise["frechet_distance_db2"] > 1000
    assert noise["centroid (Hz)/mean"] > real_centroid(domain, real)
    assert noise["onsets/reference"] == pytest.approx(1, abs=0.5)


def real_centroid(domain: AudioDomain, x: Tensor) -> float:
    found = measures(x, domain.spectral)["centroid (Hz)"]
    return float(found.values.mean())  # type: ignore[union-attr]


def test_chroma_of_a_tone_is_its_pitch_class() -> None:
    domain = AudioDomain(AudioConfig(representation="if"))
    x = domain.spectral.analyse(torch.from_numpy(tone(440, 63 * 256 / RATE)).float()[None])
    table = measures(x, domain.spectral)["chroma"].counts
    assert int(table.argmax()) == 9  # A
    assert float(table.max() / table.sum()) > 0.5


# Options and commands


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": [0]}, "widths"),
        ({"n_fft": 1023}, "even n_fft"),
        ({"hop": 600}, "at most half"),
        ({"seconds": 0.01, "n_fft": 4096}, "too short for n_fft=4096"),
    ],
)
def test_options_that_will_not_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        AudioConfig(**options)


@pytest.mark.parametrize(("seconds", "frames"), [(1.0, 64), (2.0, 128), (1.05, 64), (0.5, 32)])
def test_frames_come_in_eights(seconds: float, frames: int) -> None:
    assert AudioConfig(seconds=seconds).frames == frames


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_mels": 50}, "n_mels=50 does not fit networks=dcgan.* use n_mels=48, or networks=mlp"),
        ({"n_mels": 90, "networks": "gansynth"}, "n_mels=90 does not fit networks=gansynth.* use n_mels=96"),
        ({"n_fft": 1000, "representation": "if"}, "n_fft=1000 does not fit .* use n_fft=1024"),
    ],
)
@pytest.mark.parametrize("wanted", [Encoder(), Decoder(4), Discriminator()])
def test_sizes_that_do_not_halve_are_refused(options: dict[str, Any], message: str, wanted: Any) -> None:
    with pytest.raises(BadInput, match=message):
        AudioDomain(AudioConfig(**options)).network(wanted)
    AudioDomain(AudioConfig(**options | {"networks": "mlp", "widths": [4]})).network(wanted)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("representation", ["mel", "if"])
def test_every_rate_suits_every_preset_of_networks(rate: int, representation: Any) -> None:
    for preset in ("mlp", "dcgan", "gansynth"):
        config = AudioConfig(
            sample_rate_hz=rate,
            representation=representation,
            networks=preset,  # type: ignore[arg-type]
            channels=1,
            widths=[2],
        )
        domain = AudioDomain(config)
        shape = domain.spec.shape
        assert domain.seconds == pytest.approx(1, abs=0.125)
        assert domain.spectral.analyse(torch.zeros(1, domain.spectral.n_samples)).shape == (1, *shape)
        assert domain.network(Decoder(2))(torch.zeros(2, 2)).shape == (2, *domain.spec.params_shape)
        assert len(domain.network(Encoder())(torch.zeros(2, *shape))) == 2
        domain.network(Discriminator())(torch.zeros(2, *shape))


@pytest.mark.parametrize("rate", [22050, 44100])
@pytest.mark.parametrize("own_rate", [False, True])
def test_folders_of_any_rate_train_with_the_defaults(
    rate: int, own_rate: bool, tmp_path: Path, run: Callable[..., Result]
) -> None:
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", tone(300 + 100 * i, 1.5, rate=rate), rate)
    options = ["--set", f"sample_rate_hz={rate}"] if own_rate else []
    result = run("train", "ae", "audio", tmp_path, "--out", "r", "--steps", 1, "--batch-size", 2, *options)
    assert result.code == 0, result.err


def test_long_files_are_reconstructed_and_interpolated_whole(
    sound_folder: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    small = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    trained = run("train", "vae", "audio", sound_folder, "--out", "r", "--steps", 1, "--set", "channels=4", *small)
    assert trained.code == 0, trained.err
    soundfile.write(tmp_path / "long.wav", tone(300, 1.7, rate=4000), 4000)
    soundfile.write(tmp_path / "short.wav", tone(300, 0.2, rate=4000), 4000)
    assert run("reconstruct", "r", "long.wav", "short.wav", "--out", "again").code == 0
    frames = {path.name: soundfile.info(path).frames for path in Path("again").glob("*.wav")}
    assert frames == {"long.wav": 6800, "short.wav": 800}
    assert run("interpolate", "r", "short.wav", "long.wav", "--steps", 3, "--out", "walk").code == 0
    frames = {path.name: soundfile.info(path).frames for path in Path("walk").glob("*.wav")}
    assert frames == {f"step_0{i}.wav": 6800 for i in range(3)}
    assert Path("walk/picture.png").exists()


def test_rnn_nade_refuses_what_is_not_binary(sound_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="on or off"):
        musegen.train("rnn_nade", "audio", data=sound_folder, out=tmp_path / "run", quiet=True, **SMALL)
    assert not (tmp_path / "run").exists()


def test_from_a_folder_to_new_sound(sound_folder: Path, run: Callable[..., Result]) -> None:
    small = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    (sound_folder / "low" / "broken.wav").write_bytes(b"RIFF")
    try:
        trained = run(
            "train", "conditional_gan", "audio", sound_folder, "--out", "r", "--steps", 3, "--set", "channels=4", *small
        )
    finally:
        (sound_folder / "low" / "broken.wav").unlink()
    assert trained.code == 0, trained.err
    assert "broken.wav" in Path("r/skipped.csv").read_text()
    made = run("generate", "r", "-n", 2, "--label", "high", "--out", "new", "--audio", "flac")
    assert made.code == 0, made.err
    assert sorted(p.name for p in Path("new").iterdir()) == [
        "album.json",
        "index.html",
        "picture.png",
        "sample_000.flac",
        "sample_000.wav",
        "sample_001.flac",
        "sample_001.wav",
    ]
    plain = run("generate", "r", "-n", 1, "--out", "plain")
    assert plain.out.count("sample_000.wav") == 1
    assert run("evaluate", "r", "-n", 4).code == 0
    assert run("generate", "r", "--label", "middle", "--out", "x").code == 2
