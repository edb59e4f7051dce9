"""Loading a trained model: from a run, a model file, or by name."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from musegen.contracts.family import build
from musegen.data.bundled import shipped
from musegen.engine.checkpoint import checkpoints, load_checkpoint, load_model_file, newest_checkpoint, read_model_needs
from musegen.engine.devices import choose_device
from musegen.engine.engine import load_weights
from musegen.errors import BadInput
from musegen.models.model import Model
from musegen.reporting import doing
from musegen.running.runs import Run, resolve_dict

__all__ = ["load"]


def load(model: str | Path, *, checkpoint: str = "best", device: str = "auto") -> Model:
    """A trained model.

    Args:
        model: a run folder, a model file, or the name of a model that ships with musegen.
        checkpoint: of a run: ``best`` on the validation loss (the last, where a family has none), ``last``, or a step.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        BadInput: nothing there, damaged, or of another version.
    """
    path, where = Path(model), choose_device(device)
    with doing(f"Loading {path.name}"):
        return _loaded(model, path, checkpoint, where)


def _loaded(model: str | Path, path: Path, checkpoint: str, where: torch.device) -> Model:
    if not path.exists():
        path = shipped(str(model))
    run = None
    if path.is_dir():
        run = Run.open(path)
        resolved = run.config()
        parts, _ = _choose_checkpoint(run, checkpoint)
        weights = parts.get("average", parts["weights"])
    else:
        weights, config = load_model_file(path)
        resolved = resolve_dict(config, f"The model file {path}", read_model_needs(path))
    domain = resolved.domain(resolved.domain_config)
    family = build(resolved.family, resolved.family_config, domain)
    load_weights(family, weights)
    return Model(family.to(where), domain, resolved.as_dict(), run)


def _choose_checkpoint(run: Run, checkpoint: str) -> tuple[dict[str, dict[str, Tensor]], dict]:
    parts, manifest = newest_checkpoint(run.checkpoints)
    if checkpoint == "last":
        return parts, manifest
    step = manifest["state"]["best"]["step"] if checkpoint == "best" else checkpoint
    if step is not None and not str(step).isdecimal():
        raise BadInput(f'There is no checkpoint "{checkpoint}": ask for best, last or the number of a step.')
    if step is None or int(step) == manifest["step"]:
        return parts, manifest
    path = run.checkpoints / f"step_{int(step):08d}"
    if not path.is_dir():
        kept = ", ".join(str(int(p.name.removeprefix("step_"))) for p in checkpoints(run.checkpoints))
        raise BadInput(f"{run.path} keeps no checkpoint of step {step}; it keeps {kept}.")
    return load_checkpoint(path)
