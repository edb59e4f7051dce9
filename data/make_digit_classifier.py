"""Train the classifier of digits that judges samples: ``plugins/musegen_image/digits.safetensors``.

Every visit to a training image moves it by up to two pixels and shows it grey, thresholded or dynamically binarised, with
a third of the chance each. Beside every eight of them stands a picture without a digit, for which the even distribution
over classes is right: a classifier that has seen digits alone is sure of noise as well (outlier exposure, Hendrycks et al.
2019, 1812.04606). The training set is all 60,000 images; nothing is chosen by the test set, whose accuracy is
printed at the end for the weights as they are saved. A few minutes on one thread of a CPU. Run it anywhere:

    python data/make_digit_classifier.py
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

import musegen_image
from musegen.data.bundled import bundled
from musegen_image.classifier import WEIGHTS, DigitNetwork, digit_probabilities
from musegen_image.data import binarise, read_mnist

SEED, EPOCHS, BATCH, RATE, SHIFT = 0, 7, 128, 4e-3, 2
WITHOUT_DIGIT = BATCH // 8


def pictures(images: np.ndarray) -> Tensor:
    """uint8 ``(N, 28, 28)`` → float ``(N, 1, 28, 28)`` in [0, 1]."""
    return torch.from_numpy(np.array(images))[:, None].float() / 255


def shifted(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each of ``(B, 1, 28, 28)`` moved by up to ``SHIFT`` pixels each way, black behind it."""
    b, size = len(x), x.shape[-1]
    offset = torch.randint(0, 2 * SHIFT + 1, (2, b, 1), generator=generator) + torch.arange(size)  # (axis, B, 28)
    padded = F.pad(x[:, 0], (SHIFT,) * 4)
    example = torch.arange(b)[:, None, None]
    return padded[example, offset[0][:, :, None], offset[1][:, None, :]][:, None]  # (B, 28, 28) -> (B, 1, 28, 28)


def mixed(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each of ``(B, 1, 28, 28)`` as it is, thresholded, or a draw."""
    kind = torch.randint(0, 3, (len(x), 1, 1, 1), generator=generator)
    binary = torch.where(kind == 1, binarise(x, "threshold", generator), binarise(x, "dynamic", generator))
    return torch.where(kind == 0, x, binary)


def shuffled(x: Tensor, block: int, generator: torch.Generator) -> Tensor:
    """Each of ``(B, 1, 28, 28)`` with its blocks of ``block`` × ``block`` pixels in a random order."""
    tiles = F.unfold(x, block, stride=block)  # (B, block², tiles)
    order = torch.rand(len(x), 1, tiles.shape[2], generator=generator).argsort(2).expand_as(tiles)
    return F.fold(tiles.gather(2, order), x.shape[2:], block, stride=block)


def noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Grey noise in place of ``(B, 1, 28, 28)``, each picture of its own brightness."""
    brightness = torch.rand(len(x), 1, 1, 1, generator=generator)
    return (2 * brightness * torch.rand(x.shape, generator=generator)).clamp_max(1)


def without_digit(x: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures ``(B, 1, 28, 28)`` made of digits that show none: shuffled blocks, shuffled pixels, noise, a third each."""
    a, b, c = x.tensor_split(3)
    return torch.cat([shuffled(a, 7, generator), shuffled(b, 1, generator), noise(c, generator)])


def main() -> None:
    """Train, save, and measure what was saved."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(SEED)
    splits = read_mnist(bundled("mnist"))
    x = pictures(np.concatenate([splits["train"][0], splits["valid"][0]]))
    label = torch.from_numpy(np.concatenate([splits["train"][1], splits["valid"][1]])).long()

    network = DigitNetwork()
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    began = time.perf_counter()
    for epoch in range(EPOCHS):
        for index in torch.randperm(len(x), generator=generator).split(BATCH)[: len(x) // BATCH]:
            digits = shifted(x[index], generator)
            shown = torch.cat([digits, without_digit(digits[:WITHOUT_DIGIT], generator)])
            # The even distribution over classes is the target of pictures without a digit.
            target = torch.full((len(shown), 10), 0.1)
            target[:BATCH] = F.one_hot(label[index], 10).float()
            loss = F.cross_entropy(network(mixed(shown, generator)), target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {float(loss.detach()):.4f}, {time.perf_counter() - began:.0f} s", flush=True)

    path = Path(musegen_image.__file__).parent / WEIGHTS
    weights = {n: t.half() if t.is_floating_point() else t for n, t in network.state_dict().items()}
    path.write_bytes(save(weights, metadata={"source": "data/make_digit_classifier.py", "data": "MNIST"}))
    test, answer = pictures(splits["test"][0]), torch.from_numpy(np.array(splits["test"][1])).long()
    for how in ("none", "threshold", "dynamic"):
        p = digit_probabilities(binarise(test, how, generator))
        right, sure = (p.argmax(1) == answer).float().mean(), (p.amax(1) > 0.9).float().mean()
        print(f"test, binarisation {how}: {100 * right:.2f} % right, {100 * sure:.2f} % with a probability above 0.9")
    for name, x in (
        ("blocks", shuffled(test, 7, generator)),
        ("pixels", shuffled(test, 1, generator)),
        ("noise", noise(test, generator)),
    ):
        p = digit_probabilities(x)
        print(f"without a digit, {name}: {100 * (p.amax(1) > 0.9).float().mean():.2f} % with a probability above 0.9")
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
