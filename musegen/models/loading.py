"""Loading a trained model: from a run, a model file, or by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musegen.contracts.domain import Domain
from musegen.contracts.family import Family, build
from musegen.data.bundled import models, shipped
from musegen.engine.checkpoint import (
    checkpoints,
    load_checkpoint,
    load_model_file,
    newest_checkpoint,
    read_model_config,
    read_model_needs,
)
from musegen.engine.devices import choose_device
from musegen.engine.shared_state import in_float32, seeded
from musegen.engine.sizes import check_shapes, outline
from musegen.engine.weights import load_weights
from musegen.errors import BadInput
from musegen.files import user_path
from musegen.models import hub
from musegen.models.model import Model
from musegen.reporting import doing
from musegen.running.own import Own, check_used, completed
from musegen.running.own_networks import NetworkMaker
from musegen.running.resolved import Resolved, resolve_dict
from musegen.running.runs import Run

__all__ = ["find", "load", "locate", "weights_of"]


def find(model: str | Path | Run, own: Own | None = None) -> Resolved:
    """Every option of a model, without its weights.

    Args:
        model: as for ``load``.
        own: what a program hands over for it.

    Raises:
        BadInput: nothing there, damaged, or of another version.
    """
    if isinstance(model, Run):
        return Run.open(model, own).config()
    path = locate(model)
    return Run.open(path, own).config() if path.is_dir() else _resolved(path, read_model_config(path), own)


def locate(model: str | Path) -> Path:
    """Where a model is. A folder that holds no run does not hide a model of the same name that ships.

    Raises:
        BadInput: there is no such folder or file, and no such model ships; or nothing can be fetched.
    """
    if isinstance(model, str) and model.startswith(hub.ADDRESS):
        return hub.fetched(model)
    path = user_path(model)
    hides = path.is_dir() and not (path / "config.yaml").is_file() and str(model) in models()
    return path if path.exists() and not hides else shipped(str(model))


def _resolved(path: Path, config: dict[str, Any], own: Own | None = None) -> Resolved:
    return resolve_dict(config, f"The model file {path}", read_model_needs(path), own=own)


def load(
    model: str | Path | Run,
    *,
    checkpoint: str = "best",
    device: str = "auto",
    family: type[Family] | None = None,
    domain: type[Domain] | None = None,
    encoder: NetworkMaker | None = None,
    decoder: NetworkMaker | None = None,
    discriminator: NetworkMaker | None = None,
    autoregressive: NetworkMaker | None = None,
) -> Model:
    """A trained model.

    Args:
        model: a run folder, a model file, the name of a model that ships with musegen, ``hf://owner/name`` of the Hugging Face Hub,
            or what ``musegen.train`` returned, which knows the objects that it was given.
        checkpoint: of a run: ``best`` on the validation loss (the last, where a family has none), ``last``, or a step.
        device: auto, cpu, cuda, cuda:N or mps.
        family, domain, encoder, decoder, discriminator, autoregressive: what was handed over to ``musegen.train`` when the
            model was made; a folder or a file cannot hold it.

    Raises:
        BadInput: nothing there, damaged, or of another version; or something was handed over when it was made, and is not now.

    >>> import musegen
    >>> model = musegen.load("notes", device="cpu")
    >>> model.family.name, model.domain.name
    ('conditional_gan', 'audio')
    """
    own = model.own if isinstance(model, Run) else Own()
    networks = {
        "encoder": encoder,
        "decoder": decoder,
        "discriminator": discriminator,
        "autoregressive": autoregressive,
    }
    own = completed(own, family, domain, networks)
    path = model.path if isinstance(model, Run) else locate(model)
    with doing(f"Loading {path.name}"), in_float32():
        return _loaded(path, checkpoint, choose_device(device), own)


def weights_of(
    path: Path, checkpoint: str = "best", own: Own | None = None
) -> tuple[dict[str, Tensor], Resolved, Run | None]:
    """The weights that a model draws with, which are their moving average if it has one; its options; and the run, if it is one.

    Args:
        own: what a program hands over for it.

    Raises:
        BadInput: damaged, of another version, or without such a checkpoint.
    """
    if not path.is_dir():
        weights, config = load_model_file(path)
        return weights, _resolved(path, config, own), None
    run = Run.open(path, own)
    resolved = run.config()
    parts, _ = _choose_checkpoint(run, checkpoint)
    return parts.get("average", parts["weights"]), resolved, run


def _loaded(path: Path, checkpoint: str, where: torch.device, own: Own) -> Model:
    weights, resolved, run = weights_of(path, checkpoint, own)
    check_used(own, resolved.own, f"The model {path}")
    domain = resolved.make_domain()
    if path not in models().values():  # what ships is as safe as the code; to outline it takes longer than to read it
        shapes = outline(lambda: build(resolved.family, resolved.family_config, domain), str(path))
        check_shapes(shapes, weights, f"The model {path}")
    with seeded(0, torch.device("cpu")):  # it draws weights first, which are replaced
        family = build(resolved.family, resolved.family_config, domain)
    family.sampling = resolved.sampling
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
