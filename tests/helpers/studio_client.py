"""A studio on a port of its own, and a client that speaks plain HTTP to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import musegen
from musegen.studio.runs import Runs
from musegen.studio.shelf import Models


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks a studio.

    Args:
        address, token: as the studio printed them.
    """

    def __init__(self, address: str, token: str) -> None:
        self.host, self.token = address.removeprefix("http://"), token

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, token: bool = True
    ) -> Answer:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.host, timeout=60)
        with contextlib.closing(connection):
            own = {"Authorization": f"Bearer {self.token}"} if token else {}
            connection.request(method, path, content, {**own, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def job(self, path: str, body: Any) -> dict[str, Any]:
        """A piece of work, once it is over."""
        answer = self.ask("POST", path, body)
        assert answer.status == 202, answer.body
        job = answer.json
        while job["state"] in ("waiting", "running"):
            job = self.ask("GET", f"/api/jobs/{job['id']}?wait=10").json
        return dict(job)

    def pieces(self, path: str, body: Any) -> list[str]:
        """What came of it."""
        job = self.job(path, body)
        assert job["state"] == "done", job
        return list(job["pieces"])


@contextlib.contextmanager
def served(out: Path, runs: Path | None = None, **more: str) -> Iterator[Client]:
    """A studio with the models that ship and more of them, by name, and the training runs in a folder, in this process."""
    from musegen.data import bundled
    from musegen.studio import serving

    models = Models({name: name for name in bundled.models()} | more, lambda place: musegen.load(place, device="cpu"))
    with serving.studio(models, out, runs=Runs(folder=runs)) as studio:
        thread = threading.Thread(target=studio.run)
        thread.start()
        try:
            while not studio.server.started:
                time.sleep(0.01)
                assert thread.is_alive()
            yield Client(studio.address, studio.token)
        finally:
            studio.server.should_exit = True
            thread.join()
