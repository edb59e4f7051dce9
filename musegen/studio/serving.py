"""A studio on an address of this machine."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from musegen.errors import BadInput, because_of
from musegen.studio.api import application
from musegen.studio.desk import Desk
from musegen.studio.runs import Runs
from musegen.studio.shelf import Models, Pieces, read
from musegen.studio.work import Work

__all__ = ["Served", "studio"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_CONNECTIONS = 128


class Served:
    """A studio that has an address.

    Attributes:
        desk: what it does, without a server.
        address: of it, ``http://127.0.0.1:8765``; with ``/?token=…`` behind it, of its page.
        token: that requests need.
        server: runs it: ``server.run(sockets=[socket])``.
    """

    def __init__(self, desk: Desk, host: str, port: int) -> None:
        self.desk = desk
        self.token = secrets.token_urlsafe(18)
        self.socket = _bound(host, port)
        port = self.socket.getsockname()[1]
        hosts = frozenset(f"{_in_address(name)}:{port}" for name in {host, *(LOOPBACK if host in LOOPBACK else ())})
        self.address = f"http://{_in_address(host)}:{port}"
        config = uvicorn.Config(
            application(desk, self.token, hosts),
            log_level="warning",
            access_log=False,  # addresses hold the token
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            ws="none",
            lifespan="off",
        )
        self.server = uvicorn.Server(config)

    def run(self) -> None:
        """Answer until a signal ends it."""
        self.server.run(sockets=[self.socket])


@contextlib.contextmanager
def studio(
    models: Models, out: Path, host: str = "127.0.0.1", port: int = 0, runs: Runs | None = None
) -> Iterator[Served]:
    """A studio that can be run, with a folder and a thread of its own, which end with the scope.

    Args:
        models: that it has.
        out: the folder that it saves to.
        host: an address of this machine.
        port: 0: any that is free.
        runs: that it shows.

    Raises:
        BadInput: the address cannot be had.
    """
    folder = Path(tempfile.mkdtemp(prefix="musegen-studio-"))
    pieces = Pieces(folder, lambda model, file: read(models.get(model), file))
    try:
        with Work() as work:
            yield Served(Desk(models, pieces, out, work, runs), host, port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bound(host: str, port: int) -> socket.socket:
    if host in ("", "0.0.0.0", "::"):
        raise BadInput(f'host="{host}" is invalid: name one address of this machine, under which others will find it.')
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise because_of(error, f"The address {host}, port {port}, cannot be had: {error.strerror}.") from None


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()
