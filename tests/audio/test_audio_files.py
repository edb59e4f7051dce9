"""Sound files of every kind in, the same clips out, bad files refused."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musegen.errors import BadInput
from musegen_audio import files
from musegen_audio.backend import torchaudio
from musegen_audio.domain import AudioConfig, AudioDomain
from musegen_audio.files import Resampler, Sound, clips_of, read_files, resample

RATE, N = 8000, 2000


def read_clips(path: Path, rate_hz: int, n: int, floor: float | None = None) -> np.ndarray:
    return files.read_clips(path, rate_hz, n, floor).x


def tone(hz: float, seconds: float, rate: int, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def wave_bytes(sound: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", kind: str = "WAV") -> bytes:
    content = io.BytesIO()
    soundfile.write(content, sound, rate, subtype=subtype, format=kind)
    return content.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 2 / 128),
        ("wav", "PCM_16", 2 / 32768),
        ("wav", "PCM_24", 2 / 32768),
        ("wav", "PCM_32", 2 / 32768),
        ("wav", "FLOAT", 2 / 32768),
        ("wav", "DOUBLE", 2 / 32768),
        ("flac", "PCM_S8", 2 / 128),
        ("flac", "PCM_16", 2 / 32768),
        ("flac", "PCM_24", 2 / 32768),
        ("ogg", "VORBIS", 0.06),
        ("mp3", "MPEG_LAYER_III", 0.06),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_depth_and_any_number_of_channels(
    kind: str, subtype: str, tolerance: float, channels: int, tmp_path: Path
) -> None:
    if kind == "mp3" and channels > 2:
        pytest.skip("MP3 has one or two channels")
    mono = tone(440, 3 * N / RATE, RATE)
    gains = np.linspace(0.5, 1.5, channels) if channels > 1 else np.ones(1)  # of mean 1: the mix is the tone
    path = tmp_path / f"a.{kind}"
    path.write_bytes(wave_bytes(mono[:, None] * gains, RATE, subtype, kind.upper()))
    clips = read_clips(path, RATE, N)
    assert clips.dtype == np.int16
    middle = clips[1] / 32767
    if kind == "mp3":  # decoders differ in how much of the encoder's delay they take away
        delays = [np.abs(middle[200:-200] - mono[N + 200 + d : 2 * N - 200 + d]).max() for d in range(-18, 19)]
        assert min(delays) < tolerance
    else:
        assert len(clips) == 3
        assert np.abs(middle - mono[N : 2 * N]).max() < tolerance


@pytest.mark.parametrize("rate", [4000, 7999, 8000, 11025, 22050, 44100, 44101, 48000, 96000])
def test_resampling_block_by_block_is_resampling_at_once(rate: int) -> None:
    x = torch.from_numpy(tone(300, 0.7, rate).astype(np.float32)) + 0.1 * torch.randn(round(0.7 * rate))
    resampler, parts, rest = Resampler(rate, RATE), [], x
    for size in (1, 13, 700, 5, 3000, 10**6):
        block, rest = rest[:size], rest[size:]
        parts.append(resampler.push(block))
    parts.append(resampler.push(rest, last=True))
    whole = torch.from_numpy(resample(x.numpy()[None], rate, RATE))[0]
    assert len(whole) == pytest.approx(0.7 * RATE, abs=2)
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rate", [11025, 16000, 44100, 44101, 48000])
def test_a_tone_keeps_its_pitch_and_level_through_resampling(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wave_bytes(tone(500, 1, rate), rate, "FLOAT"))
    (clip,) = read_clips(path, RATE, RATE)
    middle = slice(500, -500)
    assert np.abs(clip[middle] / 32767 - tone(500, 1, RATE)[middle]).max() < 2e-3


def test_rates_that_have_no_small_ratio_stay_small() -> None:
    for rate in (1001, 44101, 767_999, 11_027):
        for target in (4000, 16000, 96000):
            o, n = files._ratio(rate, target)
            assert o * n <= 4.1e6
            assert abs(o / n * target / rate - 1) < 1e-5


def test_windows_of_long_files(tmp_path: Path) -> None:
    ramp = np.arange(int(3.6 * N)) / (4 * N)
    path = tmp_path / "a.wav"
    for length, expected in ((N // 10, 1), (N, 1), (int(1.4 * N), 1), (int(1.6 * N), 2), (int(3.6 * N), 4)):
        path.write_bytes(wave_bytes(ramp[:length]))
        clips = read_clips(path, RATE, N)
        assert clips.shape == (expected, N)
        kept = min(length, expected * N)
        np.testing.assert_allclose(clips.ravel()[:kept] / 32767, ramp[:kept], atol=1e-4)
        assert not clips.ravel()[length:].any()


def test_silence_is_left_out_of_training_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wave_bytes(np.concatenate([np.zeros(2 * N), tone(440, N / RATE, RATE), np.zeros(N)])))
    assert len(read_clips(path, RATE, N)) == 4
    assert len(read_clips(path, RATE, N, floor=1e-4)) == 1
    path.write_bytes(wave_bytes(np.zeros(2 * N)))
    assert not read_clips(path, RATE, N).any()
    with pytest.raises(BadInput, match="silent"):
        read_clips(path, RATE, N, floor=1e-4)


@pytest.mark.parametrize("peak", [1.5, 3.0, 4000.0])
def test_sound_beyond_full_scale_is_made_softer_as_a_whole(peak: float, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soft, loud = tone(100, N / RATE, RATE, 0.1), tone(100, N / RATE, RATE, 1.0)
    path.write_bytes(wave_bytes(peak * np.concatenate([soft, loud]), RATE, "FLOAT"))
    found = files.read_clips(path, RATE, N)
    assert found.gain == pytest.approx(1 / peak, rel=1e-3)
    np.testing.assert_allclose(found.x / 32767, np.stack([soft, loud]), atol=1e-3)
    path.write_bytes(wave_bytes(loud, RATE, "FLOAT"))
    assert files.read_clips(path, RATE, N).gain == 1


@pytest.mark.parametrize(
    ("suffix", "kind", "subtype"),
    [
        ("aif", "AIFF", "PCM_16"),
        ("AIFF", "AIFF", "PCM_24"),
        ("au", "AU", "PCM_16"),
        ("caf", "CAF", "PCM_16"),
        ("w64", "W64", "FLOAT"),
        ("opus", "OGG", "OPUS"),
        ("oga", "OGG", "VORBIS"),
    ],
)
def test_other_kinds_of_files(suffix: str, kind: str, subtype: str, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.{suffix}").write_bytes(wave_bytes(tone(300, 1, RATE), RATE, subtype, kind))
    config = AudioConfig(sample_rate_hz=RATE, seconds=0.5, n_mels=32, n_fft=512)
    domain, data = AudioDomain.open(config, tmp_path, tmp_path)
    assert sum(len(part) for part in data.splits.values()) == 6
    loudest = domain.spectral.decibels(data.splits["train"].x)[0, 8].argmax()  # type: ignore[attr-defined]
    assert abs(float(domain.spectral.centres_hz[loudest]) - 300) < 60


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("high/a.wav", "high/b.flac", "low/deep/c.OGG", "low/d.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = path.suffix[1:].upper()
        subtype = "VORBIS" if kind == "OGG" else "PCM_16"
        path.write_bytes(wave_bytes(tone(300, 0.5, RATE), RATE, subtype, kind))
    (tmp_path / "low/broken.wav").write_bytes(b"this is no sound")
    (tmp_path / "low/empty.wav").write_bytes(b"")
    (tmp_path / "low/none.wav").write_bytes(wave_bytes(np.zeros(0)))
    (tmp_path / "low/silent.wav").write_bytes(wave_bytes(np.zeros(N)))
    (tmp_path / "low/nan.wav").write_bytes(wave_bytes(np.full(N, np.nan), RATE, "FLOAT"))
    (tmp_path / "high/loud.wav").write_bytes(wave_bytes(tone(300, 0.5, RATE, 2.0), RATE, "FLOAT"))
    (tmp_path / "stray.wav").write_bytes(wave_bytes(tone(300, 0.5, RATE)))
    (tmp_path / "notes.txt").write_text("ignored")
    config = AudioConfig(sample_rate_hz=RATE, seconds=0.25, n_mels=32, n_fft=512)
    domain, data = AudioDomain.open(config, tmp_path, tmp_path)
    assert domain.spec.classes == ("high", "low")
    assert {Path(path).stem: reason for path, reason in data.skipped} == {
        "broken": "damaged",
        "empty": "damaged",
        "none": "empty",
        "silent": "silent",
        "nan": "with values that are no numbers",
        "stray": "outside the class folders",
        "notes": ".txt",
    }
    assert "1 recording beyond full scale: made softer as a whole" in data.remarks
    monkeypatch.setattr(files, "CLIPS_CAP_BYTES", 5 * N)
    with pytest.raises(BadInput, match="hours of sound"):
        list(read_files(sorted(tmp_path.rglob("*.wav")), RATE, N, 1e-4))


def recordings(folder: Path, seconds: dict[str, float]) -> Path:
    """Tones of 300 Hz."""
    for name, length in seconds.items():
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wave_bytes(tone(300, length, RATE)))
    return folder


@pytest.mark.parametrize(
    ("seconds", "wanted", "said"),
    [
        ([120, 2, 2], (120, 2, 2), []),
        ([9], (9, 0, 0), ["1 recording: it is for training"]),
        ([2, 2], (4, 0, 0), ["2 recordings: all are for training, nothing is held out"]),
        ([10] * 10, (80, 10, 10), []),
    ],
)
def test_splits_go_by_recording_and_by_what_they_hold(
    seconds: list[float], wanted: tuple[int, ...], said: list[str], tmp_path: Path
) -> None:
    recordings(tmp_path, {f"{i}": s for i, s in enumerate(seconds)})
    config = AudioConfig(sample_rate_hz=RATE, seconds=0.992, n_mels=32, n_fft=512, hop=256)
    _, data = AudioDomain.open(config, tmp_path, tmp_path)
    sizes = [len(data.splits[split]) for split in ("train", "valid", "test")]
    assert sizes == pytest.approx(wanted, rel=0.02)
    assert list(data.remarks) == said


def test_clips_have_the_class_of_their_recording(tmp_path: Path) -> None:
    for kind, hz in (("a", 300), ("b", 1500)):
        for i in range(4):
            path = tmp_path / kind / f"{i}.wav"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(wave_bytes(tone(hz, 1 + i, RATE)))
    config = AudioConfig(sample_rate_hz=RATE, seconds=0.25, n_mels=32, n_fft=512)
    domain, data = AudioDomain.open(config, tmp_path, tmp_path)
    seen = 0
    for part in data.splits.values():
        assert part.label is not None
        loudest = domain.spectral.centres_hz[domain.spectral.decibels(part.x)[:, 4].argmax(1)]  # type: ignore[attr-defined]
        assert torch.equal(loudest > 900, part.label == 1)
        seen += len(part)
    assert seen == 2 * sum(round((1 + i) * RATE / domain.spectral.n_samples) for i in range(4))


def test_folders_that_will_not_do(tmp_path: Path) -> None:
    def opened(source: Path) -> None:
        AudioDomain.open(AudioConfig(), source, source)

    with pytest.raises(BadInput, match="does not exist"):
        opened(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="holds no recordings"):
        opened(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(BadInput, match="is a file"):
        opened(tmp_path / "a.wav")
    with pytest.raises(BadInput, match="None of the 1 recordings"):
        opened(tmp_path)


def header(rate: int = RATE, channels: int = 1, bits: int = 16, data: int = 400, kind: int = 1) -> bytes:
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", kind, channels, rate, (rate * block) % 2**32, block % 2**16, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + fmt
        + b"data"
        + struct.pack("<I", data)
    )


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 2**31 - 1])
def test_rates_that_cannot_be(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(header(rate) + bytes(400))
    with pytest.raises(BadInput, match=str(path)):
        read_clips(path, RATE, N)


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sound = wave_bytes(tone(440, 0.25, RATE))[44:]
    path.write_bytes(header(data=0xFFFFFFF0) + sound)
    tracemalloc.start()
    clips = read_clips(path, RATE, N)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert clips.shape == (1, N)
    assert peak < 64 << 20


def test_cut_files_give_what_is_there_or_are_refused(tmp_path: Path) -> None:
    for kind, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
        whole = wave_bytes(tone(440, 1, RATE), RATE, subtype, kind)
        path = tmp_path / f"a.{kind.lower()}"
        for part in (0.01, 0.2, 0.5, 0.9, 0.99):
            path.write_bytes(whole[: int(part * len(whole))])
            try:
                clips = read_clips(path, RATE, N)
            except BadInput as error:
                assert str(path) in str(error)
            else:
                assert 1 <= len(clips) <= 5


def test_days_of_silence_in_a_small_file_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_S", 20)
    monkeypatch.setattr(files, "BLOCK", 1 << 14)
    path = tmp_path / "a.flac"
    path.write_bytes(wave_bytes(np.zeros(60 * RATE), RATE, "PCM_16", "FLAC"))
    assert path.stat().st_size < 20_000
    with pytest.raises(BadInput, match="longer than"):
        read_clips(path, RATE, N)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(wave_bytes(np.zeros(1200 * RATE), RATE, "PCM_16", "FLAC"))
    tracemalloc.start()
    assert sum(1 for _ in clips_of(Sound(path, RATE), N)) == 1200 * RATE // N
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1200 * RATE  # bytes; as int16 the whole is twice that, and as float32 four times


BASES = {
    "wav": wave_bytes(tone(440, 0.1, RATE)),
    "flac": wave_bytes(tone(440, 0.1, RATE), RATE, "PCM_16", "FLAC"),
    "ogg": wave_bytes(tone(440, 0.1, RATE), RATE, "VORBIS", "OGG"),
    "mp3": wave_bytes(tone(440, 0.1, RATE), RATE, "MPEG_LAYER_III", "MP3"),
}


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from(sorted(BASES)),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    in_header=st.booleans(),
    cut=st.integers(0, 60),
)
def test_mutated_files_raise_bad_input_alone(
    kind: str, changes: list[tuple[int, int]], in_header: bool, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(BASES[kind])
    for place, value in changes:
        content[place % (60 if in_header else len(content))] = value
    path = tmp_path_factory.mktemp("mutated") / f"a.{kind}"
    path.write_bytes(content[: len(content) - cut])
    try:
        clips = read_clips(path, RATE, N)
    except BadInput as error:
        assert str(path) in str(error)
    else:
        assert clips.shape[1] == N


@settings(deadline=None, max_examples=60)
@given(
    rate=st.integers(0, 2**32 - 1),
    channels=st.integers(0, 2**16 - 1),
    bits=st.integers(0, 2**16 - 1),
    data=st.integers(0, 2**32 - 1),
    kind=st.sampled_from([0, 1, 2, 3, 6, 7, 17, 85, 65534]),
    body=st.binary(max_size=300),
)
def test_lying_wave_headers(
    rate: int, channels: int, bits: int, data: int, kind: int, body: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lying") / "a.wav"
    path.write_bytes(header(rate, channels, bits, data, kind) + body)
    try:
        read_clips(path, RATE, N)
    except BadInput as error:
        assert str(path) in str(error)


def test_torchaudio_works_here_and_its_absence_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torchaudio().functional.melscale_fbanks(5, 0.0, 4.0, 2, 8).shape == (5, 2)

    import importlib

    real = importlib.import_module

    def missing(name: str, *more: Any) -> Any:
        if name == "torchaudio":
            raise ModuleNotFoundError("No module named 'torchaudio'", name="torchaudio")
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(BadInput, match="pip install torchaudio"):
        torchaudio.__wrapped__()
