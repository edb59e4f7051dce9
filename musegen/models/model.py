"""A trained model, ready to use: family, domain and weights together.

``Model`` is the whole of what a user does with a trained model, one documented method each; hence the length of this file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from musegen.contracts import piece
from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Data, Domain
from musegen.contracts.family import Family, require
from musegen.data.batches import Batches
from musegen.engine.checkpoint import save_model_file
from musegen.errors import BadInput
from musegen.models import unfolding
from musegen.models.labels import class_numbers
from musegen.models.reference import reference_data
from musegen.options import flat_options, split_options, validate
from musegen.plugins import needs, registry
from musegen.probability.latent import slerp

if TYPE_CHECKING:
    from musegen.contracts.piece import Piece, Writer
    from musegen.running.runs import Run

__all__ = ["CHUNK", "Model"]


CHUNK = 64
"""Examples that go through a network at a time."""


class Model:
    """A family with its weights, and the domain it was trained on. Everything here runs without gradients.

    Options of ``family.Sampling`` say how samples are drawn, those of ``domain.Writing`` how they become files. ``configure`` sets
    them for good, and methods that draw or write take them for one call.

    Attributes:
        family: in evaluation mode, on its device.
        domain: reads and writes samples.
        run: the run it was loaded from, which knows its data; None for a model file.

    >>> import musegen
    >>> model = musegen.load("notes")
    >>> x = model.sample(2, seed=0, label="guitar")
    >>> x.shape
    torch.Size([2, 1, 64, 80])
    >>> [path.name for path in model.write(x, "guitar")]
    ['sample_000.wav', 'sample_001.wav']
    """

    def __init__(self, family: Family, domain: Domain, config: dict[str, object], run: Run | None = None) -> None:
        self.family, self.domain, self.run = family.eval(), domain, run
        owned = {f.name for part in (*self.option_owners.values(), family.Config, domain.Config) for f in fields(part)}
        self._of_run = {name: value for name, value in config.items() if name.rpartition(".")[2] not in owned}

    @property
    def config(self) -> dict[str, Any]:
        """Every option, flat, as in ``config.yaml``."""
        family, domain = self.family, self.domain
        own = {"family": family.config, "domain": domain.config, "sampling": family.sampling, "writing": domain.writing}
        return self._of_run | flat_options(own)

    @property
    def option_owners(self) -> dict[str, type]:
        """The two sets of options that may be set after training: ``sampling`` and ``writing``."""
        return {"sampling": self.family.Sampling, "writing": self.domain.Writing}

    def configure(self, **options: Any) -> None:
        """Set options of drawing (such as ``temperature``) and of writing, until they are set again; ``save`` keeps them.

        Raises:
            BadInput: there is no such option, or a value is invalid.

        >>> import musegen
        >>> model = musegen.load("band")
        >>> model.configure(temperature=0.9, threshold=0.4)
        >>> model.family.sampling.temperature, model.domain.writing.threshold
        (0.9, 0.4)
        """
        mine = split_options(options, self.option_owners, f"The model ({self.family.name} on {self.domain.name})")
        self.family.sampling = self._sampling(mine["sampling"])
        if mine["writing"]:
            self.domain = self.domain.written_with(mine["writing"])

    def _sampling(self, options: dict[str, Any]) -> Any:
        checked = validate(self.family.Sampling, options, f'the family "{self.family.name}"')
        return replace(self.family.sampling, **{name: getattr(checked, name) for name in options})

    @contextlib.contextmanager
    def drawing(self, seed: int, options: dict[str, Any] | None = None) -> Iterator[None]:
        """A scope in which draws follow from the seed and these options of ``Sampling``.

        The caller's generators and the model's own options are left alone.
        """
        before, devices = self.family.sampling, [self.family.device] if self.family.device.type == "cuda" else []
        self.family.sampling = self._sampling(options or {})
        try:
            with torch.random.fork_rng(devices=devices), torch.no_grad():
                torch.manual_seed(seed)
                yield
        finally:
            self.family.sampling = before

    def _require(self, capability: str) -> None:
        require(self.family, capability, registry().working_families())

    def sample(
        self,
        n: int,
        seed: int = 0,
        label: int | str | Sequence[int] | None = None,
        given: Tensor | None = None,
        n_steps: int | None = None,
        **options: Any,
    ) -> Tensor:
        """n new samples ``(n, *S)`` on the CPU; the same seed gives the same samples on the same machine.

        Args:
            label: a class for all samples, by number or name, or a number per sample.
            given: a sample ``(*S)`` whose given part (see the domain's option ``given``) comes back in every sample, or
                one per sample ``(n, *S)``; with rnn_nade of any number of rows, and samples have as many.
            n_steps: rows of each sample, if not those it was trained with: ``(n, C, n_steps, W)``. More take a family that can
                continue.
            options: of the family's ``Sampling``: ``temperature=0.9``.

        Raises:
            BadInput: the family cannot sample, takes no such condition or option, or cannot make samples so long.

        >>> import musegen
        >>> musegen.load("chorale").sample(2, seed=0, n_steps=8, temperature=0.9).shape  # a bar of eighths, four voices
        torch.Size([2, 8, 8, 56])
        """
        self._require("sample")
        labels = self._labels(label, n)
        if n_steps is not None and n_steps != self.domain.spec.shape[1]:
            if given is not None:
                raise BadInput("A given part and another length do not go together: continue or accompany instead.")
            if n_steps > self.domain.spec.shape[1]:
                unfolding.require_continue(self.family, self.domain)
            with self.drawing(seed, options):
                return unfolding.samples(self.family, self.domain, n, n_steps, seed, labels)
        if given is not None:
            unfolding.require_given(self.family, self.domain)
        with self.drawing(seed, options):
            return self.family.sample(n, label=labels, given=given).float().cpu()

    def continue_(
        self,
        past: Tensor,
        n_steps: int,
        n: int = 1,
        seed: int = 0,
        label: int | str | Sequence[int] | None = None,
        **options: Any,
    ) -> Tensor:
        """n ways in which a past goes on: the ``n_steps`` rows that follow, ``(n, C, n_steps, W)``.

        Args:
            past: ``(C, rows, W)``, any number of rows: more or fewer than a sample has. It begins with a bar.
            label: a class for all, by number or name, or a number per continuation.
            options: of the family's ``Sampling``.

        Raises:
            BadInput: the family cannot continue, takes no such label or option, or the past has other channels or columns, or too
                few rows.

        A family that cannot continue by itself does so window by window if the model was trained with the past given.

        >>> import musegen
        >>> from musegen.data.bundled import bundled
        >>> model = musegen.load("chorale")
        >>> past, writer = model.read_given(bundled("chorales") / "bwv253.mid")
        >>> new = model.continue_(past, n_steps=8, n=2)
        >>> past.shape, new.shape
        (torch.Size([8, 88, 56]), torch.Size([2, 8, 8, 56]))
        """
        unfolding.require_continue(self.family, self.domain)
        unfolding.check_past(self.family, self.domain, past, n_steps)
        labels = self._labels(label, n)
        many = past.to(self.family.device)[None].expand(n, -1, -1, -1)
        with self.drawing(seed, options):
            return unfolding.continuations(self.family, self.domain, many, n_steps, labels)

    def accompany(self, given: Tensor, n: int = 1, seed: int = 0, **options: Any) -> Tensor:
        """n samples around the given part of a piece of any length, ``(C, rows, W)`` → ``(n, C, rows, W)``.

        A family that is given grids of any length sees the whole piece. Others accompany it window by window, and take the rest of
        the last window for silence.

        Args:
            options: of the family's ``Sampling``.

        Raises:
            BadInput: the model was not trained to be given parts that last as long as a sample, such as tracks.

        >>> import musegen
        >>> from musegen.data.bundled import bundled
        >>> model = musegen.load("harmony")
        >>> hymn, writer = model.read_given(bundled("chorales") / "bwv253.mid", keep="given")
        >>> model.accompany(hymn[:, :16], n=2).shape  # two bars: the soprano as it was, and new voices
        torch.Size([2, 8, 16, 56])
        """
        unfolding.require_given_tracks(self.family, self.domain)
        with self.drawing(seed, options):
            return unfolding.accompaniments(self.family, self.domain, given, n, CHUNK)

    def _labels(self, label: int | str | Sequence[int] | None, n: int) -> Tensor | None:
        """Class numbers ``(n,)``; None for none."""
        if label is None:
            return None
        self._require("condition")
        classes = self.domain.spec.classes
        n_classes = getattr(self.family.config, "n_classes", len(classes))  # InfoGAN finds its own
        return class_numbers(label, n, classes, n_classes).to(self.family.device)

    def _in_chunks(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """What a function of the family makes of ``x`` ``(n, …)``, however many there are, on the CPU."""
        return torch.cat([function(part.to(self.family.device)).float().cpu() for part in x.split(CHUNK)])

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Codes ``(n, latent)`` of samples ``(n, *S)``.

        Raises:
            BadInput: the family has no encoder.
        """
        self._require("encode")
        return self._in_chunks(self.family.encode, x)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Samples ``(n, *S)`` of codes ``(n, latent)``.

        Raises:
            BadInput: the family has no decoder of codes.
        """
        self._require("decode")
        return self._in_chunks(self.family.decode, z)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Samples through their codes and back, ``(n, *S)``.

        Raises:
            BadInput: the family cannot reconstruct.
        """
        self._require("reconstruct")
        return self._in_chunks(self.family.reconstruct, x)

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
        with self.drawing(seed):
            parts = [self.family.log_prob(part.to(self.family.device), n_samples) for part in x.split(CHUNK)]
        return torch.cat(parts).float().cpu()

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """log p(class | x), nats, ``(n, K)``.

        Raises:
            BadInput: the family does not classify.
        """
        self._require("classify")
        return self._in_chunks(self.family.classify, x)

    def traversal(self, steps: int = 9, seed: int = 0) -> Tensor:
        """What each coordinate of the code does: ``(rows, steps, *S)``, a row per coordinate or class.

        Raises:
            BadInput: the family has no codes to walk through.
        """
        self._require("decode")
        with self.drawing(seed):
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
            BadInput: the data are gone or unsuitable.
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
            BadInput: the data are gone or unsuitable.
        """
        return reference_data(self.domain, self.run, source)

    def read(self, path: str | Path) -> Tensor:
        """A file as samples ``(n, *S)``.

        Raises:
            BadInput: what, where, what to do.
        """
        return self.domain.read(_file(path))

    def read_whole(self, *paths: str | Path) -> tuple[Tensor, Writer]:
        """Files, whole, as samples that follow each other ``(files, n, *S)``, and what makes one piece of n samples.

        Raises:
            BadInput: what, where, what to do.

        >>> import musegen
        >>> import numpy as np
        >>> from musegen.sound.files import write_sound
        >>> path = write_sound("long.wav", 0.1 * np.ones((1, 48000)), rate_hz=16000)
        >>> x, writer = musegen.load("notes").read_whole(path)
        >>> (piece,) = writer.pieces(x[0])
        >>> x.shape, piece.audio()[0].shape
        (torch.Size([1, 4, 1, 64, 80]), (1, 48000))
        """
        return self.domain.read_whole(*(_file(path) for path in paths))

    def read_given(self, path: str | Path, keep: Literal["all", "given", "none"] = "all") -> tuple[Tensor, Writer]:
        """A file as one sample of any length ``(C, rows, W)``, and what writes samples beside it; see ``Domain.read_given``.

        Raises:
            BadInput: what, where, what to do.
        """
        return self.domain.read_given(_file(path), keep)

    def pieces(self, x: Tensor, **options: Any) -> Sequence[Piece]:
        """Samples ``(n, *S)`` as pieces, which save, show and play themselves.

        Args:
            options: of the domain's ``Writing``.

        Raises:
            BadInput: there is no such option, or a value is invalid.

        >>> import musegen
        >>> model = musegen.load("chorale")
        >>> (piece,) = model.pieces(model.sample(1, n_steps=8))
        >>> piece.save("hymn.mid").name
        'hymn.mid'
        """
        return self.domain.written_with(options).pieces(x)

    def write(self, x: Tensor, folder: str | Path, names: Sequence[str] | None = None, **options: Any) -> list[Path]:
        """Write samples in the domain's native format; returns the files.

        Args:
            options: of the domain's ``Writing``; ``--help`` shows those of a model.

        Raises:
            BadInput: there is no such option, a value is invalid, or the folder cannot be written.

        >>> import musegen
        >>> model = musegen.load("chorale")
        >>> [path.name for path in model.write(model.sample(1, n_steps=8), "hymns", ["first"], programs={"Soprano": "Flute"})]
        ['first.mid']
        """
        folder, pieces = Path(folder), self.pieces(x, **options)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"The folder {folder} cannot be written: {error.strerror}.") from None
        return piece.save(pieces, folder, names or [f"sample_{i:03d}" for i in range(len(x))])

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
