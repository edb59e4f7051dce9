"""The learning rate of each player, and its course."""

from __future__ import annotations

import math
from collections.abc import Mapping

from musegen.contracts.family import Player
from musegen.engine.config import EngineConfig
from musegen.errors import BadInput, did_you_mean, shown

__all__ = ["learning_rate_factor", "learning_rates"]


def learning_rates(config: EngineConfig, players: Mapping[str, Player]) -> dict[str, float]:
    """The rate of each player before its course: the run's, or the one that its family declares for it.

    Raises:
        BadInput: the run has a rate for a player that there is not.

    >>> from musegen.contracts.family import Player
    >>> from musegen.engine.config import EngineConfig
    >>> from musegen.engine.rates import learning_rates
    >>> players = {"discriminator": Player(("d",), 4e-4), "generator": Player(("g",), 1e-4)}
    >>> learning_rates(EngineConfig(), players)
    {'discriminator': 0.0004, 'generator': 0.0001}
    >>> learning_rates(EngineConfig(learning_rate={"generator": 1e-3}), players)
    {'discriminator': 0.0004, 'generator': 0.001}
    """
    rate = config.learning_rate
    if not isinstance(rate, dict):
        return {name: rate or player.learning_rate for name, player in players.items()}
    for name in rate:
        if name not in players:
            raise BadInput(
                f'learning_rate has a rate for "{shown(name)}", which is no player of this family: its players are '
                f"{', '.join(players)}.{did_you_mean(name, players)}"
            )
    return {name: rate.get(name, player.learning_rate) for name, player in players.items()}


def learning_rate_factor(config: EngineConfig, step: int) -> float:
    """What the learning rate of step ``step`` (from 0) is multiplied by: warm-up times schedule."""
    warm = min(1.0, (step + 1) / config.lr_warmup_steps) if config.lr_warmup_steps else 1.0
    progress = step / config.steps
    match config.schedule:
        case "linear":
            return warm * max(0.0, 1 - progress)
        case "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        case "inverse":
            return warm * (1 + 10 * progress) ** -0.75
        case _:
            return warm
