"""``musegen studio``: a page in the browser, and a server for scripts, on this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from musegen.cli.app import MAKE, app
from musegen.cli.options import Flag, unique
from musegen.errors import BadInput
from musegen.reporting import plain

if TYPE_CHECKING:
    from musegen.models.model import Model


@app.command(group=MAKE)
def studio(
    *models: Annotated[str, Parameter(help="Run folders and model files, beside the models that ship.")],
    port: Annotated[int, Parameter(help="Of its address; 0: any that is free.")] = 8765,
    host: Annotated[
        str,
        Parameter(help="Address of this machine; with another than the default other machines may reach the studio."),
    ] = "127.0.0.1",
    no_browser: Annotated[Flag, Parameter(help="Do not open the page in a browser.")] = False,
    runs: Annotated[Path, Parameter(help="Folder whose training runs it shows, beside the run folders given.")] = Path(
        "runs"
    ),
    out: Annotated[Path, Parameter(help="Folder that it saves to.")] = Path("studio"),
    osc: Annotated[
        int | None,
        Parameter(help="Also answer OSC messages, at this port of this machine; 0: any that is free."),
    ] = None,
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Make pieces in the browser, hear them, and write parts of them anew; scripts can, too, see docs/studio.md."""
    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise BadInput('The studio needs packages that are not installed: pip install "musegen[studio]".')
    if osc is not None and importlib.util.find_spec("pythonosc") is None:
        raise BadInput('OSC needs a package that is not installed: pip install "musegen[osc]".')
    for name, number in (("port", port), ("osc", osc or 0)):
        if not 0 <= number <= 65535:
            raise BadInput(f"--{name} {number} is invalid: use 0 to 65535.")
    from musegen.data import bundled
    from musegen.models.loading import locate
    from musegen.studio import serving
    from musegen.studio.runs import Runs
    from musegen.studio.shelf import Models

    def load(place: str) -> Model:
        import musegen

        return musegen.load(place, device=device)

    for model in models:
        locate(model)
    names = unique([*bundled.models(), *(Path(model).stem or model for model in models)])
    places = dict(zip(names, [*bundled.models(), *models], strict=True))
    given = [Path(model) for model in models if (Path(model) / "config.yaml").is_file()]
    with contextlib.ExitStack() as scopes:
        served = scopes.enter_context(serving.studio(Models(places, load), out, host, port, Runs(given, runs)))
        print(f"The studio's address is {served.address}, and its token {served.token}", flush=True)
        page = f"{served.address}/?token={served.token}"
        print(f"Its page: {page}", flush=True)
        print(plain(f"Models: {', '.join(names)}. It saves to {out}. Ctrl-C ends it."), flush=True)
        if osc is not None:
            from musegen.studio.osc import HOST, answering

            osc = scopes.enter_context(answering(served.desk, served.token, osc))
            print(f"OSC: messages to {HOST}, port {osc}, with the token as their first argument.", flush=True)
        if not no_browser:
            threading.Thread(
                target=webbrowser.open, args=[page], daemon=True
            ).start()  # some browsers come back when they end
        served.run()
