"""The autoencoder against principal component analysis."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear import Identity, Linear, UnitGaussian, correlated

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.engine.engine import Engine
from musegen.families.ae import AE, AEConfig
from musegen.running.config import RunConfig


def test_linear_autoencoder_spans_the_principal_subspace() -> None:
    """Baldi & Hornik 1989: with linear networks and squared error the decoder spans the first principal components."""
    n_data, n_code = 6, 2
    x = correlated(400, n_data)
    spec = Spec((n_data,), ("feature",), UnitGaussian())
    ae = AE(AEConfig(latent_dim=n_code), spec, {"encoder": Identity(n_data), "decoder": Linear(n_code, n_data)})
    engine = Engine(ae, RunConfig(steps=3000, learning_rate=0.02, schedule="cosine"))
    batch = Batch(x, torch.arange(len(x)))
    for _ in range(3000):
        engine.step([batch])

    centred = (x - x.mean(0)).double().numpy()
    _, singular, components = np.linalg.svd(centred, full_matrices=False)
    decoder = np.linalg.qr(ae.decoder.layer.weight.detach().double().numpy())[0]  # (6, 2), orthonormal
    cosines = np.linalg.svd(decoder.T @ components[:n_code].T, compute_uv=False)
    assert cosines.min() > 0.9999  # the largest principal angle between the subspaces is under 1°
    # And what is lost is exactly the discarded variance.
    with torch.no_grad():
        loss = float((x - ae.reconstruct(x)).square().sum(1).mean())
    assert loss == pytest.approx((singular[n_code:] ** 2).sum() / len(x), rel=1e-3)


def test_the_loss_is_in_nats_summed_over_cells() -> None:
    spec = Spec((4,), ("feature",), UnitGaussian())
    ae = AE(AEConfig(latent_dim=3), spec, {"encoder": Identity(4), "decoder": Linear(3, 4)})
    x = torch.randn(5, 4)
    ((player, losses),) = ae.updates(Batch(x, torch.arange(5)))
    expected = -torch.distributions.Normal(ae.decoder(ae.encode(x)), 1.0).log_prob(x).sum(1).mean()
    assert player == "autoencoder"
    torch.testing.assert_close(losses["loss"], expected)
