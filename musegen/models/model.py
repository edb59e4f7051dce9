"""A trained model, ready to use: family, domain and weights together.

``Model`` is the whole of what a user does with a trained model, one documented method each; hence the length of this file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from musegen.album.notebook import Pieces
from musegen.contracts import piece
from musegen.contracts.asked import Asked
from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Data, Domain, Keep
from musegen.contracts.family import Family, require
from musegen.contracts.missing import missing_rows
from musegen.data.batches import Batches
from musegen.engine.checkpoint import save_model_file
from musegen.engine.devices import choose_device
from musegen.engine.shared_state import in_float32, seeded
from musegen.errors import BadInput, because_of
from musegen.files import user_path
from musegen.models import filling, hub, unfolding
from musegen.models.labels import class_numbers
from musegen.models.reference import reference_data
from musegen.options import flat_options, split_options, validate
from musegen.plugins import needs, registry
from musegen.probability.any_number import AnyNumber
from musegen.probability.latent import slerp
from musegen.running.own import records

if TYPE_CHECKING:
    from musegen.contracts.piece import Writer
    from musegen.running.runs import Run

__all__ = ["CHUNK", "Model"]


CHUNK = 64
"""Examples that go through a network at a time."""


class Model:
    """A family with its weights, and the domain it was trained on. Everything here runs without gradients, and leaves the caller's
    random generators alone. Several threads may use a model: their calls take turns, and each gives what it gives alone.

    Options of ``family.Sampling`` say how samples are drawn, those of ``domain.Writing`` how they become files, those of
    ``domain.Reading`` how files are read. ``configure`` sets them for good; methods that draw or write take theirs for one call.

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
        asked = config.get("asking", {})
        self._asked: dict[str, Any] = dict(asked) if isinstance(asked, dict) else {}
        self._of_run = {name: value for name, value in config.items() if name.rpartition(".")[2] not in owned}

    def __repr__(self) -> str:
        shape, n = " × ".join(map(str, self.domain.spec.shape)), sum(p.numel() for p in self.family.parameters())
        where = "" if self.run is None else f", of {self.run.path}"
        return f"Model({self.family.name} on {self.domain.name}: {shape}, {n:,} parameters, on {self.family.device}{where})"

    def to(self, device: str | torch.device) -> Self:
        """The model itself, on another device from now on: auto, cpu, cuda, cuda:N or mps.

        Raises:
            BadInput: there is no such device.

        >>> import musegen
        >>> musegen.load("chorale").to("cpu").family.device
        device(type='cpu')
        """
        self.family.to(choose_device(str(device)))
        return self

    @property
    def config(self) -> dict[str, Any]:
        """Every option, flat, as in ``config.yaml``."""
        family, domain = self.family, self.domain
        own = {"family": family.config, "domain": domain.config, "sampling": family.sampling, "writing": domain.writing}
        return self._of_run | flat_options(own) | ({"asking": dict(self._asked)} if self._asked else {})

    @property
    def option_owners(self) -> dict[str, type]:
        """The sets of options that may be set after training: ``sampling``, ``reading``, ``writing``, and ``asking`` if the model
        may be given any part."""
        owners = {"sampling": self.family.Sampling, "reading": self.domain.Reading, "writing": self.domain.Writing}
        return owners | ({"asking": self.domain.Asking} if filling.can_fill(self.family) else {})

    def configure(self, **options: Any) -> None:
        """Set options of drawing (such as ``temperature``), of what is asked of samples (such as ``rules``), of reading and
        writing, until they are set again; ``save`` keeps them.

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
        if mine.get("asking"):
            self._asked |= mine["asking"]
            self._asking({})  # checked
        if mine["reading"]:
            self.domain = self.domain.read_with(mine["reading"])
        if mine["writing"]:
            self.domain = self.domain.written_with(mine["writing"])

    @contextlib.contextmanager
    def configured(self, **options: Any) -> Iterator[None]:
        """A scope in which options are set as by ``configure``, and after which they are what they were. One thread at a time.

        Raises:
            BadInput: there is no such option, or a value is invalid.

        >>> import musegen
        >>> model = musegen.load("band")
        >>> with model.configured(temperature=0.5):
        ...     inside = model.family.sampling.temperature
        >>> inside, model.family.sampling.temperature
        (0.5, 1.05)
        """
        before = self.family.sampling, self.domain, dict(self._asked)
        try:
            self.configure(**options)
            yield
        finally:
            self.family.sampling, self.domain, self._asked = before

    def _asking(self, options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Options of ``Sampling`` among these, and what is asked of samples, an instance of ``domain.Asking``; None: nothing."""
        owners = {"sampling": self.family.Sampling} | (
            {"asking": self.domain.Asking} if "asking" in self.option_owners else {}
        )
        mine = split_options(options, owners, f"The model ({self.family.name} on {self.domain.name})")
        values = self._asked | mine.get("asking", {})
        asking = validate(self.domain.Asking, values, f'the domain "{self.domain.name}"') if values else None
        return mine["sampling"], asking

    def _sampling(self, options: dict[str, Any]) -> Any:
        checked = validate(self.family.Sampling, options, f'the family "{self.family.name}"')
        return replace(self.family.sampling, **{name: getattr(checked, name) for name in options})

    @contextlib.contextmanager
    def drawing(self, seed: int, options: dict[str, Any] | None = None) -> Iterator[None]:
        """A scope in which draws follow from the seed and these options of ``Sampling``.

        The caller's generators and the model's own options are left alone. Scopes of several threads take turns, because torch's
        generators and the model's options are there once for all of them.
        """
        with in_float32(), seeded(seed, self.family.device), torch.no_grad():
            before = self.family.sampling
            try:
                self.family.sampling = self._sampling(options or {})
                yield
            finally:
                self.family.sampling = before

    def _require(self, capability: str) -> None:
        require(self.family, capability, registry().working_families())

    def sample(
        self,
        n: int,
        seed: int = 0,
        label: int | str | Sequence[int | str] | Tensor | None = None,
        given: Tensor | None = None,
        n_steps: int | None = None,
        **options: Any,
    ) -> Tensor:
        """n new samples ``(n, *S)`` on the CPU; the same seed gives the same samples on the same machine, more for a larger n.

        Args:
            label: a class for all samples, or one per sample: by name, or by number from 0 where no class has that name. A tensor
                holds numbers.
            given: a sample ``(*S)`` whose given part (see the domain's option ``given``) comes back in every sample, or
                one per sample ``(n, *S)``; with rnn_nade of any number of rows, and samples have as many.
            n_steps: rows of each sample, if not those it was trained with: ``(n, C, n_steps, W)``. More take a family that can
                continue.
            options: of the family's ``Sampling``: ``temperature=0.9``; and, of models that may be given any part, of the domain's
                ``Asking``: ``chords="Am F C G"``.

        Raises:
            BadInput: the family cannot sample, takes no such condition or option, or cannot make samples so long.

        >>> import musegen
        >>> musegen.load("chorale").sample(2, seed=0, n_steps=8, temperature=0.9).shape  # a bar of eighths, four voices
        torch.Size([2, 10, 8, 60])
        """
        self._require("sample")
        labels = self._labels(label, n)
        options, asking = self._asking(options)
        if asking is not None and given is None:
            shape = self.domain.spec.shape
            asked = Asked.nothing(n, shape, n_steps or shape[1])
            with self.drawing(seed, options), AnyNumber():
                return filling.filled(self.family, self.domain, asked, asking, labels)
        if n_steps is not None and n_steps != self.domain.spec.shape[1]:
            if given is not None:
                raise BadInput("A given part and another length do not go together: continue or accompany instead.")
            if n_steps > self.domain.spec.shape[1]:
                unfolding.require_continue(self.family, self.domain)
            with self.drawing(seed, options), AnyNumber():
                return unfolding.samples(self.family, self.domain, n, n_steps, seed, labels)
        if given is not None:
            if filling.can_fill(self.family):
                raise BadInput(
                    "This model may be given any part: use fill, with a mask of what is given, or accompany."
                )
            unfolding.require_given(self.family, self.domain)
        with self.drawing(seed, options), AnyNumber():
            return self.family.sample(n, label=labels, given=given).float().cpu()

    def continue_(
        self,
        past: Tensor,
        n_steps: int,
        n: int = 1,
        seed: int = 0,
        label: int | str | Sequence[int | str] | Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """n ways in which a past goes on: the ``n_steps`` rows that follow, ``(n, C, n_steps, W)``.

        Args:
            past: ``(C, rows, W)``, any number of rows: more or fewer than a sample has. It begins with a bar.
            label: a class for all, or one per continuation, as for ``sample``.
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
        (torch.Size([10, 88, 60]), torch.Size([2, 10, 8, 60]))
        """
        unfolding.require_continue(self.family, self.domain)
        unfolding.check_past(self.family, self.domain, past, n_steps)
        labels = self._labels(label, n)
        options, asking = self._asking(options)
        if self.domain.spec.short_bars and asking is None and missing_rows(past).any():
            asking = self.domain.Asking()  # new bars are as long as the last ones
        if asking is not None:
            known = past[:, -(filling.PAST_BARS * self.domain.spec.bar) :].float().cpu()
            cells, given = unfolding.padded(known, known.shape[1] + n_steps), torch.arange(known.shape[1] + n_steps)
            mask = (given < known.shape[1]).expand(len(known), -1)
            return self._fill(cells, mask, n, seed, labels, options, asking)[:, :, known.shape[1] :]
        many = self._taken(past)[None].expand(n, -1, -1, -1)
        with self.drawing(seed, options), AnyNumber():
            return unfolding.continuations(self.family, self.domain, many, n_steps, labels)

    def accompany(
        self, given: Tensor, n: int = 1, seed: int = 0, tracks: Sequence[str] | None = None, **options: Any
    ) -> Tensor:
        """n samples around the given part of a piece of any length, ``(C, rows, W)`` → ``(n, C, rows, W)``.

        A family that is given grids of any length sees the whole piece. Others accompany it window by window, and take the rest of
        the last window for silence.

        Args:
            tracks: those that are given, of a model that may be given any; None: those that have notes.
            options: of the family's ``Sampling``.

        Raises:
            BadInput: the model was not trained to be given parts that last as long as a sample, such as tracks.

        >>> import musegen
        >>> from musegen.data.bundled import bundled
        >>> model = musegen.load("chorale")
        >>> hymn, writer = model.read_given(bundled("chorales") / "bwv253.mid", "given", ["Soprano"])
        >>> model.accompany(hymn[:, :32], 2, tracks=["Soprano"]).shape  # four bars: the soprano as it was, and new voices
        torch.Size([2, 10, 32, 60])
        """
        if filling.can_fill(self.family):
            mask = filling.given_parts(self.domain, tracks or self.sounding_parts(given), given.shape[1])
            return self.fill(given, mask, n, seed, **options)
        unfolding.require_given_tracks(self.family, self.domain)
        with self.drawing(seed, options), AnyNumber():
            return unfolding.accompaniments(self.family, self.domain, given, n, CHUNK)

    def sounding_parts(self, x: Tensor) -> list[str]:
        """Parts of a sample ``(C, rows, W)`` that have cells on, a plan aside."""
        spec, names = self.domain.spec, self.domain.part_names
        parts = x[: sum(spec.parts)].split(list(spec.parts))
        first = 1 if spec.plan else 0
        return [name for name, part in list(zip(names, parts, strict=True))[first:] if part.any()]

    def fill(
        self,
        x: Tensor,
        mask: Tensor,
        n: int = 1,
        seed: int = 0,
        label: int | str | Sequence[int | str] | Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """n samples in which everything that is not given is drawn anew, ``(n, C, rows, W)``.

        Args:
            x: a sample of any length ``(C, rows, W)``; what it holds where nothing is given does not matter.
            mask: which channels are given at which rows, bool ``(C, rows)``.
            options: of the family's ``Sampling`` and of the domain's ``Asking``.

        Raises:
            BadInput: the model was not trained to be given any part, or takes no such option.
        """
        filling.require_fill(self.family)
        options, asking = self._asking(options)
        return self._fill(x, mask, n, seed, self._labels(label, n), options, asking)

    def _fill(
        self, x: Tensor, mask: Tensor, n: int, seed: int, labels: Tensor | None, options: dict[str, Any], asking: Any
    ) -> Tensor:
        asked = Asked(x.float().cpu().expand(n, *x.shape).clone(), mask.cpu().expand(n, *mask.shape).clone())
        with self.drawing(seed, options), AnyNumber():
            return filling.filled(self.family, self.domain, asked, asking, labels)

    def likeliest(self, x: Tensor, k: int, mask: Tensor | None = None) -> Tensor:
        """The k of n samples ``(n, C, rows, W)`` that the model finds most probable for the cells that are on, ``(k, …)``.

        Args:
            mask: what was given, bool ``(C, rows)``; None: nothing.

        Raises:
            BadInput: the model was not trained to be given any part.
        """
        filling.require_fill(self.family)
        known = torch.zeros(x.shape[1:3], dtype=torch.bool) if mask is None else mask
        with self.drawing(0):
            return x[filling.likeliest(self.family, x, known.expand(len(x), -1, -1), k)]

    def _labels(self, label: int | str | Sequence[int | str] | Tensor | None, n: int) -> Tensor | None:
        """Class numbers ``(n,)``; None for none."""
        if label is None:
            return None
        self._require("condition")
        own = getattr(self.family.config, "n_classes", None)  # InfoGAN finds its own, which have no names
        classes = self.domain.spec.classes if own is None else ()
        return class_numbers(label, n, classes, len(classes) if own is None else own).to(self.family.device)

    def _taken(self, x: Tensor) -> Tensor:
        """A user's tensor as the networks take it."""
        return x.to(self.family.device, torch.float32)

    def _in_chunks(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """What a function of the family makes of ``x`` ``(n, …)``, however many there are, on the CPU."""
        with self.drawing(0):
            return torch.cat([function(self._taken(part)).float().cpu() for part in x.split(CHUNK)])

    def encode(self, x: Tensor) -> Tensor:
        """Codes ``(n, latent)`` of samples ``(n, *S)``.

        Raises:
            BadInput: the family has no encoder.
        """
        self._require("encode")
        return self._in_chunks(self.family.encode, x)

    def decode(self, z: Tensor) -> Tensor:
        """Samples ``(n, *S)`` of codes ``(n, latent)``.

        Raises:
            BadInput: the family has no decoder of codes.
        """
        self._require("decode")
        return self._in_chunks(self.family.decode, z)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Samples through their codes and back, ``(n, *S)``.

        Raises:
            BadInput: the family cannot reconstruct.
        """
        self._require("reconstruct")
        return self._in_chunks(self.family.reconstruct, x)

    def interpolate(self, a: Tensor | int, b: Tensor | int, steps: int = 8, spherical: bool = False) -> Tensor:
        """From a to b in equal steps of the code: ``(steps, *S)``.

        Args:
            a, b: samples ``(*S)``, whose reconstructions the ends are; or seeds, for the code of ``sample(1, seed)``.

        Raises:
            BadInput: the family has no codes.
        """
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            z_a, z_b = self.encode(torch.stack([a, b]))
        else:
            z_a, z_b = (
                self.encode(end[None])[0] if isinstance(end, Tensor) else self._drawn_code(end) for end in (a, b)
            )
        t = torch.linspace(0, 1, steps, dtype=z_a.dtype)
        z = slerp(z_a, z_b, t) if spherical else torch.lerp(z_a, z_b, t[:, None])
        return self.decode(z)

    def _drawn_code(self, seed: int) -> Tensor:
        """The code of ``sample(1, seed)``, ``(latent,)``."""
        return self.draw_codes(1, seed)[0]

    def draw_codes(self, n: int, seed: int = 0) -> Tensor:
        """The codes of ``sample(n, seed)``, z ~ P(z), ``(n, latent)``.

        Raises:
            BadInput: the family draws none.
        """
        self._require("sample")
        self._require("decode")
        if type(self.family).draw_codes is Family.draw_codes:
            raise BadInput(f'The family "{self.family.name}" draws no code that a seed stands for: give samples.')
        with self.drawing(seed), AnyNumber():
            return self.family.draw_codes(n).float().cpu()

    def log_prob(self, x: Tensor, n_samples: int = 1, seed: int = 0) -> Tensor:
        """log p(x) in nats ``(n,)``, exact or a bound from ``n_samples`` draws per example.

        Raises:
            BadInput: the family has none.
        """
        self._require("log_prob")
        with self.drawing(seed):
            return (
                torch.cat([self.family.log_prob(self._taken(part), n_samples) for part in x.split(CHUNK)]).float().cpu()
            )

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

    @in_float32()
    def examples(self, n: int, split: str = "valid", source: Any = None) -> Batch | None:
        """n examples, evenly spread over a split of the run's data, or of those at ``source``, with labels if there are any.

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

    @in_float32()
    def data(self, source: Any = None) -> Data | None:
        """The data that the run was trained on, or those at ``source``; None for a model file that is told none.

        Args:
            source: a file or folder, or ``bundled``: the data that ship with musegen; or data in memory, as for ``musegen.train``.

        Raises:
            BadInput: the data are gone or unsuitable.
        """
        return reference_data(self.domain, self.run, source)

    @in_float32()
    def read(self, path: str | Path) -> Tensor:
        """A file as samples ``(n, *S)``.

        Raises:
            BadInput: what, where, what to do.
        """
        return self.domain.read(_file(path))

    @in_float32()
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

    @in_float32()
    def read_given(
        self, path: str | Path, keep: Keep = "all", given: Sequence[str] | None = None
    ) -> tuple[Tensor, Writer]:
        """A file as one sample of any length ``(C, rows, W)``, and what writes samples beside it; see ``Domain.read_given``.

        Raises:
            BadInput: what, where, what to do.
        """
        return self.domain.read_given(_file(path), keep, given)

    @in_float32()
    def read_region(
        self, path: str | Path, parts: Sequence[str] | None = None, bars: tuple[int, int | None] = (1, None)
    ) -> tuple[Tensor, Tensor, Writer]:
        """A file as one sample, the mask of all but a region of it, and what writes samples in that region; see
        ``Domain.read_region``.

        Raises:
            BadInput: what, where, what to do.
        """
        filling.require_fill(self.family)
        return self.domain.read_region(_file(path), parts, bars)

    def around(
        self,
        path: str | Path,
        n: int = 1,
        seed: int = 0,
        label: int | str | Sequence[int] | None = None,
        **options: Any,
    ) -> tuple[Tensor, Writer]:
        """n samples around the given part of a file (see the domain's option ``given``), and what writes them.

        Of music that part is the given tracks at its beginning, or its last bars, which samples go on from. The file stays as it
        is: samples are written beside it, or after its end.

        Args:
            options: of the family's ``Sampling``.

        Raises:
            BadInput: what, where, what to do.
        """
        if filling.can_fill(self.family):
            sounding = self.sounding_parts(self.read_given(path, "all")[0])
            whole, writer = self.read_given(path, "given", sounding)
            return self.accompany(whole, n, seed, sounding, **options), writer
        unfolding.require_given(self.family, self.domain)
        if not self.domain.spec.bar:
            return self.sample(n, seed, label, self.read(path)[0], **options), self.domain
        known, rows = unfolding.rows_given(self.family, self.domain), self.domain.spec.shape[1]
        whole, writer = self.read_given(path, "all" if known else "given")
        if not known:
            return self.sample(n, seed, label, unfolding.padded(whole[:, :rows], rows), **options), writer
        unfolding.check_past(self.family, self.domain, whole, rows - known)
        window = unfolding.padded(whole[:, -known:], rows)
        new = self.sample(n, seed, label, window, **options)[:, :, known:]
        return torch.cat([whole.expand(n, *whole.shape), new], 2), writer

    @in_float32()
    def pieces(self, x: Tensor, **options: Any) -> Pieces:
        """Samples ``(n, *S)`` as pieces, which save, show and play themselves; a notebook shows the list of them, too.

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
        return Pieces(self.domain.written_with(options).pieces(x))

    @in_float32()
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
        folder, pieces = user_path(folder), self.pieces(x, **options)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise because_of(error, f"The folder {folder} cannot be written: {error.strerror}.") from None
        return piece.save(pieces, folder, names or [f"sample_{i:03d}" for i in range(len(x))])

    def save(self, path: str | Path, half: bool = False) -> None:
        """Write the model as one file, which ``load`` reads anywhere.

        Args:
            half: weights in half precision, in half the space.

        Raises:
            BadInput: the place cannot be written to.
        """
        needed, config = needs(self.family.name, self.domain.name), {**self.config, "data": None}
        needed += records(type(self.family), type(self.domain))
        for need in needed:  # folders are the user's own affair, and the file may go anywhere
            need["file"] = Path(need.get("file", "")).name
        if config.get("init") is not None:
            config["init"] = Path(config["init"]).name
        save_model_file(user_path(path), self.family.state_dict(), config, needed, half)

    def push_to_hub(
        self, repository: str, *, private: bool = False, half: bool = False, message: str = "", licence: str = ""
    ) -> str:
        """Put the model on the Hugging Face Hub, as a safetensors file with a card (``musegen.models.hub.card``); returns its
        address, which ``load`` and every command take: ``hf://owner/name``.

        The extra ``musegen[hub]`` does it, for whom ``hf auth login`` knows.

        Args:
            repository: owner/name; made if it is not there.
            licence: for the card, an identifier such as ``mit``.
            half, message: of the weights, as for ``save``; of the commit.

        Raises:
            BadInput: the extra is not installed, or the hub refuses.
        """
        return hub.push(self, repository, private=private, half=half, message=message, licence=licence)


def _file(path: str | Path) -> Path:
    path = user_path(path)
    if not path.is_file():
        raise BadInput(f"The file {path} does not exist." if not path.exists() else f"{path} is no file.")
    return path
