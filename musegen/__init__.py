"""musegen: every deep generative model family on every kind of data.

Load a model that ships, or a run folder, and write what it samples:

>>> import musegen
>>> model = musegen.load("chorale")
>>> x = model.sample(1, seed=0, n_steps=16, temperature=0.9)  # two bars, in steps of eighths
>>> [path.name for path in model.write(x, "out")]
['sample_000.mid']

Train a family on a domain; every option has the same name here and on the command line:

>>> run = musegen.train("vae", "image", out="runs/digits", steps=2, latent_dim=8, validate_examples=8, quiet=True)
>>> musegen.load(run.path).sample(4).shape
torch.Size([4, 1, 28, 28])
"""

from __future__ import annotations

import sys

from musegen import children

children.leave_current_folder()  # before anything else is looked for there

from importlib import import_module  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

from musegen.errors import BadInput, MusegenError, TrainingDiverged  # noqa: E402
from musegen.reporting import doing  # noqa: E402

if TYPE_CHECKING:
    from musegen.evaluation.evaluate import evaluate
    from musegen.exporting.export import export
    from musegen.models.loading import load
    from musegen.models.model import Model
    from musegen.plugins import use_plugin
    from musegen.running.comparing import compare
    from musegen.running.training import resume, train

__all__ = [
    "BadInput",
    "Model",
    "MusegenError",
    "TrainingDiverged",
    "compare",
    "domains",
    "evaluate",
    "export",
    "families",
    "load",
    "resume",
    "train",
    "use_plugin",
]

_HOME = {
    "train": "musegen.running.training",
    "resume": "musegen.running.training",
    "load": "musegen.models.loading",
    "evaluate": "musegen.evaluation.evaluate",
    "export": "musegen.exporting.export",
    "compare": "musegen.running.comparing",
    "Model": "musegen.models.model",
    "use_plugin": "musegen.plugins",
}


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; what needs it is imported on first use, so that `musegen --help` answers at once.
    if name in _HOME:
        if _HOME[name] not in sys.modules:
            with doing("Loading torch"):
                import_module(_HOME[name])
        return getattr(sys.modules[_HOME[name]], name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def families() -> list[str]:
    """Names of the families installed."""
    from musegen.plugins import registry

    return list(registry().families)


def domains() -> list[str]:
    """Names of the domains installed."""
    from musegen.plugins import registry

    return list(registry().domains)
