"""Commands that train."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from musegen.cli.app import TRAIN, app
from musegen.cli.options import Assignments, Flag, Networks, Options, RunOptions, given_options, own_networks
from musegen.engine.launch import launch, wanted
from musegen.errors import BadInput
from musegen.option_texts import parse_assignments
from musegen.options import load_yaml

if TYPE_CHECKING:
    from musegen.running.runs import Run


@app.command(group=TRAIN)
def train(
    family: str | None = None,
    domain: str | None = None,
    data: Path | None = None,
    *,
    out: Path | None = None,
    set_: Assignments = [],  # noqa: B006
    config: Path | None = None,
    network: Networks = [],  # noqa: B006
    overwrite: Flag = False,
    quiet: Flag = False,
    options: Options = RunOptions(),  # noqa: B008
) -> None:
    """Train a family on a domain. With FAMILY and DOMAIN, --help lists the options of the two.

    Parameters
    ----------
    family
        What to train; see musegen families. It may also be in --config.
    domain
        The kind of data; see musegen domains. It may also be in --config.
    data
        A file or folder; without it, the data that ship with musegen.
    out
        The run folder to create; runs/FAMILY-DOMAIN if not given.
    config
        A YAML file of options; those on the command line take precedence.
    overwrite
        Replace an older run of that name.
    quiet
        Show no progress.
    """
    import musegen

    from_file = load_yaml(config) if config is not None else {}
    family, domain = family or from_file.get("family"), domain or from_file.get("domain")
    if family is None or domain is None:
        raise BadInput(
            "Say what to train on what: musegen train FAMILY DOMAIN, for example musegen train vae pianoroll."
        )
    out = out or Path("runs") / f"{family}-{domain}"
    given = parse_assignments(set_) | given_options(options)
    mine = own_networks(network)
    if (n := wanted((from_file | given).get("processes"))) > 1:
        raise SystemExit(launch(n))
    given |= mine
    run = musegen.train(family, domain, data=data, out=out, config=config, overwrite=overwrite, quiet=quiet, **given)
    _say_next(run)


@app.command(group=TRAIN)
def resume(
    run: Path,
    *,
    data: Path | None = None,
    network: Networks = [],  # noqa: B006
    quiet: Flag = False,
    options: Options = RunOptions(),  # noqa: B008
) -> None:
    """Continue a run exactly where it stopped. Of its options these may change: --steps, --minutes, --learning-rate, --schedule,
    --device, --processes, --compile, --early-stop, --tensorboard, --samples, and how often to log, validate, save and sample.

    Parameters
    ----------
    run
        The run folder.
    data
        Where its data are by now, if they have moved; they must be the same.
    quiet
        Show no progress.
    """
    import musegen

    recorded = run / "config.yaml"
    known = load_yaml(recorded) if recorded.is_file() else {}
    if (n := wanted((known | given_options(options)).get("processes"))) > 1:
        raise SystemExit(launch(n))
    given = given_options(options) | own_networks(network)
    _say_next(musegen.resume(run, data=data, quiet=quiet, **given))


def _say_next(run: Run) -> None:
    if os.environ.get("RANK", "0") == "0":  # of several processes the first one speaks
        shown = os.path.relpath(run.path)
        print(f"The run is in {shown}.\nNext: {_next_command(run, shown)}")


def _next_command(run: Run, shown: str) -> str:
    """A command for this very model, ready for the shell: what it can do depends on its family, and may on its options."""
    from musegen.contracts.family import build

    resolved = run.config()
    can = build(resolved.family, resolved.family_config, resolved.make_domain()).capabilities
    if can.sample:
        words = ["generate", shown, "-n", "8", "--out", "out"]
    elif can.reconstruct:
        words = ["reconstruct", shown, "FILE", "--out", "out"]
    elif can.classify:
        words = ["classify", shown, "FILE"]
    elif can.log_prob:
        words = ["score", shown, "FILE"]
    elif can.encode:
        words = ["latent", shown]
    else:
        words = ["export", shown, "model.safetensors"]
    return shlex.join(["musegen", *words])
