"""A file of a user's with a decoder."""

import math

from torch import nn


class Shaped(nn.Module):
    def __init__(self, wanted, spec):
        super().__init__()
        self.shape = spec.params_shape
        self.layers = nn.Sequential(nn.Linear(wanted.n_code, 16), nn.GELU(), nn.Linear(16, math.prod(self.shape)))

    def forward(self, z):
        return self.layers(z).reshape(-1, *self.shape)
