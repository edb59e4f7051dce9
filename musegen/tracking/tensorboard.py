"""TensorBoard, with torch's own writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musegen.contracts.tracker import Tracker
from musegen.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

    from musegen.contracts.piece import Sound

__all__ = ["TensorBoard"]


class TensorBoard(Tracker):
    """Scalars, pictures and playable sound, in the folder ``tensorboard`` of the run."""

    name = "tensorboard"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, config)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise BadInput(
                "TensorBoard is not installed: pip install 'musegen[tensorboard]', or leave tensorboard off."
            ) from None
        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def scalars(self, kind: str, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(f"{kind}/{name}", value, step)

    def media(self, picture: Image, sounds: Sequence[Sound | None], step: int) -> None:
        import numpy as np

        self.writer.add_image("samples", np.asarray(picture.convert("RGB")), step, dataformats="HWC")
        for i, sound in enumerate(sounds):
            if sound is not None:
                mono = np.asarray(sound[0]).mean(0, keepdims=True)
                self.writer.add_audio(f"sample_{i}", mono, step, sample_rate=sound[1])

    def close(self, done: bool) -> None:
        self.writer.close()
