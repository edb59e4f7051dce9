"""The interface of a studio: JSON over HTTP, described by ``GET /api/openapi.json``."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from musegen.data import bundled
from musegen.errors import BadInput, OutsideFault
from musegen.studio.desk import Desk
from musegen.studio.guard import Guard
from musegen.studio.openapi import described
from musegen.studio.requests import REQUESTS
from musegen.studio.shelf import Kept
from musegen.studio.work import Busy, Job

__all__ = ["application"]

T = TypeVar("T")

LONGEST_WAIT_S = 30.0
LOOK_S = 0.02
"""Between two looks at a job that somebody waits for."""
PAGE = Path(__file__).with_name("page")
SCRIPTS = (
    "studio",
    "api",
    "codes",
    "figure",
    "finger",
    "form",
    "lane",
    "pencil",
    "player",
    "roll",
    "runs",
    "tracks",
    "versions",
)
FILES = {f"{name}.js": "text/javascript" for name in SCRIPTS} | {"studio.css": "text/css"}
"""Of the page, beside ``index.html``, by name."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SOUNDS = {"wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg", "mp3": "audio/mpeg"}


def application(desk: Desk, token: str, hosts: frozenset[str]) -> Guard:
    """A studio as an ASGI application, behind its guard.

    Args:
        token, hosts: as of ``Guard``.
    """
    api = _Api(desk)
    public = frozenset(["/", *(f"/page/{name}" for name in FILES)])
    routes = [
        Route("/", api.page),
        Route("/page/{name}", api.page_file),
        Route("/api/openapi.json", api.description),
        Route("/api/models", api.models),
        Route("/api/models/{name}", api.model),
        *(Route(f"/api/{what}", api.asking(what), methods=["POST"]) for what in REQUESTS),
        Route("/api/open", api.open, methods=["POST"]),
        Route("/api/edit", api.edit, methods=["POST"]),
        Route("/api/runs", api.runs),
        Route("/api/runs/{name}", api.run),
        Route("/api/runs/{name}/samples/{step}", api.run_samples),
        Route("/api/save", api.save, methods=["POST"]),
        Route("/api/jobs/{id}", api.job, methods=["GET"]),
        Route("/api/jobs/{id}", api.cancel, methods=["DELETE"]),
        Route("/api/pieces/{id}", api.piece),
        Route("/api/pieces/{id}/file", api.file),
        Route("/api/pieces/{id}/picture", api.picture),
        Route("/api/pieces/{id}/sound", api.sound),
        Route("/api/pieces/{id}/stem", api.stem),
    ]
    handlers: Any = {BadInput: _bad_input, HTTPException: _http_error, Exception: _fault}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), token, hosts, public)


class _Api:
    """What each address answers."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def page(self, request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"content-security-policy": POLICY}, media_type="text/html")

    async def page_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            raise HTTPException(404, f"There is no {name}.")
        return FileResponse(PAGE / name, media_type=FILES[name])

    async def description(self, request: Request) -> Response:
        return JSONResponse(described())

    async def models(self, request: Request) -> Response:
        shipped = bundled.models()
        rows = [
            {
                "name": name,
                "about": bundled.summary(shipped[name]).replace("`", "") if place == name and name in shipped else "",
            }
            for name, place in self.desk.models.places.items()
        ]
        return JSONResponse({"models": rows})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.desk.models.places:
            raise HTTPException(404, f"There is no model {name}.")
        return JSONResponse(await run_sync(self.desk.models.about, name))

    def asking(self, what: str) -> Callable[[Request], Awaitable[Response]]:
        async def ask(request: Request) -> Response:
            return _accepted(self.desk.ask(what, await _values(request)))

        return ask

    async def open(self, request: Request) -> Response:
        return _accepted(self.desk.open(_query(request), await request.body()))

    async def edit(self, request: Request) -> Response:
        values = await _values(request)
        return await self._piece(await run_sync(self.desk.edit, values))

    async def save(self, request: Request) -> Response:
        values = await _values(request)
        return JSONResponse(await _while_wanted(request, lambda wanted: self.desk.save(values, wanted)))

    async def job(self, request: Request) -> Response:
        job = self._job(request)
        try:
            wait_s = min(max(float(request.query_params.get("wait", "0")), 0.0), LONGEST_WAIT_S)
        except ValueError:
            raise BadInput('wait is invalid: give seconds, as in "?wait=10".') from None
        until = time.monotonic() + wait_s
        while not job.over and time.monotonic() < until:
            await anyio.sleep(LOOK_S)
        return JSONResponse(_shown(job))

    async def cancel(self, request: Request) -> Response:
        job = self._job(request)
        self.desk.work.cancel(job)
        return JSONResponse(_shown(job))

    async def piece(self, request: Request) -> Response:
        return await self._piece(self._kept(request))

    async def _piece(self, kept: Kept) -> Response:
        return Response(await run_sync(_piece_as_json, kept), media_type="application/json")

    async def picture(self, request: Request) -> Response:
        kept = self._kept(request)

        def png() -> bytes:
            content = io.BytesIO()
            kept.piece.picture().save(content, "PNG")
            return content.getvalue()

        return Response(await run_sync(png), media_type="image/png")

    async def file(self, request: Request) -> Response:
        kept = self._kept(request)
        return FileResponse(kept.file, media_type="application/octet-stream", filename=kept.file.name)

    async def sound(self, request: Request) -> Response:
        kept, kind = self._kept(request), request.query_params.get("format", "wav")
        path = await _while_wanted(request, lambda wanted: self.desk.sound(kept, kind, wanted))
        return FileResponse(path, media_type=SOUNDS[kind])

    async def stem(self, request: Request) -> Response:
        kept, values = self._kept(request), _query(request)
        content = await _while_wanted(request, lambda wanted: self.desk.stem(kept, values, wanted))
        return Response(content, media_type=SOUNDS["wav"])

    async def runs(self, request: Request) -> Response:
        return JSONResponse({"runs": [{"name": name} for name in await run_sync(self.desk.runs.places)]})

    async def run(self, request: Request) -> Response:
        return JSONResponse(await run_sync(self.desk.runs.about, request.path_params["name"]))

    async def run_samples(self, request: Request) -> Response:
        step = request.path_params["step"]
        if not (step.isascii() and step.isdigit() and len(step) < 19):
            raise BadInput("The number of the step is invalid: give a whole one.")
        path = await run_sync(self.desk.runs.picture, request.path_params["name"], int(step))
        return FileResponse(path, media_type="image/png")

    def _job(self, request: Request) -> Job:
        job = self.desk.work.get(request.path_params["id"])
        if job is None:
            raise HTTPException(404, "There is no such work, or it was over long ago.")
        return job

    def _kept(self, request: Request) -> Kept:
        try:
            return self.desk.pieces.get(request.path_params["id"])
        except BadInput as error:
            raise HTTPException(404, str(error)) from None


def _accepted(job: Job) -> Response:
    return JSONResponse(_shown(job), 202)


def _shown(job: Job) -> dict[str, Any]:
    what, done, total, unit = job.progress
    return {
        "id": job.id,
        "what": job.what,
        "state": job.state,
        "progress": {"what": what, "done": done, "total": total, "unit": unit},
        "error": job.error,
        "pieces": job.result.pieces,
        "notes": job.result.notes,
        "codes": list(job.result.codes),
    }


def _piece_as_json(kept: Kept) -> bytes:
    figure, score = kept.piece.figure(), kept.piece.score()
    shown = {
        "id": kept.id,
        "name": kept.name,
        "made": dict(kept.made),
        "figure": None if figure is None else dataclasses.asdict(figure),
        "score": None if score is None else {**vars(score), "voices": [vars(voice) for voice in score.voices]},
    }
    return json.dumps(shown, allow_nan=False, separators=(",", ":")).encode()


def _query(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.query_params.items() if name != "token"}


async def _while_wanted(request: Request, call: Callable[[Callable[[], bool]], T]) -> T:
    """What a call in a thread gives. It is told whether the client still waits.

    Raises:
        BadInput: as the call does.
    """
    gone = threading.Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    error: BadInput | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            found = await run_sync(call, lambda: not gone.is_set())
        except BadInput as raised:  # a group would wrap it
            error = raised
        group.cancel_scope.cancel()
    if error is not None:
        raise error
    return found


async def _values(request: Request) -> dict[str, Any]:
    """The body of a request, a JSON object.

    Raises:
        BadInput: it is none.
    """
    try:
        values = json.loads(await request.body() or b"{}", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise BadInput("The body of the request is no JSON object: send one.")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(name)


async def _bad_input(request: Request, error: BadInput) -> Response:
    status = 503 if isinstance(error, Busy) else 500 if isinstance(error, OutsideFault) else 400
    return JSONResponse({"error": str(error)}, status)


async def _http_error(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, dict(error.headers or {}))


async def _fault(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"Something unexpected happened: {type(error).__name__}."}, 500)
