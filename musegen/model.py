"""A trained model, ready to use: family, domain and weights together.

model = musegen.load("runs/band")
x = model.sample(8, seed=0)
model.write(x, "out/")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from musegen.checkpoint import (
    checkpoints,
    load_checkpoint,
    load_model_file,
    newest_checkpoint,
    save_model_file,
)
from musegen.domain import Domain
from musegen.engine import choose_device, load_weights
from musegen.errors import BadInput
from musegen.family import Family, build, require
from musegen.latent import slerp
from musegen.plugins import registry
from musegen.runs import Run, resolve_dict

__all__ = ["Model", "load"]


class Model:
    """A family with its weights, and the domain it was trained on. Everything here runs without gradients.

    Attributes:
        family: in evaluation mode, on its device.
        domain: reads and writes samples.
        config: flat, as in ``config.yaml``.
    """

    def __init__(self, family: Family, domain: Domain, config: dict[str, object]) -> None:
        self.family, self.domain, self.config = family.eval(), domain, config

    def _require(self, capability: str) -> None:
        require(self.family, capability, {name: offer.load() for name, offer in registry().families.items()})

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0, temperature: float = 1.0) -> Tensor:
        """n new samples ``(n, *S)`` on the CPU; the same seed gives the same samples on the same machine.

        Raises:
            BadInput: the family cannot sample.
        """
        self._require("sample")
        devices = [self.family.device] if self.family.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            return self.family.sample(n, temperature=temperature).float().cpu()

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Codes ``(n, latent)`` of samples ``(n, *S)``.

        Raises:
            BadInput: the family has no encoder.
        """
        self._require("encode")
        return self.family.encode(x.to(self.family.device)).float().cpu()

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Samples ``(n, *S)`` of codes ``(n, latent)``.

        Raises:
            BadInput: the family has no decoder of codes.
        """
        self._require("decode")
        return self.family.decode(z.to(self.family.device)).float().cpu()

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Samples through their codes and back, ``(n, *S)``.

        Raises:
            BadInput: the family cannot reconstruct.
        """
        self._require("reconstruct")
        return self.family.reconstruct(x.to(self.family.device)).float().cpu()

    def interpolate(self, a: Tensor, b: Tensor, steps: int = 8, spherical: bool = False) -> Tensor:
        """From a to b, both ``(*S)``, in equal steps of the code: ``(steps, *S)``; the ends are their reconstructions.

        Raises:
            BadInput: the family has no codes.
        """
        z_a, z_b = self.encode(torch.stack([a, b]))
        t = torch.linspace(0, 1, steps)
        z = slerp(z_a, z_b, t) if spherical else torch.lerp(z_a, z_b, t[:, None])
        return self.decode(z)

    @torch.no_grad()
    def log_prob(self, x: Tensor, n_samples: int = 1, seed: int = 0) -> Tensor:
        """log p(x) in nats ``(n,)``, exact or a bound from ``n_samples`` draws per example.

        Raises:
            BadInput: the family has none.
        """
        self._require("log_prob")
        devices = [self.family.device] if self.family.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            return self.family.log_prob(x.to(self.family.device), n_samples).float().cpu()

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """log p(class | x), nats, ``(n, K)``.

        Raises:
            BadInput: the family does not classify.
        """
        self._require("classify")
        return self.family.classify(x.to(self.family.device)).float().cpu()

    def read(self, path: str | Path) -> Tensor:
        """A file as samples ``(n, *S)``.

        Raises:
            BadInput: what, where, what to do.
        """
        path = Path(path)
        if not path.is_file():
            raise BadInput(f"The file {path} does not exist." if not path.exists() else f"{path} is no file.")
        return self.domain.read(path)

    def write(self, x: Tensor, folder: str | Path, names: Sequence[str] | None = None) -> list[Path]:
        """Write samples in the domain's native format; returns the files."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"The folder {folder} cannot be written: {error.strerror}.") from None
        return self.domain.write(x, folder, names or [f"sample_{i:03d}" for i in range(len(x))])

    def save(self, path: str | Path) -> None:
        """Write the model as one file, which ``load`` reads anywhere."""
        save_model_file(Path(path), self.family.state_dict(), {**self.config, "data": None})


def load(model: str | Path, *, checkpoint: str = "best", device: str = "auto") -> Model:
    """A trained model.

    Args:
        model: a run folder or a model file.
        checkpoint: of a run: ``best`` on the validation loss (the last, where a family has none), ``last``, or a step.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        BadInput: nothing there, damaged, or of another version.
    """
    path, where = Path(model), choose_device(device)
    if path.is_dir():
        run = Run.open(path)
        resolved = run.config()
        parts, _ = _choose_checkpoint(run, checkpoint)
        weights = parts.get("average", parts["weights"])
    elif path.is_file():
        weights, config = load_model_file(path)
        resolved = resolve_dict(config, f"The model file {path}")
    else:
        raise BadInput(f"There is no model {model}: give a run folder or a model file.")
    domain = resolved.domain(resolved.domain_config)
    family = build(resolved.family, resolved.family_config, domain)
    load_weights(family, weights)
    return Model(family.to(where), domain, resolved.as_dict())


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
