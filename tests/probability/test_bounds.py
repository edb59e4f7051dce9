"""Averages of importance weights."""

from __future__ import annotations

import pytest
import torch

from musegen.probability.bounds import log_mean_exp, log_mean_of_draws


@pytest.mark.parametrize("k", [1, 2, 7])
def test_draws_one_after_another_are_averaged_as_all_at_once(k: int) -> None:
    """Weights whose exponentials overflow, too."""
    log_w = 300 * torch.randn(k, 5)
    draws = iter(log_w)
    found = log_mean_of_draws(lambda: next(draws), k)
    torch.testing.assert_close(found, log_mean_exp(log_w))
    torch.testing.assert_close(found.double(), log_w.double().exp().mean(0).log())
    assert next(draws, None) is None
