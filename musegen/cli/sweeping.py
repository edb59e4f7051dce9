"""The command for many runs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from musegen.cli.app import TRAIN, app
from musegen.cli.options import Flag, Networks, at_least, own_networks
from musegen.cli.output import print_table
from musegen.errors import BadInput, did_you_mean


@app.command(group=TRAIN)
def sweep(
    file: Path,
    *,
    jobs: Annotated[int, Parameter(name=["-j", "--jobs"], help="Runs at a time, each a process of its own.")] = 1,
    print_: Annotated[
        bool,
        Parameter(name="--print", negative="", help="Print a command for each run that is not done, and run none."),
    ] = False,
    only: Annotated[str | None, Parameter(help="Train this run alone, by the name of its folder.")] = None,
    network: Networks = [],  # noqa: B006
    quiet: Flag = False,
) -> None:
    """Train families × options × seeds, as a YAML file says, and compare them; the same command goes on where it was interrupted.

    Parameters
    ----------
    file
        A YAML file with out, family, domain, and perhaps data, options, vary, for, seeds and evaluate; see docs/researchers.md.
    quiet
        Show no progress of a run.
    """
    from musegen.running.comparing import compare
    from musegen.sweeping.plan import read_sweep
    from musegen.sweeping.runner import go, is_done, run_all

    at_least(1, jobs=jobs)
    plans, networks = {planned.name: planned for planned in read_sweep(file)}, own_networks(network)
    if only is not None:
        if only not in plans:
            raise BadInput(f'The sweep has no run "{only}".{did_you_mean(only, plans)}')
        go(plans[only], networks, quiet)
        return
    left = [planned for planned in plans.values() if not is_done(planned)]
    words = ["sweep", str(file.absolute()), *(f"--network={text}" for text in network)]
    if print_:
        for planned in left:
            print(shlex.join(["musegen", *words, "--only", planned.name]))
        return
    at_all = run_all(left, [*words, "--quiet", "--only"], jobs)
    failed = [name for name in plans if name in at_all]  # in the order of the sweep, whichever ended first
    finished = [planned.path for planned in plans.values() if planned.name not in failed]
    if finished:
        print_table(compare(finished).shown(), False)
    if failed:
        log = os.path.relpath(plans[failed[0]].path.with_name(f"{failed[0]}.log"))
        raise BadInput(f"{len(failed)} of {len(plans)} runs failed ({', '.join(failed[:3])}): look into {log}.")
