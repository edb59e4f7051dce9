"""What the engine costs over a hand-written loop of the same VAE on MNIST-shaped data, same run, same weights.

    python benchmarks/engine_overhead.py [--steps 200] [--rounds 21] [--device cpu]

The rival is what one would write by hand: the same networks, ``loss.backward()``, a fused Adam, one ``item()`` of the loss
every 50 steps. Both sides gather their batches from the same device-resident data set. Rounds alternate, and the median
of the per-round ratios is reported, so that a machine whose speed drifts does not decide the result.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.config import RunConfig
from musegen.data.dataset import ArrayDataset, Batches
from musegen.domain import Decoder, Encoder, Spec
from musegen.engine import Engine
from musegen.families.vae import VAE, VAEConfig
from musegen.likelihood import Bernoulli
from musegen.networks import MLPDecoder, MLPEncoder

SHAPE, WIDTHS, LATENT, BATCH, LOG_EVERY = (1, 28, 28), [400, 400], 40, 100, 50


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


def by_hand(batches: Batches, device: torch.device) -> Callable[[int], None]:
    torch.manual_seed(0)
    model = HandWritten().to(device)
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


def by_engine(batches: Batches, device: torch.device) -> Callable[[int], None]:
    torch.manual_seed(0)
    spec = Spec(SHAPE, ("channel", "row", "column"), Bernoulli())
    networks: dict[str, nn.Module] = {}
    for name, wanted in VAE.networks(VAEConfig(latent_dim=LATENT), spec).items():
        match wanted:
            case Encoder():
                networks[name] = MLPEncoder(SHAPE, WIDTHS)
            case Decoder():
                networks[name] = MLPDecoder(wanted.n_code, spec.params_shape, WIDTHS)
    engine = Engine(VAE(VAEConfig(latent_dim=LATENT), spec, networks).to(device), RunConfig(batch_size=BATCH))

    def run(steps: int) -> None:
        for _ in range(steps):
            engine.step([batches[engine.step_count]])
            if engine.step_count % LOG_EVERY == 0:
                engine.collect()

    return run


def seconds(run: Callable[[int], None], steps: int, device: torch.device) -> float:
    start = time.perf_counter()
    run(steps)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="steps per round")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "engine_overhead.json")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    data = ArrayDataset((torch.rand(10_000, *SHAPE) < 0.13).to(torch.uint8) * 255).to(device)
    hand, engine = (make(Batches(data, BATCH, 0, device), device) for make in (by_hand, by_engine))
    for run in (hand, engine):
        seconds(run, LOG_EVERY, device)  # warm up
    pairs = [
        (seconds(hand, arguments.steps, device), seconds(engine, arguments.steps, device))
        for _ in range(arguments.rounds)
    ]
    ratios = sorted(e / h for h, e in pairs)
    result = {
        "date": date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        "steps_per_round": arguments.steps,
        "rounds": arguments.rounds,
        "hand_written_ms_per_step": 1e3 * statistics.median(h for h, _ in pairs) / arguments.steps,
        "engine_ms_per_step": 1e3 * statistics.median(e for _, e in pairs) / arguments.steps,
        "ratio_min_median_max": [ratios[0], statistics.median(ratios), ratios[-1]],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
