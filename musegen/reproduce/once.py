"""The score on test examples, which is computed once per run: whoever tunes looks at validation examples.

A run folder keeps ``test_score.json``: the score, and a fingerprint of the weights, the data and the measure it is of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from musegen.errors import BadInput
from musegen.files import content_of, write_atomically
from musegen.limits import RECORD_CAP_BYTES
from musegen.models.model import Model

__all__ = ["fingerprint", "score_once"]

FILE = "test_score.json"


def fingerprint(model: Model, measure: Mapping[str, Any], data: str) -> str:
    """SHA-256 of the weights, the measure with its arguments, and the description of the data."""
    digest = hashlib.sha256(json.dumps([dict(measure), data], sort_keys=True).encode())
    for name, tensor in sorted(model.family.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(-1).numpy().tobytes())
    return digest.hexdigest()


def score_once(folder: Path, own: str, compute: Callable[[], dict[str, Any]], again: bool = False) -> dict[str, Any]:
    """The score that the run folder keeps, or a new one, which it keeps from then on.

    Args:
        own: the fingerprint.
        again: compute it even if there is one.

    Raises:
        BadInput: there is one of other weights, data or arguments.
    """
    path = folder / FILE
    if path.is_file() and not again:
        try:
            kept = json.loads(content_of(path, RECORD_CAP_BYTES))
            before, score = kept["fingerprint"], dict(kept["score"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise BadInput(f"{path} is damaged: add --test-again to measure on the test examples again.") from None
        if before != own:
            raise BadInput(
                f"The test examples were already used for {folder}, with other weights or another measure: compare on validation "
                "examples (--valid), or add --test-again."
            )
        return score
    score = compute()
    write_atomically(path, json.dumps({"fingerprint": own, "score": score}, indent=1).encode())
    return score
