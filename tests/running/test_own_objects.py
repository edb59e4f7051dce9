"""Runs made from objects: data in memory, classes and networks of one's own. They resume and load where they can."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Result
from torch import Tensor, nn
from torch.utils import data as torch_data
from toy import ToyConfig, ToyDomain

import musegen
from musegen.contracts.domain import Decoder, Discriminator, Encoder, Spec
from musegen.engine.checkpoint import newest_checkpoint
from musegen.errors import BadInput
from musegen.families.vae import VAE
from musegen.running import keeping
from musegen.running.own_networks import OwnNetwork
from musegen.running.runs import Run

RUN: dict[str, Any] = {
    "steps": 4,
    "batch_size": 8,
    "validate_every": 2,
    "validate_examples": 8,
    "checkpoint_every": 2,
    "sample_every": 4,
    "samples": 2,
    "device": "cpu",
    "quiet": True,
}
X = torch.randn(60, 3, 5, generator=torch.Generator().manual_seed(0))


class Wide(nn.Module):
    """A decoder that knows the spec."""

    def __init__(self, wanted: Decoder, spec: Spec) -> None:
        super().__init__()
        self.shape = spec.params_shape
        self.layer = nn.Linear(wanted.n_code, spec.params_shape[0] * 15)

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z).reshape(-1, *self.shape)


def weights(run: Run, **own: Any) -> dict[str, Tensor]:
    state = musegen.load(run, checkpoint="last", **own).family.state_dict()
    return {name: tensor.nan_to_num() for name, tensor in state.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("as_given", [lambda x: x, lambda x: x.numpy(), lambda x: {"train": x[:50], "valid": x[50:]}])
def test_a_run_of_a_tensor_goes_on_without_it(as_given: Callable[[Tensor], Any], tmp_path: Path) -> None:
    data = as_given(X)
    run = musegen.train("vae", "array", data=data, out=tmp_path / "run", latent_dim=2, **RUN)
    whole = musegen.train("vae", "array", data=data, out=tmp_path / "whole", latent_dim=2, **RUN | {"steps": 8})
    resumed = musegen.resume(str(run.path), steps=8, quiet=True)  # a path knows nothing but the folder
    assert same(weights(resumed), weights(whole))
    model = musegen.load(str(run.path))
    data = model.data()
    assert data is not None
    assert sum(map(len, data.splits.values())) == 60
    assert model.sample(2).shape == (2, 3, 5)


def test_data_that_are_too_large_are_not_kept_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keeping, "KEPT_BYTES", 100)
    run = musegen.train("vae", "array", data=X, out=tmp_path / "run", latent_dim=2, **RUN | {"quiet": False})
    assert "not kept in the run folder" in capsys.readouterr().err
    with pytest.raises(BadInput, match=r"handed over in memory, and are not kept .* data=…"):
        musegen.resume(run.path, steps=8, quiet=True)
    with pytest.raises(BadInput, match=r"not kept with the run"):
        musegen.load(run.path).data()
    with pytest.raises(BadInput, match="are not those of"):
        musegen.resume(run.path, steps=8, quiet=True, data=X + 1)
    shutil.copytree(run.path, tmp_path / "copy")
    musegen.resume(run, steps=8, quiet=True)  # which still has them
    other = musegen.resume(tmp_path / "copy", steps=8, quiet=True, data=X)
    assert same(weights(run), weights(other))


class Pairs(torch_data.Dataset):
    """Examples with noise of their own at every visit."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, i: int) -> tuple[Tensor, str]:
        return X[i] + 0.1 * torch.randn(3, 5), "ab"[i % 2]


def test_a_torch_dataset_trains_and_a_resumed_run_sees_the_same(tmp_path: Path) -> None:
    run = musegen.train("vae", "array", data=Pairs(), out=tmp_path / "run", latent_dim=2, **RUN)
    whole = musegen.train("vae", "array", data=Pairs(), out=tmp_path / "whole", latent_dim=2, **RUN | {"steps": 8})
    with pytest.raises(BadInput, match="handed over in memory"):
        musegen.resume(run.path, steps=8, quiet=True)
    resumed = musegen.resume(run.path, steps=8, quiet=True, data=Pairs())
    assert same(weights(resumed), weights(whole))
    assert run.config().domain_config.classes == ["a", "b"]


def test_data_in_memory_on_a_domain_that_knows_its_samples(tmp_path: Path) -> None:
    cells = (torch.rand(60, 1, 4, 4) > 0.5).float()
    run = musegen.train("vae", "toy", data=cells, out=tmp_path / "run", latent_dim=2, **RUN)
    assert musegen.load(run.path).data().splits["train"].binary  # type: ignore[union-attr]
    with pytest.raises(
        BadInput, match=r"have the shape \(1, 5, 4\), and samples of the domain \"toy\" have \(1, 4, 4\)"
    ):
        musegen.train("vae", "toy", data=torch.rand(9, 1, 5, 4), out=tmp_path / "x", **RUN)
    with pytest.raises(BadInput, match=r"go from 0 to 3, and those of the domain \"toy\" from 0 to 1"):
        musegen.train("vae", "toy", data=3 * cells, out=tmp_path / "x", **RUN)
    with pytest.raises(BadInput, match="has its own classes"):
        musegen.train("vae", "toy", data=(cells, ["x"] * 60), out=tmp_path / "x", **RUN)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("x", "options", "shape"),
    [
        (torch.arange(60 * 64).remainder(256).view(60, 8, 8).byte(), {}, (1, 8, 8)),
        (torch.rand(60, 1, 8, 8), {"binarisation": "none"}, (1, 8, 8)),
        (torch.rand(60, 3, 8, 8), {}, (3, 8, 8)),
    ],
)
def test_pictures_in_memory(x: Tensor, options: dict[str, Any], shape: tuple[int, ...], tmp_path: Path) -> None:
    run = musegen.train("vae", "image", data=x, out=tmp_path / "run", latent_dim=2, widths=[8], **RUN | options)
    model = musegen.load(run.path)
    assert model.domain.spec.shape == shape
    data = model.data()
    assert data is not None
    seen = data.splits["train"].gather(torch.tensor([0, 1]), torch.Generator().manual_seed(0)).x
    assert 0 <= float(seen.min()) < float(seen.max()) <= 1
    if options or shape[0] == 3:
        assert torch.equal(seen[0], x.view(60, *shape)[0].float())
    else:
        assert set(seen.unique().tolist()) == {0, 1}


def test_pictures_that_are_none(tmp_path: Path) -> None:
    for x, message in [
        (torch.rand(9, 4, 5), "no square pictures"),
        (torch.rand(9, 2, 8, 8), "no square pictures"),
        (9 * torch.rand(9, 8, 8), "give bytes, or numbers from 0 to 1"),
    ]:
        with pytest.raises(BadInput, match=message):
            musegen.train("vae", "image", data=x, out=tmp_path / "x", **RUN)
    with pytest.raises(BadInput, match="colour=rgb does not fit"):
        musegen.train("vae", "image", data=torch.rand(9, 8, 8), colour="rgb", out=tmp_path / "x", **RUN)


class Mine(VAE):
    name = "mine"


class Toys(ToyDomain):
    name = "toys"


def test_classes_of_ones_own(tmp_path: Path) -> None:
    run = musegen.train(Mine, Toys, out=tmp_path / "run", latent_dim=2, examples=64, **RUN)
    assert repr(run).endswith(": mine on toys, done at step 4)")
    assert musegen.load(run).sample(2).shape == (2, 1, 4, 4)
    with pytest.raises(BadInput, match=r"family of its own, the class Mine, .* family=Mine"):
        musegen.load(run.path)
    with pytest.raises(BadInput, match=r"domain of its own, the class Toys, .* domain=Toys"):
        musegen.resume(run.path, family=Mine, steps=6, quiet=True)
    again = musegen.resume(run.path, family=Mine, domain=Toys, steps=6, quiet=True)
    musegen.load(again).save(tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match="which a model file cannot hold"):
        musegen.load(tmp_path / "model.safetensors")
    model = musegen.load(tmp_path / "model.safetensors", family=Mine, domain=Toys)
    assert torch.equal(model.sample(2), musegen.load(again).sample(2))


def test_classes_that_cannot_be_used(tmp_path: Path) -> None:
    class Thief(VAE):
        pass

    class Half(ToyDomain):
        name = "half"
        Config = None  # type: ignore[assignment]

    for family, domain, message in [
        (Thief, "toy", r'calls itself "vae", as an installed one does: .* name = "my_vae"'),
        ("vae", Half, "The domain Half has no Config"),
        (7, "toy", "family=int is no family"),
        ("vae", Wide, "domain=Wide has no name"),
        ("vae", "toys", 'There is no domain "toys"'),
    ]:
        with pytest.raises(BadInput, match=message):
            musegen.train(family, domain, out=tmp_path / "x", **RUN)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_an_instance_of_a_domain_brings_its_options(tmp_path: Path) -> None:
    domain = ToyDomain(ToyConfig(widths=[7], examples=40))
    run = musegen.train("vae", domain, out=tmp_path / "run", examples=48, **RUN)
    assert (run.config().domain_config.widths, run.config().domain_config.examples) == ([7], 48)
    assert musegen.load(run.path).domain.name == "toy"


def networks() -> dict[str, Any]:
    """Ways to say the same decoder."""
    return {
        "class": Wide,
        "of what is wanted": lambda wanted: nn.Sequential(nn.Linear(wanted.n_code, 30), nn.Unflatten(1, (2, 3, 5))),
        "module": nn.Sequential(nn.Linear(2, 30), nn.Unflatten(1, (2, 3, 5))),
    }


@pytest.mark.parametrize("way", networks())
def test_a_decoder_of_ones_own_trains_resumes_and_loads(way: str, tmp_path: Path) -> None:
    decoder = networks()[way]
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()} if way == "module" else {}
    train = lambda name, steps: musegen.train(  # noqa: E731
        "vae", "array", data=X, decoder=decoder, out=tmp_path / name, latent_dim=2, **RUN | {"steps": steps}
    )
    run, whole = train("run", 4), train("whole", 8)
    assert "Linear" in str(musegen.load(run).family.decoder)
    if before:
        assert same(decoder.state_dict(), before), "a module that is handed over stays as it is"
        assert not torch.equal(weights(run)["decoder.0.weight"], before["0.weight"])
    for action in (lambda: musegen.load(run.path), lambda: musegen.resume(run.path, steps=8, quiet=True)):
        with pytest.raises(BadInput, match=r"needs its own decoder, .* handed over as an object: hand over the same"):
            action()
    resumed = musegen.resume(run.path, decoder=decoder, steps=8, quiet=True)
    assert same(weights(resumed), weights(whole))
    musegen.load(run).save(tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match="needs its own decoder"):
        musegen.load(tmp_path / "model.safetensors")
    model = musegen.load(tmp_path / "model.safetensors", decoder=decoder)
    assert torch.equal(model.sample(2), musegen.load(resumed).sample(2))


def test_a_module_brings_the_weights_that_training_begins_with(tmp_path: Path) -> None:
    decoder = networks()["module"]
    with torch.no_grad():
        decoder[0].weight.fill_(0.25)
    run = musegen.train(
        "vae", "array", data=X, decoder=decoder, out=tmp_path / "run", latent_dim=2, learning_rate=1e-9, **RUN
    )
    assert torch.allclose(weights(run)["decoder.0.weight"], torch.full((30, 2), 0.25), atol=1e-6)


def test_an_encoder_and_a_discriminator_need_not_say_how_wide_they_are(tmp_path: Path) -> None:
    class Critic(nn.Module):
        def __init__(self, wanted: Discriminator) -> None:
            super().__init__()
            self.features, self.logit = nn.Sequential(nn.Flatten(), nn.Linear(15, 9), nn.ReLU()), nn.Linear(9, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            features = self.features(x)
            return features, self.logit(features)[:, 0]

    encoder = nn.Sequential(nn.Flatten(), nn.Linear(15, 11))
    run = musegen.train(
        "vae_gan", "array", data=X, encoder=encoder, discriminator=Critic, out=tmp_path / "run", latent_dim=2, **RUN
    )
    family = musegen.load(run).family
    assert (family.encoder.n_features, family.discriminator.n_features) == (11, 9)  # type: ignore[union-attr]


def test_what_is_given_reaches_a_decoder_of_ones_own(tmp_path: Path) -> None:
    class Knowing(ToyDomain):
        """Has a decoder of its own for what is given, as pianorolls have."""

        name = "knowing"

        def given_decoder(self, wanted: Decoder) -> nn.Module:
            raise AssertionError("not of the networks that were handed over")

    class OfToys(nn.Module):
        def __init__(self, wanted: Decoder, spec: Spec) -> None:
            super().__init__()
            self.layer, self.shape = nn.Linear(wanted.n_code, 16), spec.params_shape

        def forward(self, z: Tensor) -> Tensor:
            return self.layer(z).reshape(-1, *self.shape)

    options = RUN | {"condition": "given", "given": True, "latent_dim": 3}
    run = musegen.train("conditional_gan", Knowing, decoder=OfToys, out=tmp_path / "run", **options)
    x = torch.ones(1, 4, 4)
    sample = musegen.load(run).sample(3, given=x)
    assert torch.equal(sample[:, :, :2], x[None, :, :2].expand(3, 1, 2, 4))


SPEC = ToyDomain(ToyConfig()).spec


class NoDraw(nn.Module):
    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("role", "network", "wanted", "message"),
    [
        ("decoder", nn.Linear(5, 16), Decoder(5), r"makes \(3, 16\) of a code \(3, 5\), and must make parameters \(3, 1, 4, 4\) .*"
         r"bernoulli: end with .reshape\(-1, 1, 4, 4\)"),
        ("decoder", nn.Linear(5, 15), Decoder(5), r"makes \(3, 15\) .* must make parameters \(3, 1, 4, 4\)"),
        ("decoder", nn.Linear(4, 16), Decoder(5), r"fails on a code \(3, 5\): RuntimeError"),
        ("decoder", nn.Linear(5, 16), Decoder(5, n_classes=2), r"fails on a code \(3, 5\) and a label \(3,\): TypeError"),
        ("encoder", nn.Identity(), Encoder(), r"makes \(3, 1, 4, 4\) of x \(3, 1, 4, 4\), and must make features \(3, F\)"),
        ("discriminator", nn.Flatten(), Discriminator(), r"makes \(3, 16\) .* a pair of features \(3, F\) and a logit \(3,\)"),
        ("autoregressive", NoDraw(), None, "and have a method draw"),
        ("encoder", lambda wanted: "text", Encoder(), "gives something of the type str"),
        ("encoder", lambda: None, Encoder(), "cannot be made: TypeError"),
        ("encoder", 3, Encoder(), "encoder is of the type int: give a torch module"),
    ],
)  # fmt: skip
def test_networks_are_tried_at_once(role: str, network: Any, wanted: Any, message: str) -> None:
    from musegen.contracts.domain import Autoregressive

    with pytest.raises(BadInput, match=message):
        OwnNetwork.of(role, network).build(wanted or Autoregressive(), SPEC)


def test_a_width_that_is_not_what_comes_out() -> None:
    encoder = nn.Flatten()
    encoder.n_features = 3  # type: ignore[assignment]
    with pytest.raises(BadInput, match="its n_features is 3, not 16"):
        OwnNetwork.of("encoder", encoder).build(Encoder(), SPEC)


def test_to_be_tried_changes_nothing() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 2))
    state = torch.get_rng_state()
    built = OwnNetwork.of("encoder", network).build(Encoder(), SPEC)
    assert torch.equal(torch.get_rng_state(), state)
    assert built.training
    assert same(built.state_dict(), network.state_dict())


def test_a_network_that_nobody_asks_for(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r'"vae" asks for no discriminator as configured, but for decoder, encoder'):
        musegen.train("vae", "toy", discriminator=nn.Flatten(), out=tmp_path / "x", **RUN)
    run = musegen.train("vae", "toy", out=tmp_path / "run", **RUN)
    with pytest.raises(BadInput, match="was made with the domain's own decoder: leave decoder= out"):
        musegen.load(run.path, decoder=Wide)
    with pytest.raises(BadInput, match="was made with the domain's own decoder"):
        musegen.resume(run.path, decoder=Wide, steps=6)


def test_a_run_begins_with_the_weights_of_one_with_a_network_of_its_own(tmp_path: Path) -> None:
    first = musegen.train("vae", "array", data=X, decoder=Wide, out=tmp_path / "first", latent_dim=2, **RUN)
    options = RUN | {"learning_rate": 1e-9}
    second = musegen.train("vae", "array", data=X, decoder=Wide, init=first.path, out=tmp_path / "second", **options)
    a, b = musegen.load(first).family.state_dict(), weights(second)
    assert torch.allclose(a["decoder.layer.weight"], b["decoder.layer.weight"], atol=1e-6)
    with pytest.raises(BadInput, match="needs its own decoder"):
        musegen.train("vae", "array", data=X, init=first.path, out=tmp_path / "third", **RUN)


def test_config_yaml_of_a_run_of_data_in_memory_asks_for_them(tmp_path: Path) -> None:
    run = musegen.train("vae", "array", data=X, out=tmp_path / "run", latent_dim=2, **RUN)
    with pytest.raises(BadInput, match="hand over data"):
        musegen.train("vae", "array", config=run.path / "config.yaml", out=tmp_path / "again", quiet=True)
    again = musegen.train("vae", "array", data=X, config=run.path / "config.yaml", out=tmp_path / "again", quiet=True)
    assert same(weights(run), weights(again))


def test_a_damaged_file_of_kept_data(tmp_path: Path) -> None:
    run = musegen.train("vae", "array", data=X, out=tmp_path / "run", latent_dim=2, **RUN)
    path = run.path / "data" / "given.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BadInput, match="is damaged: hand over the data again"):
        musegen.resume(run.path, steps=8, quiet=True)


def test_names_from_a_stranger_cannot_have_a_file_run(tmp_path: Path, run: Callable[..., Result]) -> None:
    """A run folder names a file that this user has never named: it is not run, wherever it is."""
    source = (Path(__file__).parents[1] / "helpers" / "own_decoder.py").read_text()
    (tmp_path / "mine.py").write_text(source + "\nopen('ran', 'w').close()\n")
    options = [
        "--steps",
        2,
        "--validate-every",
        0,
        "--sample-every",
        0,
        "--network",
        "decoder=mine.py:Shaped",
        "--quiet",
    ]
    assert run("train", "vae", "toy", "--out", "run", *options).code == 0
    (tmp_path / "ran").unlink()
    assert run("generate", "run", "-n", 1, "--out", "a").code == 0  # the very file that was named
    record = tmp_path / "run" / "environment.json"
    record.write_text(record.read_text().replace("mine.py", "evil.py"))
    (tmp_path / "evil.py").write_bytes((tmp_path / "mine.py").read_bytes())
    result = run("generate", "run", "-n", 1, "--out", "b")
    assert result.code == 2
    assert "which you have not used here before" in result.err
    assert not (tmp_path / "ran").exists()


def test_networks_on_the_command_line(run: Callable[..., Result], tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "helpers" / "own_decoder.py", tmp_path / "mine.py")
    few = ["--steps", 2, "--validate-every", 0, "--sample-every", 0, "--quiet"]
    mine = ["--network", "decoder=mine.py:Shaped"]
    assert run("train", "vae", "toy", "--out", "run", *mine, *few).code == 0
    assert "Shaped" in str(musegen.load("run").family.decoder)
    assert run("resume", "run", "--steps", 4, "--quiet").code == 0
    assert run("export", "run", "model.safetensors").code == 0
    refused = run("generate", "model.safetensors", "-n", 1, "--out", "a")
    assert (refused.code, "add --network decoder=PATH:Shaped" in refused.err) == (2, True)
    assert run("generate", "model.safetensors", "-n", 1, "--out", "a", *mine).code == 0
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "\n# another line\n")
    changed = run("generate", "run", "-n", 1, "--out", "b")
    assert (changed.code, "has changed since: restore it" in changed.err) == (2, True)
    again = run("generate", "run", "-n", 1, "--out", "b", *mine)
    assert (again.code, "as it was then" in again.err) == (0, True)
    for text, message in {
        "decoder=mine.py:Shap": 'Did you mean "Shaped"',
        "decoder=mine.py": "write it like decoder=my_file.py:MyDecoder",
        "decoding=mine.py:Shaped": "the role is encoder, decoder, discriminator",
        "decoder=none.py:Shaped": "cannot be read",
    }.items():
        result = run("train", "vae", "toy", "--out", "other", "--network", text, *few)
        assert (result.code, message in result.err) == (2, True), result.err
    (tmp_path / "bad.py").write_text("import torch\n1 / 0\n")
    result = run("train", "vae", "toy", "--out", "other", "--network", "decoder=bad.py:X", *few)
    assert (result.code, "ZeroDivisionError: division by zero (line 2)" in result.err) == (2, True), result.err


def test_nothing_of_the_current_folder_is_imported(run: Callable[..., Result], tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "helpers" / "own_decoder.py", tmp_path / "mine.py")
    (tmp_path / "beside.py").write_text("open('ran', 'w').close()\n")
    source = "import beside\n" + (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(source)
    result = run("train", "vae", "toy", "--out", "run", "--network", "decoder=mine.py:Shaped", "--steps", 1)
    assert (result.code, "No module named 'beside'" in result.err) == (2, True)
    assert not (tmp_path / "ran").exists()


def test_two_networks_of_one_file_share_it(tmp_path: Path) -> None:
    source = (Path(__file__).parents[1] / "helpers" / "own_decoder.py").read_text()
    (tmp_path / "mine.py").write_text(source)
    first, second = (OwnNetwork.of("decoder", f"{tmp_path}/mine.py:Shaped") for _ in range(2))
    assert first.given is second.given
    (tmp_path / "mine.py").write_text(source + "\n")
    assert OwnNetwork.of("decoder", f"{tmp_path}/mine.py:Shaped").given is not first.given


def test_the_callers_generators_are_left_alone(tmp_path: Path) -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
    musegen.train("vae", "array", data=Pairs(), decoder=Wide, out=tmp_path / "run", latent_dim=2, **RUN)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == numpy_state  # type: ignore[index] # noqa: NPY002


def test_checkpoints_hold_no_code(tmp_path: Path) -> None:
    run = musegen.train("vae", "array", data=X, decoder=Wide, out=tmp_path / "run", latent_dim=2, **RUN)
    parts, _ = newest_checkpoint(run.checkpoints)
    assert "decoder.layer.weight" in parts["weights"]
    files = {path.suffix for path in run.path.rglob("*") if path.is_file()}
    assert files <= {".yaml", ".json", ".jsonl", ".csv", ".safetensors", ".npy", ".png", ""}
