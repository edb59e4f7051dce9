"""Which digit a picture shows, and how surely: a small convolutional network that ships with its weights.

It judges samples of models of MNIST, in the manner of the Inception score (Salimans et al. 2016, 1606.03498), with a
network that knows digits in place of one that knows photographs. ``data/make_digit_classifier.py`` trained it on all
60,000 training images, grey, thresholded and dynamically binarised alike, so that it reads expectations as well as draws,
and on noise and shuffled digits, of which it doubts everything. What is almost a digit may still pass for one: confidence
is a necessary mark of good samples, not a sufficient one. Samples of training images would have it as well.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import torch
from safetensors.torch import load
from torch import Tensor, nn

__all__ = [
    "CONFIDENT",
    "WEIGHTS",
    "DigitNetwork",
    "class_entropy",
    "confidence",
    "confident_share",
    "digit_features",
    "digit_probabilities",
]

WEIGHTS = "digits.safetensors"
"""File of weights in this package, float16."""
CONFIDENT = 0.9
"""Probability above which a picture shows a digit beyond doubt; 98 to 99 % of MNIST's test images do."""
CHUNK = 1000


class DigitNetwork(nn.Sequential):
    """x ``(n, 1, 28, 28)`` in [0, 1] → logits ``(n, 10)``."""

    def __init__(self) -> None:
        super().__init__(
            *self._block(1, 24, 5),  # (n, 24, 14, 14)
            *self._block(24, 48, 3),  # (n, 48, 7, 7)
            *self._block(48, 64, 3),  # (n, 64, 3, 3): the last row and column of 7 fall outside the pooling
            nn.Flatten(),  # (n, 576)
            nn.Linear(576, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )

    @staticmethod
    def _block(n_in: int, n_out: int, kernel: int) -> list[nn.Module]:
        conv = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
        return [conv, nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)]


@cache
def _trained(device: torch.device) -> DigitNetwork:
    # Without values at first: initialising draws random numbers, and those belong to whoever is training.
    with torch.device("meta"):
        network = DigitNetwork()
    weights = load(files("musegen_image").joinpath(WEIGHTS).read_bytes())
    whole = {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}
    network.load_state_dict(whole, assign=True)
    return network.eval().requires_grad_(False).to(device)


@torch.no_grad()
def digit_probabilities(x: Tensor) -> Tensor:
    """p(digit | x): pictures ``(n, 1, 28, 28)`` in [0, 1], white on black → ``(n, 10)``, on the device of x."""
    if x.shape[1:] != (1, 28, 28):
        raise ValueError(f"pictures of digits have the shape (n, 1, 28, 28), not {tuple(x.shape)}")
    if not len(x):
        return x.new_zeros(0, 10, dtype=torch.float32)
    network = _trained(x.device)
    return torch.cat([network(part.float()).softmax(1) for part in x.split(CHUNK)])


@torch.no_grad()
def digit_features(x: Tensor) -> Tensor:
    """What the last layer sees, for distances between sets of digits: pictures ``(n, 1, 28, 28)`` → ``(n, 128)``."""
    network = nn.Sequential(*list(_trained(x.device))[:-1])
    return torch.cat([network(part.float()) for part in x.split(CHUNK)])


def confidence(probabilities: Tensor, threshold: float = CONFIDENT) -> float:
    """Share of ``(n, K)`` whose most probable class has a probability above ``threshold``."""
    return float((probabilities.amax(1) > threshold).float().mean())


def confident_share(x: Tensor, threshold: float = CONFIDENT) -> float:
    """Share of pictures ``(n, 1, 28, 28)`` in [0, 1] that show a digit with a probability above ``threshold``."""
    return confidence(digit_probabilities(x), threshold)


def class_entropy(probabilities: Tensor) -> float:
    """Entropy of the mean class distribution of ``(n, K)``, nats: log K if every class is as frequent, 0 if one is alone."""
    return float(torch.special.entr(probabilities.double().mean(0)).sum())
