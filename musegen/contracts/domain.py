"""The Domain contract: what a plugin supplies for one kind of data.

A domain says what a sample is, how likely one is given a decoder's output, which networks suit it, and how real files
become samples and samples files. It imports no family and touches no optimiser: one encoder and one decoder serve
every family, which adds its own heads.

The whole contract stands in this file, so that the author of a plugin reads one; hence its length.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from musegen.contracts.asked import Asked, Section
from musegen.contracts.dataset import Dataset
from musegen.contracts.piece import Joining, Piece, Writer, tiled
from musegen.contracts.survey import Survey
from musegen.errors import BadInput
from musegen.networks.layers import GivenDecoder
from musegen.options import NoOptions, validate
from musegen.probability.likelihood import Likelihood
from musegen.walking import walk

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "Autoregressive",
    "Auxiliary",
    "Data",
    "Decoder",
    "Discriminator",
    "Domain",
    "Encoder",
    "Keep",
    "Labelled",
    "Spec",
    "Target",
    "Wanted",
    "check_held",
]

Norm = Literal["batch", "spectral", "none"]
Keep = Literal["all", "none", "given", "given only"]
AutoregressiveKind = Literal["pixelcnn", "gated", "row-lstm", "diagonal-bilstm"]


@dataclass(frozen=True)
class Spec:
    """What a sample is.

    Args:
        shape: of one sample, S.
        axes: a name per axis, with its unit.
        likelihood: p(x|z) given a decoder's output.
        classes: names of the class labels; empty if there are none.
        given: cells that may be given as a condition, as slabs (axis, first, last + 1): tracks, a first bar, a half.
        bar: rows of a sample that unfolds in time, from its first row on, after which the metre repeats; 0: it has none.
        octave: columns after which columns of one class return, as notes of one name do; 0: there are no such classes.
        parts: how many channels each part has, as each track of a piece, if any part may be given at any rows; empty: what
            ``given`` says is given.
        plan: channels, the first ones, that say what the others will be, as chords do of notes: of each row they come first.
        strengths: further channels of each part, a plan aside, the last ones of a sample. They say how strong the cells of the
            part's last channel are that are on, as notes that begin are loud: at strength k the first k are on; 0: none.
        short_bars: bars may have fewer rows than ``bar``; those that one lacks are marked, see ``musegen.contracts.missing``.

    >>> from musegen.contracts.domain import Spec
    >>> from musegen.probability.likelihood import Bernoulli
    >>> spec = Spec((1, 16, 9), ("bar", "sixteenth", "drum"), Bernoulli(), given=((2, 0, 1),), bar=16)
    >>> spec.params_shape
    (1, 16, 9)
    >>> int(spec.given_mask().sum())  # the first drum is given
    16
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    likelihood: Likelihood
    classes: tuple[str, ...] = ()
    given: tuple[tuple[int, int, int], ...] = ()
    bar: int = 0
    octave: int = 0
    parts: tuple[int, ...] = ()
    plan: int = 0
    strengths: int = 0
    short_bars: bool = False

    @property
    def n_strengths(self) -> int:
        """Channels of strengths, the last ones."""
        return self.strengths * (len(self.parts) - bool(self.plan))

    @property
    def part_of(self) -> list[int]:
        """Which part each channel is of.

        >>> from musegen.contracts.domain import Spec
        >>> from musegen.probability.likelihood import Bernoulli
        >>> axes = ("channel", "row", "column")
        >>> Spec((7, 4, 3), axes, Bernoulli(), parts=(1, 2, 2), plan=1, strengths=1).part_of
        [0, 1, 1, 2, 2, 1, 2]
        """
        plain = [part for part, n in enumerate(self.parts) for _ in range(n)]
        return plain + [part for part in range(bool(self.plan), len(self.parts)) for _ in range(self.strengths)]

    @property
    def params_shape(self) -> tuple[int, ...]:
        """Shape of a decoder's output for one sample."""
        return self.likelihood.params_shape(self.shape)

    def given_mask(self) -> Tensor:
        """True for the cells that are given, bool ``(*S)``."""
        mask = torch.zeros(self.shape, dtype=torch.bool)
        for axis, first, last in self.given:
            mask.narrow(axis, first, last - first).fill_(True)
        return mask


@dataclass(frozen=True)
class Encoder:
    """Wanted: x ``(B, *S)`` → features ``(B, F)``; the module has an attribute ``n_features`` F."""


@dataclass(frozen=True)
class Decoder:
    """Wanted: code ``(B, n_code)`` → likelihood parameters ``(B, *params_shape)``.

    Args:
        n_code: length of the code.
        n_classes: above 0, the module takes a label ``(B,)`` as well, and its batch normalisation is conditional on it.
        given: the module takes what is given (see ``Spec.given``) as well, as ``given=x ⊙ m`` ``(B, *S)``, zero elsewhere.
    """

    n_code: int
    n_classes: int = 0
    given: bool = False


@dataclass(frozen=True)
class Discriminator:
    """Wanted: x ``(B, *S)`` → (features ``(B, F)``, logit ``(B,)``); it has an attribute ``n_features`` F.

    Args:
        norm: ``batch`` normalisation, ``spectral`` normalisation of every layer, or ``none``. A gradient penalty
            is defined per example and therefore excludes ``batch`` (Gulrajani et al. 2017, section 4).

    A module that is several critics, each of an equal part of x along its first axis, has an attribute ``critics``, their number.
    Its logit is the sum of theirs, and a gradient penalty is taken of each.
    """

    norm: Norm = "batch"


@dataclass(frozen=True)
class Autoregressive:
    """Wanted: x ``(B, *S)`` → likelihood parameters ``(B, *params_shape)`` of each cell given the earlier ones.

    The module also takes a condition ``(B, n_condition)``, and has the method ``draw`` of
    ``musegen.networks.autoregressive.AutoregressiveGrid``, which suits every sample with axes (channel, row, column). The domain
    decides what is earlier: what unfolds in time should have time for rows, so that its beginning can be continued.

    Args:
        kind: of network, see ``musegen.networks.autoregressive``.
        channels: feature maps per layer; more where the network's masks need it.
        layers: after the first convolution.
        n_condition: length of the condition vector; ``gated`` alone takes one.
        location: with learned biases per row and column.
    """

    kind: AutoregressiveKind = "gated"
    channels: int = 32
    layers: int = 5
    n_condition: int = 0
    location: bool = False


Wanted = Encoder | Decoder | Discriminator | Autoregressive


@dataclass(frozen=True)
class Labelled:
    """Wanted beside each batch: labelled examples from a fixed subset of the training data, balanced over classes.

    Args:
        n: size of the subset.
    """

    n: int


@dataclass(frozen=True)
class Target:
    """Wanted beside each batch: examples of the domain's second data set, without their labels.

    In validation the labels are there, to report an error, never to choose a checkpoint by.
    """


Auxiliary = Labelled | Target


@dataclass(frozen=True)
class Data:
    """A data set as a domain opened it.

    Args:
        splits: ``train``, ``valid``, ``test``; a split may be missing. A second data set, for domain adaptation, is
            ``target``, ``target_valid``, ``target_test``.
        fingerprint: SHA-256 over the content: a resumed run refuses other data.
        description: one line for people.
        skipped: files left out, and why.
        remarks: what a user should know of how the data were taken, a sentence each without a full stop.
        classes: names of the classes of data that a program handed over, see ``Domain.hold``.
    """

    splits: Mapping[str, Dataset]
    fingerprint: str
    description: str
    skipped: Sequence[tuple[str, str]] = field(default=())
    remarks: Sequence[str] = field(default=())
    classes: Sequence[str] = field(default=())


class Domain(ABC):
    """One kind of data.

    ``cls(config)`` is enough to build networks and to write samples, so a trained model needs no data; ``open`` also
    reads data, and fills in those options that data decide (tracks, sizes).

    Attributes:
        name, summary: identifier and one line.
        suffixes: how names of files end that it reads, in lower case: ``.png``.
        Config: what a sample is and which networks suit it, a frozen dataclass of ``option`` fields. Those that ``open`` finds in
            the data where nobody sets them say so, ``option(…, of_data=True)``: a run that begins with another model's weights then
            finds its own, and does not take that model's.
        Writing: how samples become pieces and files, another one; its options may be set after training.
        Reading: a base of Config, if there are options of how a user's file is read; they, too, may be set after training.
        Asking: what may be asked of samples before they are drawn, of models that take it (``Family.fill``).
        config, writing: instances of Config and Writing.

    >>> from musegen_image.domain import ImageConfig, ImageDomain
    >>> domain = ImageDomain(ImageConfig(size=8))
    >>> data = domain.synthetic(16)
    >>> {split: len(dataset) for split, dataset in data.splits.items()}
    {'train': 16, 'valid': 4, 'test': 4}
    >>> example = data.splits["train"].x[:1] / 255
    >>> domain.pieces(example)[0].save("one.png").name
    'one.png'
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    Config: ClassVar[type]
    Reading: ClassVar[type] = NoOptions
    Writing: ClassVar[type] = NoOptions
    Asking: ClassVar[type] = NoOptions

    def __init__(self, config: Any, writing: Any = None) -> None:
        self.config = config
        self.writing = self.Writing() if writing is None else writing

    @classmethod
    @abstractmethod
    def open(cls, config: Any, source: Path | None, cache: Path) -> tuple[Self, Data]:
        """Read ``source`` (None: the data that ship with musegen).

        Args:
            config: its ``Config``, as the user set it.
            source: a file or folder.
            cache: a folder of the run for whatever is worth keeping, such as a packed store; may not exist yet.

        Returns:
            The domain with a complete config, and its data on the CPU.

        Raises:
            BadInput: what, where, what to do.
        """

    @classmethod
    def hold(cls, config: Any, data: Data) -> tuple[Self, Data]:
        """What ``open`` does, for data that a program handed over in memory: ``musegen.train(…, data=tensor)``.

        The default takes examples as they are, which must be samples of the domain. A domain that finds options in data, or changes
        cells, has its own.

        Args:
            data: examples as they were handed over, with the names of their classes.

        Raises:
            BadInput: they are no samples of the domain, with the shapes.
        """
        if data.classes and any(f.name == "classes" for f in fields(cls.Config)):
            config = replace(config, classes=list(data.classes))
        domain = cls(config)
        check_held(domain, data)
        return domain, data

    @classmethod
    def count_files(cls, source: Path) -> int:
        """How many files at ``source``, a file or a folder, look like this domain's."""
        if not cls.suffixes:
            return 0
        return len(walk(source, cls.suffixes)[0]) if source.is_dir() else source.name.lower().endswith(cls.suffixes)

    @classmethod
    def survey(cls, config: Any, source: Path | None, cache: Path) -> Survey:
        """What the domain understands of ``source``, and what it leaves out; arguments as of ``open``.

        Raises:
            BadInput: what, where, what to do.
        """
        domain, data = cls.open(config, source, cache)
        shape, axes = domain.spec.shape, domain.spec.axes
        facts: dict[str, Any] = {
            "data": data.description,
            "sample": ", ".join(f"{n} × {axis}" for n, axis in zip(shape, axes, strict=True)),
            **{f"{split}_examples": len(dataset) for split, dataset in data.splits.items()},
            "sha256": data.fingerprint,
        }
        tables = {}
        if domain.spec.classes:
            tables["classes"] = [
                {"class": name, **{split: d.count(i) for split, d in data.splits.items()}}
                for i, name in enumerate(domain.spec.classes)
            ]
        return Survey(facts, tables, data.skipped, data.remarks, domain.config)

    @property
    @abstractmethod
    def spec(self) -> Spec: ...

    def network(self, wanted: Wanted) -> nn.Module:
        """Build what a family asked for."""
        match wanted:
            case Encoder():
                return self.encoder(wanted)
            case Decoder():
                return self.given_decoder(wanted) if wanted.given else self.decoder(wanted)
            case Discriminator():
                return self.discriminator(wanted)
            case Autoregressive():
                return self.autoregressive(wanted)

    @abstractmethod
    def encoder(self, wanted: Encoder) -> nn.Module: ...

    @abstractmethod
    def decoder(self, wanted: Decoder) -> nn.Module: ...

    def given_decoder(self, wanted: Decoder) -> nn.Module:
        """A decoder that also takes what is given: features of the domain's encoder join the code, unless a domain knows better."""
        plain = replace(wanted, n_code=2 * wanted.n_code, given=False)
        return GivenDecoder(self.encoder(Encoder()), self.decoder(plain), wanted.n_code)

    @abstractmethod
    def discriminator(self, wanted: Discriminator) -> nn.Module: ...

    def autoregressive(self, wanted: Autoregressive) -> nn.Module:
        raise TypeError(f"the domain {self.name!r} has no autoregressive networks")

    @abstractmethod
    def read(self, path: Path) -> Tensor:
        """A user's file as samples ``(n, *S)``, n ≥ 1: a long piece gives several.

        Raises:
            BadInput: what, where, what to do.
        """

    def read_whole(self, *paths: Path) -> tuple[Tensor, Writer]:
        """m files of a user, whole, as n samples each that follow each other; shorter files are filled up with silence.

        The default takes the samples that ``read`` gives, zeros for silence, and ``Joining`` for a writer.

        Returns:
            samples ``(m, n, *S)``; a writer, which makes one piece of n samples where pieces can follow each other.

        Raises:
            BadInput: what, where, what to do.
        """
        parts = [self.read(path) for path in paths]
        whole = parts[0].new_zeros(len(parts), max(map(len, parts)), *parts[0].shape[1:])
        for row, part in zip(whole, parts, strict=True):
            row[: len(part)] = part
        return whole, Joining(self)

    def read_given(self, path: Path, keep: Keep, given: Sequence[str] | None = None) -> tuple[Tensor, Writer]:
        """A user's file as one sample of any length, for those domains whose samples unfold in time (``Spec.bar``).

        Args:
            keep: what becomes of the file when samples are written: ``all``: they begin with it and go on where it ends;
                ``none``: the same, but only what follows is written; ``given``: what ``Spec.given`` names is the file's, and all
                else that it holds stays beside the samples; ``given only``: the same, without what samples take the place of.
            given: names of parts, in the place of those that ``Spec.given`` names.

        Returns:
            The file in the model's terms ``(C, rows, W)``, whole bars; and a writer, which keeps the file's content as it is and
            puts that of samples beside it.

        Raises:
            BadInput: what, where, what to do.
        """
        raise BadInput(f'Samples of the domain "{self.name}" do not unfold in bars: this works for music.')

    def read_region(
        self, path: Path, parts: Sequence[str] | None = None, bars: tuple[int, int | None] = (1, None)
    ) -> tuple[Tensor, Tensor, Writer]:
        """A user's file as one sample of any length, of which a region is to be drawn anew.

        Args:
            parts: names of the parts that it is of, of ``part_names``; None: all.
            bars: its first and its last bar, from 1; None: the last of the piece.

        Returns:
            The file in the model's terms ``(C, rows, W)``; which channels are given at which rows, bool ``(C, rows)``: all but the
            region; and a writer, which puts what samples hold in the region in the place of what the file holds there, and keeps
            all else as it is.

        Raises:
            BadInput: what, where, what to do.
        """
        raise BadInput(f'Samples of the domain "{self.name}" do not unfold in bars: this works for music.')

    @property
    def part_names(self) -> list[str]:
        """Names of the parts of ``Spec.parts``."""
        return [f"part {i}" for i in range(len(self.spec.parts))]

    def asked(self, asking: Any, asked: Asked) -> Asked:
        """Samples of which a part may be given, with what is asked of the rest, an instance of ``Asking``.

        Raises:
            BadInput: something is asked that cannot be.
        """
        return asked

    def sections(self, asking: Any, n_rows: int) -> tuple[list[Section], float]:
        """Rows that are drawn together, one after the other, and the share of parts and bars of a section that returns which are
        drawn anew.

        Raises:
            BadInput: a form is asked for that so many rows cannot have.
        """
        return [Section(0, n_rows, None)], 0.0

    def ending(self, asking: Any, x: Tensor, asked: Asked) -> Asked | None:
        """How samples that were drawn ``(n, C, rows, W)`` are to be drawn anew towards their end; None: they stay."""
        return None

    def read_with(self, options: Mapping[str, Any]) -> Self:
        """The domain with other options of ``Reading``, by name; those that are not named stay as they are.

        Raises:
            BadInput: there is no such option, or a value is invalid.
        """
        checked: Any = validate(self.Reading, options, f'the domain "{self.name}"')
        return type(self)(replace(self.config, **{name: getattr(checked, name) for name in options}), self.writing)

    def written_with(self, options: Mapping[str, Any]) -> Self:
        """The domain with other options of ``Writing``, by name; those that are not named stay as they are.

        Raises:
            BadInput: there is no such option, or a value is invalid.
        """
        checked: Any = validate(self.Writing, options, f'the domain "{self.name}"')
        return type(self)(self.config, replace(self.writing, **{name: getattr(checked, name) for name in options}))

    def discretise(self, samples: Tensor) -> Tensor:
        """Samples ``(n, *S)``, any number of rows, as they are once they are written and read again: cells that are on or off, say,
        instead of probabilities."""
        return samples

    @abstractmethod
    def pieces(self, samples: Tensor) -> Sequence[Piece]:
        """Samples ``(n, *S)`` as pieces, which save, show and play themselves."""

    def sheet(self, pieces: Sequence[Any], columns: int | None = None) -> Image:
        """Pieces of this domain in one picture, row by row; about as many columns as rows if no number is given."""
        return tiled([piece.picture() for piece in pieces], columns or math.ceil(math.sqrt(len(pieces))))

    def calibrate(self, samples: Tensor, reference: Tensor) -> Any:
        """After training: the options of ``Writing`` that suit samples of the model.

        A threshold that turns probabilities into cells that are on, for example. Both ``(n, *S)``; the default changes nothing.
        """
        return self.writing

    @abstractmethod
    def metrics(self, samples: Tensor, reference: Tensor) -> dict[str, float]:
        """Figures that compare samples with reference data, both ``(n, *S)``.

        Names that are alike up to a last ``/`` form a row of the table that ``musegen evaluate`` prints:
        ``polyphony/Piano/overlap``. See ``musegen.evaluation.distributions`` for distances between distributions.
        """

    def copies(self, samples: Tensor, training: Dataset) -> dict[str, float]:
        """Figures of how much of samples ``(n, *S)`` stands in the training data; none by default."""
        return {}

    def baselines(self, training: Dataset, n: int, seed: int) -> dict[str, Tensor]:
        """What a model has to beat, by name: n samples ``(n, *S)`` each, made without a model; none by default.

        Args:
            training: the training data.
            seed: of what is drawn.
        """
        return {}

    @abstractmethod
    def synthetic(self, n: int, seed: int = 0) -> Data:
        """Made-up data with the spec's shape, for tests: n training examples, and some for validation and test."""


def check_held(domain: Domain, data: Data) -> None:
    """See that data that a program handed over are samples of a domain.

    Raises:
        BadInput: they have other shapes, values or classes.
    """
    spec, name = domain.spec, domain.name
    for split, dataset in data.splits.items():
        index = torch.arange(min(len(dataset), 64))
        x = dataset.gather(index, torch.Generator().manual_seed(0)).x
        if tuple(x.shape[1:]) != spec.shape:
            axes = ", ".join(spec.axes)
            raise BadInput(
                f'Examples of {split} have the shape {tuple(x.shape[1:])}, and samples of the domain "{name}" have {spec.shape} '
                f"({axes}) as configured: set its options so, give such examples, or train on the domain array, which "
                "takes any shape."
            )
        low, high = float(x.min()), float(x.max())
        if spec.likelihood.name != "gaussian" and not (low >= 0 and high <= 1):
            raise BadInput(
                f'Cells of {split} go from {low:g} to {high:g}, and those of the domain "{name}" from 0 to 1: scale them.'
            )
    if tuple(data.classes) != spec.classes and data.classes:
        raise BadInput(
            f'The labels are {", ".join(data.classes[:8])}, and the domain "{name}" has its own classes as configured: '
            "leave them out."
        )
