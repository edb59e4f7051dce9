"""A trained model, ready to use: family, domain and weights together.

model = musegen.load("runs/band")
x = model.sample(8, seed=0)
model.write(x, "out/")
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Data, Domain
from musegen.contracts.family import Family, require
from musegen.data.batches import Batches
from musegen.engine.checkpoint import (
    save_model_file,
)
from musegen.errors import BadInput, did_you_mean
from musegen.options import validate
from musegen.plugins import needs, registry
from musegen.probability.latent import slerp
from musegen.running.runs import Run

__all__ = ["Model"]

BUNDLED = Path("bundled")
CHUNK = 64
"""Examples that go through a network at a time."""


class Model:
    """A family with its weights, and the domain it was trained on. Everything here runs without gradients.

    Attributes:
        family: in evaluation mode, on its device.
        domain: reads and writes samples.
        config: flat, as in ``config.yaml``.
        run: the run it was loaded from, which knows its data; None for a model file.
    """

    def __init__(self, family: Family, domain: Domain, config: dict[str, object], run: Run | None = None) -> None:
        self.family, self.domain, self.config, self.run = family.eval(), domain, config, run

    def set_sampling(self, **options: Any) -> None:
        """Set options of the family that change how samples are drawn and not the model, such as ``top_p`` of rnn_nade.

        Raises:
            BadInput: the family has no such option, or the value will not do.
        """
        family = self.family
        for name in options:
            if name not in family.sampling_options:
                raise BadInput(
                    f'The family "{family.name}" has no {name} that could be set after training: leave it out.'
                    + did_you_mean(name, family.sampling_options)
                )
        checked = validate(type(family.config), options, f'the family "{family.name}"')
        chosen = {name: getattr(checked, name) for name in options}
        family.config = replace(family.config, **chosen)
        self.config = {**self.config, **chosen}

    def _require(self, capability: str) -> None:
        require(self.family, capability, registry().working_families())

    @torch.no_grad()
    def sample(
        self,
        n: int,
        seed: int = 0,
        temperature: float = 1.0,
        label: int | str | Sequence[int] | None = None,
        given: Tensor | None = None,
        n_steps: int | None = None,
    ) -> Tensor:
        """n new samples ``(n, *S)`` on the CPU; the same seed gives the same samples on the same machine.

        Args:
            temperature: scales the spread of the prior, or the choices of an autoregressive family.
            label: a class for all samples, by number or name, or a number per sample.
            given: a sample ``(*S)`` whose given part (see the domain's option ``given``) comes back in every sample, or
                one per sample ``(n, *S)``; with rnn_nade of any number of rows, and samples have as many.
            n_steps: rows of each sample, if not those it was trained with: ``(n, C, n_steps, W)``. More take a family that can
                continue.

        Raises:
            BadInput: the family cannot sample, takes no such condition, or cannot make samples so long.
        """
        self._require("sample")
        if n_steps is not None and n_steps != self.domain.spec.shape[1]:
            if given is not None:
                raise BadInput("A given part and another length do not go together: continue or accompany instead.")
            return self._sample_long(n, n_steps, seed, temperature, label)
        condition: dict[str, Tensor] = {}
        if label is not None:
            self._require("condition")
            condition["label"] = self._labels(label, n)
        if given is not None:
            self._require_given()
            condition["given"] = given
        with self._seeded(seed):
            return self.family.sample(n, temperature=temperature, **condition).float().cpu()

    @torch.no_grad()
    def continue_(
        self,
        past: Tensor,
        n_steps: int,
        n: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        label: int | str | Sequence[int] | None = None,
    ) -> Tensor:
        """n ways in which a past goes on: the ``n_steps`` rows that follow, ``(n, C, n_steps, W)``.

        Args:
            past: ``(C, rows, W)``, any number of rows: more or fewer than a sample has. Music begins with a bar.
            temperature: of every choice; below 1 the more probable goes on more often.
            label: a class for all, by number or name, or a number per continuation.

        Raises:
            BadInput: the family cannot continue, takes no label, or the past has other channels or columns, or too few rows.

        A family that cannot continue by itself does so window by window if the model was trained with the past given.
        """
        self.require_continue()
        known = self._rows_given()
        channels, _, columns = self.domain.spec.shape
        if past.dim() != 3 or (past.shape[0], past.shape[2]) != (channels, columns):
            raise BadInput(
                f"A past of shape {tuple(past.shape)} will not do: this model needs ({channels}, rows, {columns})."
            )
        if past.shape[1] < known:
            raise BadInput(
                f"A past of {past.shape[1]} steps is too short: this model needs {known} or more to go on from."
            )
        if n_steps < 1:
            raise BadInput(f"n_steps={n_steps} will not do: ask for 1 or more.")
        if label is not None:
            self._require("condition")
        with self._seeded(seed):
            labels = None if label is None else self._labels(label, n)
            many = past.to(self.family.device)[None].expand(n, -1, -1, -1)
            if known:
                return self._continue_by_windows(many, n_steps, temperature)
            return self.family.continue_(many, n_steps, temperature=temperature, label=labels).float().cpu()

    def _sample_long(
        self, n: int, n_steps: int, seed: int, temperature: float, label: int | str | Sequence[int] | None
    ) -> Tensor:
        """Samples of another length, ``(n, C, n_steps, W)``."""
        channels, rows, columns = self.domain.spec.shape
        if n_steps < rows:
            return self.sample(n, seed, temperature, label)[:, :, :n_steps]
        if not self._rows_given():
            return self.continue_(torch.zeros(channels, 0, columns), n_steps, n, seed, temperature, label)
        begun = self.sample(n, seed, temperature, label)
        with self._seeded(seed):
            more = self._continue_by_windows(self.domain.as_data(begun), n_steps - rows, temperature)
        return torch.cat([begun, more], 2)

    def require_continue(self) -> None:
        """Refuse what needs a model that can continue: by its family, or because it is given the past.

        Raises:
            BadInput: this one cannot.
        """
        if not self._rows_given():
            self._require("continue_")

    def _rows_given(self) -> int:
        """The first bars of a sample, in rows, if these are what the model is given, and nothing else; 0 otherwise."""
        if not self.domain.spec.bar or not self.family.capabilities.given:
            return 0
        slabs = self.domain.spec.given
        return max((last for _, _, last in slabs), default=0) if all(slab[:2] == (1, 0) for slab in slabs) else 0

    def _continue_by_windows(self, past: Tensor, n_steps: int, temperature: float) -> Tensor:
        """What follows each past ``(n, C, rows, W)``, for a family that is given the first rows of every sample."""
        known = self._rows_given()
        n, shape = len(past), self.domain.spec.shape
        seen, parts = past[:, :, -known:].float().cpu(), []
        for _ in range(-(-n_steps // (shape[1] - known))):
            given = torch.zeros(n, *shape)
            given[:, :, :known] = seen
            new = self.family.sample(n, temperature=temperature, given=given).float().cpu()  # type: ignore[call-arg]
            parts.append(new[:, :, known:])
            seen = self.domain.as_data(new)[:, :, -known:]  # what will be written, and not its probabilities
        return torch.cat(parts, 2)[:, :, :n_steps]

    @torch.no_grad()
    def accompany(self, given: Tensor, n: int = 1, seed: int = 0, temperature: float = 1.0) -> Tensor:
        """n samples around the given part of a piece of any length, ``(C, rows, W)`` → ``(n, C, rows, W)``.

        A family that is given grids of any length hears the whole piece and plays through. Others accompany it window by window,
        and take the rest of the last window for silence.

        Raises:
            BadInput: the model was not trained to be given parts that last as long as a sample, such as tracks.
        """
        self.require_given_tracks()
        if self.family.capabilities.given == "any length":
            many = given.float().expand(n, *given.shape)
            with self._seeded(seed):
                return self.family.sample(n, temperature=temperature, given=many).float().cpu()  # type: ignore[call-arg]
        channels, rows, columns = self.domain.spec.shape
        n_windows = -(-given.shape[1] // rows)
        padded = F.pad(given.float().cpu(), (0, 0, 0, n_windows * rows - given.shape[1]))
        windows = padded.view(channels, n_windows, rows, columns).transpose(0, 1)  # (k, C, rows, W)
        with self._seeded(seed):
            parts = [
                self.family.sample(len(part), temperature=temperature, given=part).float().cpu()  # type: ignore[call-arg]
                for part in windows.repeat(n, 1, 1, 1).split(CHUNK)
            ]
        whole = torch.cat(parts).view(n, n_windows, channels, rows, columns).transpose(1, 2).flatten(2, 3)
        return whole[:, :, : given.shape[1]]

    def require_given_tracks(self) -> None:
        """Refuse what needs a model that is given parts that last as long as a sample, such as tracks.

        Raises:
            BadInput: this one is not.
        """
        self._require_given()
        if any(axis != 0 for axis, _, _ in self.domain.spec.given):
            raise BadInput(
                f"This model was trained with given={self.config['given']}, which is no set of whole tracks."
            )

    def _require_given(self) -> None:
        """Refuse what needs a model that is given a part of a sample."""
        if not (self.family.capabilities.given and self.domain.spec.given):
            raise BadInput(
                f'This model of the family "{self.family.name}" was not trained to be given a part of a sample: '
                "train rnn_nade with the domain's option given, or conditional_gan with condition=given."
            )

    def _labels(self, label: int | str | Sequence[int], n: int) -> Tensor:
        """Class numbers ``(n,)``."""
        classes = list(self.domain.spec.classes)
        n_classes = getattr(self.family.config, "n_classes", len(classes))  # InfoGAN finds its own
        if isinstance(label, str):
            if label in classes:
                label = classes.index(label)
            elif label.isdecimal():
                label = int(label)
            else:
                raise BadInput(f'There is no class "{label}".{did_you_mean(label, classes)}')
        labels = torch.tensor(label).expand(n) if isinstance(label, int) else torch.as_tensor(label)
        if len(labels) != n or not bool(((labels >= 0) & (labels < n_classes)).all()):
            raise BadInput(f"label={label} will not do: use class numbers from 0 to {n_classes - 1}.")
        return labels.to(self.family.device)

    @contextlib.contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Draws follow from the seed, and the caller's generators are left alone."""
        devices = [self.family.device] if self.family.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield

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
        with self._seeded(seed):
            parts = [self.family.log_prob(part.to(self.family.device), n_samples) for part in x.split(CHUNK)]
        return torch.cat(parts).float().cpu()

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """log p(class | x), nats, ``(n, K)``.

        Raises:
            BadInput: the family does not classify.
        """
        self._require("classify")
        return torch.cat([self.family.classify(part.to(self.family.device)) for part in x.split(CHUNK)]).float().cpu()

    def traversal(self, steps: int = 9, seed: int = 0) -> Tensor:
        """What each coordinate of the code does: ``(rows, steps, *S)``, a row per coordinate or class.

        Raises:
            BadInput: the family has no codes to walk through.
        """
        self._require("decode")
        with self._seeded(seed), torch.no_grad():
            codes = self.family.traversal(steps)
        rows, steps, n = codes.shape
        return self.decode(codes.reshape(rows * steps, n)).unflatten(0, (rows, steps))

    def arithmetic(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """The sample whose code is mean code of a − mean code of b + mean code of c: each ``(n, *S)`` → ``(1, *S)``.

        Raises:
            BadInput: the family has no codes.
        """
        z_a, z_b, z_c = (self.encode(x).mean(0, keepdim=True) for x in (a, b, c))
        return self.decode(z_a - z_b + z_c)

    def examples(self, n: int, split: str = "valid", source: Path | None = None) -> Batch | None:
        """n examples of the run's data, or of those at ``source``, with labels if there are any.

        None for a model file that is told no data.

        Raises:
            BadInput: the data are gone, or will not do.
        """
        data = self.data(source)
        if data is None:
            return None
        dataset = data.splits.get(split)
        if dataset is None or not len(dataset):
            dataset = data.splits["train"]
        seed = self.config["seed"]
        assert isinstance(seed, int)
        return next(Batches(dataset, n, seed, torch.device("cpu")).once(n))

    def data(self, source: Path | None = None) -> Data | None:
        """The data that the run was trained on, or those at ``source``; None for a model file that is told none.

        Args:
            source: a file or folder, or ``bundled``: the data that ship with musegen.

        Raises:
            BadInput: the data are gone, or will not do.
        """
        if source is not None:
            where = None if source == BUNDLED and not source.exists() else source
            with tempfile.TemporaryDirectory() as cache:  # what is mapped from there stays readable
                other, data = type(self.domain).open(self.domain.config, where, Path(cache))
            if other.spec != self.domain.spec:
                raise BadInput(
                    f"{source} has other tracks, classes or sizes than this model's data: give data like those."
                )
            return data
        if self.run is None:
            return None
        resolved = self.run.config()
        source = None if resolved.data is None else Path(resolved.data)
        _, data = resolved.domain.open(resolved.domain_config, source, self.run.path / "data")
        return data

    def outlier_threshold(self, n_samples: int = 1, n: int = 500, source: Path | None = None) -> float | None:
        """What only 1 % of validation examples (of the run, or of the data at ``source``) fall below: log p(x) in nats, or the
        probability of the best class for families without one; None for a model file that is told no data.

        Raises:
            BadInput: the data are gone, or will not do.
        """
        batch = self.examples(n, source=source)
        return None if batch is None else float(self.typicality(batch.x, n_samples).quantile(0.01))

    def typicality(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """What outliers are low in, ``(n,)``: log p(x) where the family has one, else the probability of the best class."""
        if self.family.capabilities.log_prob:
            return self.log_prob(x, n_samples)
        return self.classify(x).max(1).values.exp()

    def read(self, path: str | Path) -> Tensor:
        """A file as samples ``(n, *S)``.

        Raises:
            BadInput: what, where, what to do.
        """
        return self.domain.read(_file(path))

    def read_whole(self, path: str | Path, keep: Literal["all", "given", "none"] = "all") -> tuple[Tensor, Domain]:
        """A file as one sample of any length ``(C, rows, W)``, and the domain to write with; see ``Domain.whole``.

        Raises:
            BadInput: what, where, what to do.
        """
        return self.domain.whole(_file(path), keep)

    def write(self, x: Tensor, folder: str | Path, names: Sequence[str] | None = None, **options: object) -> list[Path]:
        """Write samples in the domain's native format; returns the files.

        Args:
            options: what the domain can write otherwise, see its ``for_writing``: ``tempo=90, programs={"Piano": 5}``.
        """
        domain = self.domain.for_writing(options)
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"The folder {folder} cannot be written: {error.strerror}.") from None
        return domain.write(x, folder, names or [f"sample_{i:03d}" for i in range(len(x))])

    def save(self, path: str | Path) -> None:
        """Write the model as one file, which ``load`` reads anywhere."""
        needed = needs(self.family.name, self.domain.name)
        for need in needed:  # folders are the user's own affair, and the file may go anywhere
            need["file"] = Path(need["file"]).name
        save_model_file(Path(path), self.family.state_dict(), {**self.config, "data": None}, needed)


def _file(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"The file {path} does not exist." if not path.exists() else f"{path} is no file.")
    return path
