"""One of two processes, of which the second gets a signal in the middle of a step; both must stop there, and go on from there.

python interrupted_together.py FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from toy import ToyPlugin

import musegen
from musegen.engine.checkpoint import newest_checkpoint
from musegen.families.gan import GAN
from musegen.plugins import registry
from musegen.running import session, signals
from musegen.running.runs import Run

UPDATES = 301
OPTIONS: dict[str, Any] = {"critic_steps": UPDATES - 1, "latent_dim": 2, "batch_size": 4, "steps": 4, "log_every": 1}
OPTIONS |= {"loss": "hinge", "validate_every": 0, "sample_every": 0, "ema": 0.5, "quiet": True, "device": "cpu"}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    registry().register(ToyPlugin(), "tests")
    session.KEEP_EVERY_S, session.KEEP_SHARE, signals.GRACE_S = -1.0, 1e9, 0.0
    rank, updates, seen = int(os.environ["RANK"]), GAN.updates, 0
    whole = musegen.train("gan", "toy", out=folder / "whole", **OPTIONS)

    def watched(self: GAN, batch: Any) -> Iterator[Any]:
        nonlocal seen
        for update in updates(self, batch):
            if self.training:
                seen += 1
                if rank == 1 and seen == 2 * UPDATES + 20:
                    os.kill(os.getpid(), signal.SIGINT)
            yield update

    GAN.updates = watched  # type: ignore[method-assign]
    said = ""
    try:
        musegen.train("gan", "toy", out=folder / "run", **OPTIONS)
    except signals.Interrupted as interrupted:
        said = str(interrupted)
    GAN.updates = updates  # type: ignore[method-assign]
    run = Run.open(folder / "run")
    musegen.resume(run.path, quiet=True)
    (ours, _), (theirs, _) = (newest_checkpoint(r.checkpoints) for r in (run, whole))
    pairs = {f"{part}/{name}": (ours[part][name], t) for part in theirs for name, t in theirs[part].items()}
    differences = [name for name, pair in pairs.items() if not torch.equal(*(t.nan_to_num(7.0) for t in pair))]
    steps = [row["step"] for row in run.metrics()]
    found = {"said": said, "seen": seen, "differences": differences, "steps": steps}
    (folder / f"found.{rank}").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
