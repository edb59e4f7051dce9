"""What a training step costs: the engine against loops written by hand, for every family, and against what others have.

    python benchmarks/training_step.py [--only vae,gan] [--rounds 11] [--seconds 0.15] [--rivals/--no-rivals]

**Loops by hand.** The family's own losses, and the loop that one writes around them: for every player ``zero_grad``,
``loss.backward()``, a fused Adam's ``step()``, and one ``item()`` of the loss every 50 steps. Two of them: ``plain``
calls ``backward()``, which also computes gradients that nobody uses where a loss runs through another player's network;
``careful`` asks for the player's own only, as the engine does. Both begin with the engine's weights and make the same
batches; after three steps from the same seed all three must have the same weights, bit for bit.

**Rivals** on the same networks, weights and data: a VAE as one writes it in an afternoon; pythae's VAE and trainer (where
pythae is installed), its training epoch alone, without what it writes and prints between epochs; the GAN and WGAN-GP
scripts of the kind that is passed around (their loop, with losses and order of updates as there, ``DataLoader`` over a
data set of single examples, generated examples detached or not as there, ``item()`` of both losses in every step), on
batches that a ``DataLoader`` brings, and on ours.

Everything runs in one process with one thread, in turn. Figures are processor time.
"""

from __future__ import annotations

import argparse
import copy
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measuring import RESULTS, Side, in_turn, machine, ratios, save, spread, steps_for
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from musegen.contracts.dataset import Dataset
from musegen.contracts.domain import Domain, Labelled, Spec
from musegen.contracts.family import Family, build
from musegen.data.arrays import ArrayDataset, View, balanced_subset
from musegen.data.batches import Batches
from musegen.engine.engine import Engine
from musegen.families.gan import GAN, GANConfig
from musegen.families.vae import VAE, VAEConfig
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder
from musegen.options import validate
from musegen.plugins import registry
from musegen.probability.likelihood import Bernoulli
from musegen.running.config import RunConfig

LOG_EVERY = 50
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A family with options, on a domain with options."""

    family: str
    options: dict[str, Any] = field(default_factory=dict)
    domain: str = "image"
    domain_options: dict[str, Any] = field(default_factory=dict)
    batch: int = 64


CLASSES = {"classes": [str(digit) for digit in range(10)]}
PIECE = {"bars": 1, "channels": 16}
CASES = {
    "ae": Case("ae"),
    "vae": Case("vae"),
    "vae, 5 importance samples": Case("vae", {"importance_samples": 5}),
    "semisupervised_vae (m2)": Case("semisupervised_vae", {"model": "m2", "labelled": 100}, domain_options=CLASSES),
    "structured_vae": Case("structured_vae"),
    "gae": Case("gae"),
    "wake_sleep": Case("wake_sleep"),
    "aae": Case("aae"),
    "vae_gan": Case("vae_gan"),
    "gan": Case("gan"),
    "gan, wasserstein-gp": Case("gan", {"loss": "wasserstein-gp", "critic_steps": 5}),
    "conditional_gan": Case("conditional_gan", domain_options=CLASSES),
    "infogan": Case("infogan"),
    "gmmn": Case("gmmn"),
    "ada": Case("ada", domain_options=CLASSES),
    "pixelcnn": Case("pixelcnn", {"channels": 8, "layers": 2}, domain_options={"size": 16}, batch=16),
    "pixelrnn": Case("pixelrnn", {"channels": 8, "layers": 1}, domain_options={"size": 16}, batch=16),
    "rnn_nade": Case("rnn_nade", {"units": 64, "hidden": 64}, domain_options={"size": 16}, batch=16),
    "vae on pianorolls": Case("vae", domain="pianoroll", domain_options=PIECE, batch=16),
    "gan on pianorolls": Case("gan", domain="pianoroll", domain_options=PIECE, batch=16),
    "rnn_nade on pianorolls": Case("rnn_nade", {"units": 64}, "pianoroll", PIECE, 8),
}
"""Every family at least once, with networks as small as anybody trains: the engine's part of a step is largest there."""


def prepared(case: Case) -> tuple[Family, Batches, RunConfig]:
    """The family with weights of seed 0, and its batches of synthetic data."""
    names = registry()
    family_class, domain_class = names.family(case.family), names.domain(case.domain)
    domain: Domain = domain_class(validate(domain_class.Config, case.domain_options, f'the domain "{case.domain}"'))
    config = validate(family_class.Config, case.options, f'the family "{case.family}"')
    data = domain.synthetic(2000, 0).splits["train"]
    auxiliary: dict[str, Dataset] = {}
    for name, wanted in family_class.auxiliary(config, domain.spec).items():
        if isinstance(wanted, Labelled):
            assert data.label is not None
            auxiliary[name] = View(data, balanced_subset(data.label, wanted.n, 0))
        else:
            auxiliary[name] = View(domain.synthetic(2000, 1).splits["train"], labelled=False)
    torch.manual_seed(0)
    family = build(family_class, config, domain)
    family.n_examples = len(data)
    batches = Batches(data, case.batch * family.minibatches, 0, CPU, auxiliary)
    family.prepare(batches[0])
    return family, batches, RunConfig(batch_size=case.batch, device="cpu")


def by_engine(family: Family, batches: Batches, config: RunConfig) -> Side:
    engine = Engine(family, config)

    def run(steps: int) -> None:
        for _ in range(steps):
            engine.step([batches[engine.step_count]])
            if engine.step_count % LOG_EVERY == 0:
                engine.collect()

    return run


def by_hand(family: Family, batches: Batches, careful: bool) -> Side:
    """The family's losses in a loop of one's own."""
    parameters = {name: family.parameters_of(name) for name in family.players}
    optimisers = {
        name: torch.optim.Adam(parameters[name], lr=player.learning_rate, betas=player.betas, fused=True)
        for name, player in family.players.items()
    }
    step = 0
    family.train()

    def run(steps: int) -> None:
        nonlocal step
        for _ in range(steps):
            family.step = step
            for player, losses in family.updates(batches[step]):
                optimisers[player].zero_grad()
                if careful:
                    losses["loss"].backward(inputs=parameters[player])
                else:
                    losses["loss"].backward()
                optimisers[player].step()
            step += 1
            if step % LOG_EVERY == 0:
                losses["loss"].item()

    return run


def measure(case: Case, rounds: int, seconds: float) -> dict[str, Any]:
    """One row of the table."""
    original, batches, config = prepared(case)
    families = {name: copy.deepcopy(original) for name in ("engine", "plain", "careful")}
    sides = {
        "engine": by_engine(families["engine"], batches, config),
        "plain": by_hand(families["plain"], batches, careful=False),
        "careful": by_hand(families["careful"], batches, careful=True),
    }
    weights = []
    for name, side in sides.items():
        torch.manual_seed(1)
        side(3)
        weights.append({key: value.clone() for key, value in families[name].state_dict().items()})
    bits = [torch.cat([value.reshape(-1).contiguous().view(torch.uint8) for value in w.values()]) for w in weights]
    same = all(torch.equal(bits[0], other) for other in bits[1:])
    times = in_turn(sides, steps_for(sides["engine"], seconds), rounds)
    return {
        "same_weights": same,
        "ms_per_step": {name: spread([1e3 * t for t in values]) for name, values in times.items()},
        "engine_over_plain": ratios(times["engine"], times["plain"]),
        "engine_over_careful": ratios(times["engine"], times["careful"]),
    }


SHAPE, WIDTHS, LATENT, BATCH = (1, 28, 28), [400, 400], 40, 100
"""Of the rivals: MNIST's shape."""


def rival_data() -> ArrayDataset:
    torch.manual_seed(0)
    return ArrayDataset((torch.rand(10_000, *SHAPE) < 0.13).to(torch.uint8) * 255)


class HandWritten(nn.Module):
    """A VAE as one writes it in an afternoon."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU())
        self.posterior = nn.Linear(400, 2 * LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 784)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        mean, log_var = self.posterior(self.encoder(x)).chunk(2, -1)
        log_var = log_var.clamp(-12, 8)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(1)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
        return (reconstruction + kl).mean()


def vae_by_hand(batches: Batches) -> Side:
    model = HandWritten()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    step = 0

    def run(steps: int) -> None:
        nonlocal step
        for _ in range(steps):
            loss = model(batches[step].x)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            if step % LOG_EVERY == 0:
                loss.item()

    return run


def vae_by_pythae(data: ArrayDataset) -> tuple[Side, str]:
    """pythae's trainer, epoch by epoch, on the same networks, without its progress bars; it does whole epochs of steps."""
    from importlib.metadata import version

    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as TheirVAE  # noqa: N811
    from pythae.models import VAEConfig as TheirConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig, training_callbacks

    class TheirEncoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = MLPEncoder(SHAPE, WIDTHS)
            self.mean, self.log_var = nn.Linear(WIDTHS[-1], LATENT), nn.Linear(WIDTHS[-1], LATENT)

        def forward(self, x: Tensor) -> Any:
            h = self.body(x)
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class TheirDecoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = MLPDecoder(LATENT, SHAPE, WIDTHS)

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.body(z).sigmoid())

    logging.disable(logging.WARNING)
    training_callbacks.tqdm = partial(training_callbacks.tqdm, disable=True)
    config = TheirConfig(input_dim=SHAPE, latent_dim=LATENT, reconstruction_loss="bce")
    folder = tempfile.mkdtemp()
    training = BaseTrainerConfig(
        output_dir=folder, per_device_train_batch_size=BATCH, num_epochs=1, learning_rate=1e-3, no_cuda=True
    )
    trainer = BaseTrainer(
        TheirVAE(config, encoder=TheirEncoder(), decoder=TheirDecoder()),
        BaseDataset(data.x.float() / 255, torch.zeros(len(data))),
        training_config=training,
    )
    trainer.prepare_training()
    per_epoch, epoch = len(trainer.train_loader), 0

    def run(steps: int) -> None:
        nonlocal epoch
        for _ in range(max(1, steps // per_epoch)):
            epoch += 1
            trainer.train_step(epoch)

    return run, version("pythae")


def gan_networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return MLPDecoder(LATENT, SHAPE, WIDTHS), MLPDiscriminator(SHAPE, WIDTHS, "none")


def loader_batches(data: ArrayDataset) -> Iterator[Tensor]:
    """Epoch after epoch, as scripts have them."""
    loader = DataLoader(TensorDataset(data.x.float() / 255), BATCH, shuffle=True, drop_last=True)
    while True:
        for (x,) in loader:
            yield x


def our_batches(data: ArrayDataset, n: int = 1) -> Iterator[Tensor]:
    batches, step = Batches(data, BATCH * n, 0, CPU), 0
    while True:
        for batch in batches[step].split(n):
            yield batch.x
        step += 1


def gan_script(batches: Iterator[Tensor]) -> Side:
    """A step of the usual script: generator first, its examples used again, detached, for the discriminator."""
    generator, discriminator = gan_networks()
    loss_function = nn.BCELoss()
    optimiser_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimiser_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    decide = lambda x: discriminator(x)[1].sigmoid()  # noqa: E731

    def run(steps: int) -> None:
        for _ in range(steps):
            real = next(batches)
            valid, fake = torch.ones(len(real)), torch.zeros(len(real))
            optimiser_g.zero_grad()
            generated = generator(torch.randn(len(real), LATENT)).sigmoid()
            g_loss = loss_function(decide(generated), valid)
            g_loss.backward()
            optimiser_g.step()
            optimiser_d.zero_grad()
            d_loss = (loss_function(decide(real), valid) + loss_function(decide(generated.detach()), fake)) / 2
            d_loss.backward()
            optimiser_d.step()
            f"[D loss: {d_loss.item():f}] [G loss: {g_loss.item():f}]"

    return run


def wgan_gp_script(batches: Iterator[Tensor], n_critic: int = 5) -> Side:
    """n_critic steps of the discriminator, whose loss runs back through the generator too, and one of the generator."""
    generator, discriminator = gan_networks()
    optimiser_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.0, 0.9))
    optimiser_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.0, 0.9))
    validity = lambda x: discriminator(x)[1]  # noqa: E731

    def penalty(real: Tensor, fake: Tensor) -> Tensor:
        alpha = torch.rand(len(real), 1, 1, 1)
        between = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
        d = validity(between)
        gradients = torch.autograd.grad(d, between, torch.ones_like(d), create_graph=True, retain_graph=True)[0]
        return ((gradients.view(len(real), -1).norm(2, dim=1) - 1) ** 2).mean()

    def run(steps: int) -> None:
        for _ in range(steps):
            for _ in range(n_critic):
                real = next(batches)
                optimiser_d.zero_grad()
                z = torch.randn(len(real), LATENT)
                fake = generator(z).sigmoid()
                d_loss = -validity(real).mean() + validity(fake).mean() + 10 * penalty(real.data, fake.data)
                d_loss.backward()
                optimiser_d.step()
                optimiser_g.zero_grad()
                shown = d_loss.item()
            g_loss = -validity(generator(z).sigmoid()).mean()
            g_loss.backward()
            optimiser_g.step()
            f"[D loss: {shown:f}] [G loss: {g_loss.item():f}]"

    return run


def ours(family: Family, data: ArrayDataset) -> Side:
    batches = Batches(data, BATCH * family.minibatches, 0, CPU)
    return by_engine(family, batches, RunConfig(batch_size=BATCH, device="cpu"))


def our_gan(config: GANConfig, data: ArrayDataset) -> Side:
    generator, discriminator = gan_networks()
    spec = Spec(SHAPE, ("channel", "row", "column"), Bernoulli())
    return ours(GAN(config, spec, {"generator": generator, "discriminator": discriminator}), data)


def our_vae(data: ArrayDataset) -> Side:
    spec = Spec(SHAPE, ("channel", "row", "column"), Bernoulli())
    networks: dict[str, nn.Module] = {
        "encoder": MLPEncoder(SHAPE, WIDTHS),
        "decoder": MLPDecoder(LATENT, SHAPE, WIDTHS),
    }
    assert set(networks) == set(VAE.networks(VAEConfig(latent_dim=LATENT), spec))
    return ours(VAE(VAEConfig(latent_dim=LATENT), spec, networks), data)


def rivals(rounds: int, steps: int) -> dict[str, Any]:
    """Others' steps per step of ours, in time: above 1, ours is faster. A round of a side is an epoch of ``steps`` batches."""
    data = rival_data()
    n_batches = len(data) // BATCH
    tables: dict[str, dict[str, Side]] = {
        "vae": {"musegen": our_vae(data), "by hand": vae_by_hand(Batches(data, BATCH, 0, CPU))},
        "gan": {
            "musegen": our_gan(GANConfig(latent_dim=LATENT, discriminator_norm="none"), data),
            "script, DataLoader": gan_script(loader_batches(data)),
            "script, our batches": gan_script(our_batches(data)),
        },
        "gan, wasserstein-gp, 5 critic steps": {
            "musegen": our_gan(GANConfig(latent_dim=LATENT, loss="wasserstein-gp", critic_steps=5), data),
            "script, DataLoader": wgan_gp_script(loader_batches(data)),
            "script, our batches": wgan_gp_script(our_batches(data, 5)),
        },
    }
    try:
        tables["vae"]["pythae"], pythae = vae_by_pythae(data)
    except ImportError as error:
        pythae = f"not measured: {error}"
    result: dict[str, Any] = {"pythae": pythae}
    for table, sides in tables.items():
        counts = {name: n_batches if name == "pythae" else steps // (5 if "critic" in table else 1) for name in sides}
        for name, side in sides.items():
            side(n_batches if name == "pythae" else 3)
        times = in_turn(sides, counts, rounds)
        result[table] = {
            name: {
                "ms_per_step": spread([1e3 * t for t in values]),
                "over_musegen": ratios(values, times["musegen"]),
            }
            for name, values in times.items()
        }
        for name, row in result[table].items():
            print(f"{table}: {name:22} {row['ms_per_step'][2]:8.3f} ms  over musegen {row['over_musegen']}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="cases, by comma; all without it")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.15, help="of a side in a round")
    parser.add_argument("--rivals", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "training_step.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.time()
    chosen = CASES if arguments.only is None else {name: CASES[name] for name in arguments.only.split(",") if name}
    record: dict[str, Any] = {"machine": machine(), "rounds": arguments.rounds, "seconds_per_block": arguments.seconds}
    record["columns"] = "least, first quartile, median, third quartile, most, over rounds; processor time"
    record["families"] = {}
    for name, case in chosen.items():
        record["families"][name] = row = measure(case, arguments.rounds, arguments.seconds)
        print(
            f"{name:26} {row['ms_per_step']['engine'][2]:8.3f} ms  over plain {row['engine_over_plain']}  "
            f"over careful {row['engine_over_careful']}{'' if row['same_weights'] else '  OTHER WEIGHTS'}",
            flush=True,
        )
    if arguments.rivals:
        record["rivals"] = rivals(arguments.rounds, 100)
    record["took_s"] = round(time.time() - started)
    save(arguments.out, record)


if __name__ == "__main__":
    main()
