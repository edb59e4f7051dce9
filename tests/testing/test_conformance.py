"""The conformance checks pass what is right, and each catches what it is for, and nothing else does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from toy import ToyConfig, ToyDomain, ToyPiece

from musegen.contracts.dataset import Batch, Dataset, generator_for
from musegen.contracts.domain import Autoregressive, Data, Decoder, Discriminator, Domain, Encoder, Spec
from musegen.data.arrays import ArrayDataset
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator
from musegen.options import NoOptions, option
from musegen.plugins import registry
from musegen.probability.likelihood import Bernoulli
from musegen.testing import checks, conformance


class SoundingPiece(ToyPiece):
    def audio(self) -> tuple[Any, int] | None:
        return 0.5 * np.ones((1, 8), np.float32), 8000


@dataclass(frozen=True)
class Loudness:
    loudness: float = option(0.5, "of what is written", ge=0, le=1)


@dataclass(frozen=True)
class Care:
    care: int = option(1, "with which files are read", ge=1)


@dataclass(frozen=True)
class CarefulConfig(ToyConfig, Care):
    pass


CONFIG = CarefulConfig(given=True, target=True)


class Sounding(ToyDomain):
    """The toy domain, with sound, and with options of reading and writing."""

    Config, Reading, Writing = CarefulConfig, Care, Loudness
    piece: type[ToyPiece] = SoundingPiece

    def pieces(self, samples: Tensor) -> list[ToyPiece]:
        return [self.piece(x) for x in samples]


# Broken domains, each in one way. The name before the colon is the check that has to find it.
BROKEN: dict[str, type[Domain]] = {}


def broken(fault: str) -> Callable[[type[Domain]], type[Domain]]:
    def add(domain: type[Domain]) -> type[Domain]:
        BROKEN[fault] = domain
        return domain

    return add


@broken("options: no meaning")
class NoMeaning(Sounding):
    @dataclass(frozen=True)
    class Config(CarefulConfig):
        extra: int = 3

    def __init__(self, config: Any, writing: Any = None) -> None:
        super().__init__(self.Config(**vars(config)), writing)


@broken("options: not frozen")
class NotFrozen(Sounding):
    Reading = NoOptions

    @dataclass(unsafe_hash=True)
    class Config:
        widths: tuple[int, ...] = (32,)

    def __init__(self, config: Any, writing: Any = None) -> None:
        super().__init__(CONFIG, writing)
        self.Config = type(CONFIG)  # type: ignore[misc]


@broken("options: name of two lines")
class TwoLines(Sounding):
    summary = "4 × 4 pictures\nfor tests"


@broken("spec: an axis without a name")
class Nameless(Sounding):
    @property
    def spec(self) -> Spec:
        return replace(super().spec, axes=("row", "column"))


@broken("spec: given outside")
class GivenOutside(Sounding):
    @property
    def spec(self) -> Spec:
        return replace(super().spec, given=((1, 0, 5),))


class Doubled(Bernoulli):
    def cell_log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return 2 * super().cell_log_prob(params, x)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return self.cell_log_prob(params, x).flatten(1).sum(1)


class WrongMean(Bernoulli):
    def mean(self, params: Tensor) -> Tensor:
        return 0.5 * params.sigmoid()


class HardMean(Bernoulli):
    def sample(self, params: Tensor, temperature: float = 1.0) -> Tensor:
        return (params > 0).to(params.dtype)

    def cell_log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return torch.where(self.sample(params) == x, 0.0, -1e9)

    def mean(self, params: Tensor) -> Tensor:
        return self.sample(params)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return self.cell_log_prob(params, x).flatten(1).sum(1)


def _with_likelihood(likelihood: Bernoulli) -> type[Domain]:
    class Other(Sounding):
        @property
        def spec(self) -> Spec:
            return replace(super().spec, likelihood=likelihood)

    return Other


BROKEN["likelihood: not normalised"] = _with_likelihood(Doubled())
BROKEN["likelihood: another mean than its draws"] = _with_likelihood(WrongMean())
BROKEN["likelihood: no gradient"] = _with_likelihood(HardMean())


class Changed(Sounding):
    """Synthetic data, changed."""

    def change(self, data: Data) -> Data:
        raise NotImplementedError

    def synthetic(self, n: int, seed: int = 0) -> Data:
        return self.change(super().synthetic(n, seed))


def of_train(data: Data, kind: type[ArrayDataset] = ArrayDataset, **changes: Any) -> Data:
    train = data.splits["train"]
    assert isinstance(train, ArrayDataset)
    fields = {"x": train.x, "label": train.label, "transform": train.transform, "scale": train.scale} | changes
    return replace(data, splits={**data.splits, "train": kind(**fields)})


@broken("synthetic: out of range")
class OutOfRange(Changed):
    def change(self, data: Data) -> Data:
        return of_train(data, scale=1 / 255)


@broken("synthetic: one axis too few")
class Flat(Changed):
    def change(self, data: Data) -> Data:
        return of_train(data, x=data.splits["train"].x[:, 0])  # type: ignore[attr-defined]


@broken("synthetic: double precision")
class Double(Changed):
    def change(self, data: Data) -> Data:
        return of_train(data, dtype=torch.float64)


@broken("synthetic: labels from 1")
class LabelsFromOne(Changed):
    def change(self, data: Data) -> Data:
        return of_train(data, label=data.splits["train"].label + 1)  # type: ignore[operator]


@broken("synthetic: no test split")
class NoTest(Changed):
    def change(self, data: Data) -> Data:
        return replace(data, splits={name: split for name, split in data.splits.items() if name != "test"})


@broken("seed: ignored")
class SeedIgnored(Sounding):
    def synthetic(self, n: int, seed: int = 0) -> Data:
        return super().synthetic(n, 0)


@broken("seed: chance in a batch")
class Chance(Changed):
    def change(self, data: Data) -> Data:
        return of_train(data, transform=lambda x, generator: (x + (torch.rand_like(x) < 0.1)).clamp(0, 1))


@broken("seed: one fingerprint for all")
class OneFingerprint(Changed):
    def change(self, data: Data) -> Data:
        return replace(data, fingerprint="toy")


@broken("synthetic: no data set of the contract")
class NoDataset(Changed):
    def change(self, data: Data) -> Data:
        class Alone:
            label = None

            def __len__(self) -> int:
                return len(data.splits["train"])

            def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
                return data.splits["train"].gather(index, generator)

        return replace(data, splits={**data.splits, "train": Alone()})


def _with_train(kind: type[ArrayDataset], **changes: Any) -> type[Domain]:
    class Other(Changed):
        def change(self, data: Data) -> Data:
            return of_train(data, kind, **changes)

    return Other


class Rolled(ArrayDataset):
    """Streams, and is one example out of step."""

    def placed(self, device: torch.device, memory: int | None = None, dtype: torch.dtype = torch.float32) -> Dataset:
        if memory is None:
            return super().placed(device, memory, dtype)
        return ArrayDataset(self.x.roll(1, 0), self.label, self.transform, self.scale).placed(device, memory, dtype)


class Unlabelled(ArrayDataset):
    def placed(self, device: torch.device, memory: int | None = None, dtype: torch.dtype = torch.float32) -> Dataset:
        label = self.label if memory is None else None
        return ArrayDataset(self.x, label, self.transform, self.scale).placed(device, memory, dtype)


class Repeating(ArrayDataset):
    def order(self, *key: int) -> Tensor:
        return torch.randint(len(self), (len(self),), generator=generator_for(torch.device("cpu"), *key))


class Counting(ArrayDataset):
    epochs = 0

    def order(self, *key: int) -> Tensor:
        self.epochs += 1
        return super().order(*key, self.epochs)


class Weightless(ArrayDataset):
    @property
    def n_bytes(self) -> int:
        return 0


class Moving(ArrayDataset):
    """``placed`` as a module's ``to``: in place."""

    def placed(self, device: torch.device, memory: int | None = None, dtype: torch.dtype = torch.float32) -> Dataset:
        if device.type == "cpu":
            return super().placed(device, memory, dtype)
        self.x = self.x.to(device)
        return self


class Settling(ArrayDataset):
    """``placed`` as a module's ``to``: with another type, in place."""

    def placed(self, device: torch.device, memory: int | None = None, dtype: torch.dtype = torch.float32) -> Dataset:
        self.dtype = dtype if self.binary else self.dtype
        return super().placed(device, memory, dtype)


BROKEN["streaming: out of step"] = _with_train(Rolled)
BROKEN["streaming: without labels"] = _with_train(Unlabelled)
BROKEN["order of an epoch: some examples twice"] = _with_train(Repeating)
BROKEN["order of an epoch: from a counter"] = _with_train(Counting)
BROKEN["types: greys that pass for binary"] = _with_train(ArrayDataset, scale=3, binary=True)
BROKEN["memory: not counted"] = _with_train(Weightless)
BROKEN["placing: moved in place"] = _with_train(Moving)
BROKEN["placing: typed in place"] = _with_train(Settling, binary=True)


@broken("metrics: infinite")
class Infinite(Sounding):
    def metrics(self, samples: Tensor, reference: Tensor) -> dict[str, float]:
        return {"ratio": float(samples.mean() / 0)}


@broken("metrics: a distance to itself")
class FarFromItself(Sounding):
    def metrics(self, samples: Tensor, reference: Tensor) -> dict[str, float]:
        return {"density/distance": float((samples.mean() - reference.mean()).abs()) + 0.1}


@broken("metrics: changes samples")
class ChangesSamples(Sounding):
    def metrics(self, samples: Tensor, reference: Tensor) -> dict[str, float]:
        return {"mean": float(samples.mul_(0.5).mean())}


@broken("baselines: too few")
class FewBaselines(Sounding):
    def baselines(self, training: Dataset, n: int, seed: int) -> dict[str, Tensor]:
        return {"zeros": torch.zeros(n - 1, *self.spec.shape)}


@broken("baselines: others each time")
class ChangingBaselines(Sounding):
    def baselines(self, training: Dataset, n: int, seed: int) -> dict[str, Tensor]:
        return {"noise": torch.rand(n, *self.spec.shape)}


@broken("calibration: no options of writing")
class NoWriting(Sounding):
    def calibrate(self, samples: Tensor, reference: Tensor) -> Any:
        return {"threshold": 0.5}


class Wrapped(nn.Module):
    """A network, and what is wrong with it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.n_features = getattr(network, "n_features", None)

    def forward(self, *arguments: Any, **more: Any) -> Any:
        return self.network(*arguments, **more)


def _with_encoder(network: Callable[[nn.Module], nn.Module]) -> type[Domain]:
    class Other(Sounding):
        def encoder(self, wanted: Encoder) -> nn.Module:
            return network(super().encoder(wanted))

    return Other


class Sizeless(Wrapped):
    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.n_features = None


class Halved(Wrapped):
    def forward(self, *arguments: Any, **more: Any) -> Any:
        return super().forward(*arguments, **more).half()


class Idle(Wrapped):
    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.idle = nn.Linear(2, 2)


class Centred(Wrapped):
    def forward(self, *arguments: Any, **more: Any) -> Any:
        found = super().forward(*arguments, **more)
        return found - found.mean(0, keepdim=True)


class Unseeded(Wrapped):
    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.scale = nn.Parameter(torch.from_numpy(np.random.default_rng().random(1, np.float32)))

    def forward(self, *arguments: Any, **more: Any) -> Any:
        return self.scale * super().forward(*arguments, **more)


class LeftBehind(Wrapped):
    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.scale = torch.ones(1, 32)  # no buffer: .to(device) leaves it where it is

    def forward(self, *arguments: Any, **more: Any) -> Any:
        return self.scale * super().forward(*arguments, **more)


BROKEN["encoder: no size"] = _with_encoder(Sizeless)
BROKEN["encoder: half precision"] = _with_encoder(Halved)
BROKEN["gradients: an idle layer"] = _with_encoder(Idle)
BROKEN["examples apart: centred over the batch"] = _with_encoder(Centred)
BROKEN["weights: not from the seed"] = _with_encoder(Unseeded)
BROKEN["devices: a tensor left behind"] = _with_encoder(LeftBehind)


@broken("decoder: flat")
class FlatDecoder(Sounding):
    def decoder(self, wanted: Decoder) -> nn.Module:
        return MLPDecoder(wanted.n_code, (16,), [8], wanted.n_classes)


@broken("decoder's label: ignored")
class LabelIgnored(Sounding):
    def decoder(self, wanted: Decoder) -> nn.Module:
        class Deaf(Wrapped):
            def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
                return self.network(z)

        return Deaf(super().decoder(replace(wanted, n_classes=0)))


@broken("decoder's given part: ignored")
class GivenIgnored(Sounding):
    def given_decoder(self, wanted: Decoder) -> nn.Module:
        class Deaf(Wrapped):
            def forward(self, z: Tensor, label: Tensor | None = None, *, given: Tensor) -> Tensor:
                return self.network(z)

        return Deaf(super().decoder(wanted))


@broken("discriminator: no features")
class LogitOnly(Sounding):
    def discriminator(self, wanted: Discriminator) -> nn.Module:
        class Logit(Wrapped):
            def forward(self, x: Tensor) -> Any:
                return self.network(x)[1]

        return Logit(super().discriminator(wanted))


@broken("discriminator: a logit of two axes")
class Column(Sounding):
    def discriminator(self, wanted: Discriminator) -> nn.Module:
        class Unsqueezed(Wrapped):
            def forward(self, x: Tensor) -> Any:
                features, logit = self.network(x)
                return features, logit[:, None]

        return Unsqueezed(super().discriminator(wanted))


@broken("gradients: a discriminator of rounded pictures")
class Rounded(Sounding):
    def discriminator(self, wanted: Discriminator) -> nn.Module:
        class Rounding(Wrapped):
            def forward(self, x: Tensor) -> Any:
                return self.network(x.round())

        return Rounding(super().discriminator(wanted))


@broken("examples apart: batch norm whatever was asked")
class AlwaysBatchNorm(Sounding):
    def discriminator(self, wanted: Discriminator) -> nn.Module:
        return MLPDiscriminator(self.spec.shape, [16, 16], "batch")


@broken("autoregressive: draw forgets what is given")
class Forgetful(Sounding):
    def autoregressive(self, wanted: Autoregressive) -> nn.Module:
        class Forgets(Wrapped):
            def draw(self, x: Tensor, *arguments: Any, given: int = 0, **more: Any) -> Tensor:
                return self.network.draw(x, *arguments, given=0, **more)  # type: ignore[operator]

        return Forgets(super().autoregressive(wanted))


@broken("order of cells: a cell sees itself")
class Leaking(Sounding):
    def autoregressive(self, wanted: Autoregressive) -> nn.Module:
        class Leaks(Wrapped):
            def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
                return self.network(x, condition) + 0.5 * x

            def draw(self, *arguments: Any, **more: Any) -> Tensor:
                return self.network.draw(*arguments, **more)  # type: ignore[operator]

        return Leaks(super().autoregressive(wanted))


@broken("order of cells: neighbours see each other")
class Unmasked(Sounding):
    def autoregressive(self, wanted: Autoregressive) -> nn.Module:
        class Sees(Wrapped):
            def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
                return self.network(x, condition) + 0.5 * (x.roll(1, -1) + x.roll(-1, -1))

            def draw(self, *arguments: Any, **more: Any) -> Tensor:
                return self.network.draw(*arguments, **more)  # type: ignore[operator]

        return Sees(super().autoregressive(wanted))


@broken("files: names of its own")
class OwnNames(Sounding):
    class piece(SoundingPiece):  # noqa: N801
        def save(self, path: str | Path) -> Path:
            return super().save(Path(path).with_name(f"toy_{Path(path).name}"))


@broken("files: upside down when read")
class UpsideDown(Sounding):
    def read(self, path: Path) -> Tensor:
        return super().read(path).flip(2)


@broken("files: one axis too few when read")
class FlatReading(Sounding):
    def read(self, path: Path) -> Tensor:
        return super().read(path)[0]


@broken("files: chance")
class Stamped(Sounding):
    """Writes a serial number behind the array, which reading does not see."""

    class piece(SoundingPiece):  # noqa: N801
        counter = itertools.count()

        def save(self, path: str | Path) -> Path:
            with super().save(path).open("ab") as file:
                file.write(b"%d" % next(self.counter))
            return Path(path)


@broken("files: only data are written")
class DataOnly(Sounding):
    class piece(SoundingPiece):  # noqa: N801
        def save(self, path: str | Path) -> Path:
            if bool(((self.x != 0) & (self.x != 1)).any()):
                raise ValueError("no data\nat all")
            return super().save(path)


@broken("files: any suffix will do")
class AnySuffix(Sounding):
    class piece(SoundingPiece):  # noqa: N801
        def save(self, path: str | Path) -> Path:
            Path(path).write_bytes(super().save(Path(path).with_suffix(".npy")).read_bytes())
            return Path(path)


@broken("files: fewer pieces than samples")
class Fewer(Sounding):
    def pieces(self, samples: Tensor) -> list[ToyPiece]:
        return super().pieces(samples)[: max(1, len(samples) - 1)]


@broken("refusals: a raw error")
class RawError(Sounding):
    def read(self, path: Path) -> Tensor:
        return torch.from_numpy(np.load(path, allow_pickle=False)).view(-1, 1, 4, 4)


@broken("refusals: an empty file is a picture")
class EmptyIsFine(Sounding):
    def read(self, path: Path) -> Tensor:
        if path.is_file() and not path.stat().st_size:
            return torch.zeros(1, 1, 4, 4)
        return super().read(path)


@broken("sources: not looked at")
class AnySource(Sounding):
    @classmethod
    def open(cls, config: Any, source: Path | None, cache: Path) -> tuple[Self, Data]:
        return super().open(config, None, cache)


@broken("picture: blank")
class Blank(Sounding):
    class piece(SoundingPiece):  # noqa: N801
        def picture(self) -> Image.Image:
            return Image.new("L", (16, 16), "white")


@broken("picture: always the same")
class SamePicture(Sounding):
    class piece(SoundingPiece):  # noqa: N801
        def picture(self) -> Image.Image:
            return Image.linear_gradient("L")


@broken("sound: too loud")
class Loud(Sounding):
    class piece(SoundingPiece):  # noqa: N801
        def audio(self) -> tuple[Any, int] | None:
            return np.full((1, 8), 1.5, np.float32), 8000


@broken("writing options: swallowed")
class Swallows(Sounding):
    def written_with(self, options: Mapping[str, Any]) -> Self:
        return self


@broken("writing options: no meaning")
class MeaninglessWriting(Sounding):
    @dataclass(frozen=True)
    class Writing:
        loudness: float = 0.5


@broken("writing options: lost")
class LosesWriting(Sounding):
    """Starts with options of its own, whatever it is given."""

    counter = itertools.count()

    def __init__(self, config: Any, writing: Any = None) -> None:
        super().__init__(config, Loudness(1 / (2 + next(self.counter))))


@broken("reading options: lost")
class LosesReading(Sounding):
    def read_with(self, options: Mapping[str, Any]) -> Self:
        return type(self)(replace(self.config, care=self.config.care + 1), self.writing)


@broken("family *: a code of one length")
class OneLength(Sounding):
    def decoder(self, wanted: Decoder) -> nn.Module:
        if wanted.n_code > 12:
            raise IndexError("too long")
        return super().decoder(wanted)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_domain_fails_its_check_and_no_other(fault: str) -> None:
    wanted = fault.partition(":")[0]
    domain = BROKEN[fault]
    failed = {o.check: o.what for o in conformance(domain(CONFIG)) if o.status == "FAILED"}
    kinds = {"family *" if check.startswith("family ") else check for check in failed}
    assert kinds == {wanted}, failed
    assert all(len(what.splitlines()) == 1 for what in failed.values())


def test_every_domain_check_has_a_broken_domain() -> None:
    kinds = {"family *" if str(c).startswith("family ") else str(c) for c in checks(ToyDomain)}
    assert {fault.partition(":")[0] for fault in BROKEN} == kinds


def _image(**options: Any) -> Domain:
    image = registry().domain("image")
    return image(image.Config(size=8, widths=[16], **options))


def _pianoroll(**options: Any) -> Domain:
    pianoroll = registry().domain("pianoroll")
    return pianoroll(pianoroll.Config(bars=1, channels=2, widths=[16], **options))


GOOD: dict[str, Callable[[], Domain]] = {
    "toy": lambda: Sounding(CONFIG),
    "image": lambda: _image(classes=["a", "b"], target="inverted"),
    "image given": lambda: _image(given="top", binarisation="none"),
    "image dcgan": lambda: _image(networks="dcgan", channels=4, binarisation="none"),
    "image levels": lambda: _image(colour="rgb", likelihood="logistic_mixture"),
    "pianoroll": lambda: _pianoroll(),
    "pianoroll mlp": lambda: _pianoroll(networks="mlp", planes="frame"),
    "pianoroll given": lambda: _pianoroll(given=["Bass", "Drums"]),
}
# Families that the domains above refuse, with the reason; all others take their step.
REFUSE = {
    "toy": {"rnn_nade"},
    "image": set(),
    "image given": {"ada", "conditional_gan", "rnn_nade", "semisupervised_vae"},
    "image levels": {"ada", "conditional_gan", "rnn_nade", "semisupervised_vae"},
    "image dcgan": {"ada", "conditional_gan", "rnn_nade", "semisupervised_vae"},
    "pianoroll": {"ada", "conditional_gan", "semisupervised_vae"},
    "pianoroll mlp": {"ada", "conditional_gan", "semisupervised_vae"},
    "pianoroll given": {"ada", "conditional_gan", "semisupervised_vae"},
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name.startswith("pianoroll ") else ()) for name in GOOD]
)
def test_the_domains_at_hand_conform(name: str) -> None:
    outcomes = conformance(GOOD[name]())
    assert [f"{o.check}: {o.what}" for o in outcomes if o.status == "FAILED"] == []
    skipped = {o.check: o.what for o in outcomes if o.status == "SKIPPED"}
    assert all(skipped.values())
    assert {check.removeprefix("family ") for check in skipped if check.startswith("family ")} == REFUSE[name]


@pytest.mark.parametrize("family", sorted(registry().families))
def test_the_families_at_hand_conform(family: str) -> None:
    outcomes = conformance(registry().family(family))
    assert [f"{o.check}: {o.what}" for o in outcomes if o.status != "OK"] == []
