"""What a sample of sound is, and which networks suit it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from musegen.errors import BadInput
from musegen.networks import dcgan
from musegen.options import option

__all__ = ["AudioConfig", "AudioWriting"]

FRAMES_STEP = 8
"""Frames come in eights, so that convolutional networks can halve them."""


@dataclass(frozen=True)
class AudioConfig:
    networks: Literal["mlp", "dcgan", "gansynth"] = option("dcgan", "preset of networks")
    widths: list[int] = option([400, 400], "widths of the mlp's hidden layers, from the spectrogram to the code")
    channels: int = option(32, "channels of the convolutional networks' outermost layer", ge=1)
    representation: Literal["mel", "if"] = option(
        "mel", "mel: levels of mel bands; if: level and instantaneous frequency of every bin (GANSynth)"
    )
    sample_rate_hz: int = option(16000, "sample rate", ge=4000, le=96000, unit="Hz")
    seconds: float = option(
        1.0,
        "length of a clip, rounded so that the networks can halve its frames (networks=mlp: to 8 frames, others: by up to an "
        "eighth); long files are cut into clips",
        gt=0,
        unit="s",
    )
    n_fft: int = option(1024, "length of a window", ge=16, le=16384, unit="samples")
    hop: int = option(256, "from one frame to the next", ge=4, unit="samples")
    n_mels: int = option(64, "mel bands, where representation=mel", ge=4, le=512)
    floor_db: float = option(-80.0, "what is quieter is silence; 0 is a sine of full scale", le=-20, ge=-140, unit="dB")
    labels: Literal["auto", "instrument", "pitch", "none"] = option(
        "auto", "classes: subfolders of DATA, or of the notes that ship their instrument (auto) or pitch"
    )
    given: Literal["none", "beginning"] = option(
        "none", "what a conditional family is given: nothing, or the first half"
    )
    target: str = option(
        "none",
        "second data set, for domain adaptation: none, muffled or noisy (made from these data), or a folder of sounds",
    )
    classes: list[str] = option([], "names of the classes; found in the data if not given")

    def __post_init__(self) -> None:
        if not self.widths or any(width < 1 for width in self.widths):
            raise BadInput(f"widths={self.widths} is invalid: use positive numbers, such as [400, 400].")
        if self.n_fft % 2 or self.hop > self.n_fft // 2:
            raise BadInput(
                f"n_fft={self.n_fft} and hop={self.hop} are invalid: use an even n_fft, and a hop of at most half of it."
            )
        if (self.frames - 1) * self.hop <= self.n_fft // 2:
            raise BadInput(
                f"seconds={self.seconds:g} is too short for n_fft={self.n_fft}: make it longer, or n_fft shorter."
            )

    @property
    def frames(self) -> int:
        """T, a multiple of 8; for convolutional networks the nearest that they can halve."""
        wanted = self.seconds * self.sample_rate_hz / self.hop + 1
        frames = max(FRAMES_STEP, FRAMES_STEP * round(wanted / FRAMES_STEP))
        if self.networks == "mlp" or dcgan.fits(frames):
            return frames
        return dcgan.nearest_side(wanted, FRAMES_STEP)


@dataclass(frozen=True)
class AudioWriting:
    phases: Literal["tracked", "random"] = option(
        "tracked",
        "how mel bands become sound: tracked: tones keep their pitch and their level; random: as models of musegen 0.1 did",
    )
