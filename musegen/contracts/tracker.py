"""The Tracker contract: where else the figures and samples of a run go, such as a server that a group shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from PIL.Image import Image

    from musegen.contracts.piece import Sound

__all__ = ["Tracker"]


class Tracker(ABC):
    """Made when a run begins or goes on, in the first of its processes alone.

    A plugin offers a subclass by the hook ``musegen_trackers``, and ``trackers=NAME`` asks for it. What a tracker raises while the
    training goes on costs the run nothing: a line says so, and it is left out from then on.

    Args:
        folder: of the run; what a tracker has to remember for a run that goes on, it keeps there.
        config: every option of the run, as in its ``config.yaml``.

    Attributes:
        name: identifier, as in the offer.

    Raises:
        BadInput: it cannot be used, with what to do.

    >>> from musegen.contracts.tracker import Tracker
    >>> class Printed(Tracker):
    ...     name = "printed"
    ...     def scalars(self, kind, metrics, step):
    ...         print(step, kind, *metrics)
    """

    name: ClassVar[str]

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder, self.config = folder, config

    @abstractmethod
    def scalars(self, kind: str, metrics: Mapping[str, float], step: int) -> None:
        """Figures by name, ``autoencoder/loss``, after so many steps; ``kind`` is ``train`` or ``valid``."""

    def media(self, picture: Image, sounds: Sequence[Sound | None], step: int) -> None:  # noqa: B027
        """The picture of samples, and their sounds, if they have any; by default nothing is done with them."""

    def close(self, done: bool) -> None:  # noqa: B027
        """The training ends; ``done``: with its last step, and not by a signal or an error."""
