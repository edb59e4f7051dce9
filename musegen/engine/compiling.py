"""Compiled networks: the run option ``compile``.

Networks are compiled where they stand (``nn.Module.compile``), so that names in a checkpoint do not change, and a checkpoint
does not know whether they were. What a family does with their outputs, drawing and losses, stays as it is written.
"""

from __future__ import annotations

import logging

from musegen.contracts.family import Family
from musegen.errors import BadInput

__all__ = ["compile_networks", "not_compiled"]

BACKEND = "inductor"
RECOMPILATIONS = 64
"""Of a function, at most: networks of one class share theirs, and train and evaluate at several batch sizes. torch's 8 are
too few for a family of six networks, and beyond that limit it goes on without compiling."""


def compile_networks(family: Family, mode: str) -> list[str]:
    """Compile a family's networks, but for those that a loss differentiates twice, which compiled graphs do not support.

    Args:
        mode: ``default``, or ``reduce-overhead``, which replays CUDA graphs and so saves the host's time for each call.

    Returns:
        The names of those that stay as they are.
    """
    import torch._dynamo.config
    import torch._logging

    # That a network which decides by its data is compiled in parts is no news.
    torch._logging.set_logs(dynamo=logging.ERROR)
    torch._dynamo.config.recompile_limit = max(RECOMPILATIONS, torch._dynamo.config.recompile_limit)
    options = None
    if BACKEND == "inductor":
        from torch._inductor import list_mode_options

        # Dropout and the like draw the numbers that they draw without compiling: from torch's generator, which is saved.
        options = list_mode_options(mode) | {"fallback_random": True}
    left = []
    for name, network in family.named_children():
        if next(network.parameters(), None) is None:
            continue
        if name in family.differentiated_twice:
            left.append(name)
        else:
            network.compile(backend=BACKEND, options=options)
    return left


def not_compiled(error: Exception) -> BadInput | None:
    """What to tell somebody whose networks cannot be compiled here; None for another error."""
    from torch._dynamo.exc import TorchDynamoException

    if isinstance(error, TorchDynamoException):
        # Its second line is the backend's own error; the first says which backend that was.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()][:2]
        reason = lines[-1][:200].rstrip(".") if lines else type(error).__name__
        return BadInput(f"The networks cannot be compiled here: {reason}. Use compile=none.")
    if "double backward" in str(error):
        return BadInput(
            "A loss of this family differentiates a network twice, which compiled networks do not support: use compile=none."
        )
    return None
