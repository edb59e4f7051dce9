"""A studio's requests as OSC messages over UDP (Wright & Freed 1997), for programs that make music live, on this machine alone.

A message ``/musegen/REQUEST`` has the token as its first argument and then pairs of a name and a value: fields of the request of
that name (``musegen.studio.requests``), or options of the model. What comes of it goes back to where the message came from:

    /musegen/piece ID FILE                                of each piece, in the order in which they were asked for
    /musegen/done REQUEST N                               when all is done: N pieces
    /musegen/note ID VOICE BEGIN LENGTH PITCH VELOCITY    of each note that ``/musegen/notes`` asked for, in beats
    /musegen/saved FOLDER                                 for ``/musegen/save``
    /musegen/error TEXT                                   what is wrong, in one sentence
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_message_builder import build_msg
from pythonosc.osc_server import ThreadingOSCUDPServer

from musegen.errors import BadInput, because_of, did_you_mean, shown
from musegen.studio.desk import Desk
from musegen.studio.requests import REQUESTS
from musegen.studio.work import Job

__all__ = ["answering"]

HOST, ROOT = "127.0.0.1", "/musegen/"
LISTS = ("tracks", "pieces")
"""Fields that are lists of names: in a message one text, with commas."""
Answer = Callable[..., None]


@contextlib.contextmanager
def answering(desk: Desk, token: str, port: int = 0) -> Iterator[int]:
    """A scope in which a studio answers OSC messages; its port.

    Args:
        token: that messages need.
        port: of this machine's own address; 0: any that is free.

    Raises:
        BadInput: the port cannot be had.
    """
    dispatcher = Dispatcher()
    try:
        server = _Server((HOST, port), dispatcher)
    except OSError as error:
        raise because_of(error, f"The port {port} for OSC cannot be had: {error.strerror}.") from None

    def heard(to: tuple[str, int], path: str, *values: Any) -> None:
        def answer(what: str, *arguments: Any) -> None:
            with contextlib.suppress(OSError):  # whoever asked is gone
                server.socket.sendto(build_msg(ROOT + what, arguments).dgram, to)

        try:
            _do(desk, token, path, values, answer)
        except BadInput as error:
            answer("error", str(error))
        except Exception as error:  # a fault of ours, or of a plugin; the server goes on
            answer("error", f"Something unexpected happened: {type(error).__name__}.")

    dispatcher.set_default_handler(heard, needs_reply_address=True)
    thread = threading.Thread(target=server.serve_forever, args=[0.1], name="osc", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingOSCUDPServer):
    daemon_threads, block_on_close = True, False
    max_packet_size = 1 << 16  # a file may come as a blob

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A packet that is no OSC is left unanswered."""


def _do(desk: Desk, token: str, path: str, values: Sequence[Any], answer: Answer) -> None:
    if not values or not secrets.compare_digest(str(values[0]).encode(), token.encode()):
        raise BadInput("The first argument is not the token that the studio printed: send it with every message.")
    what, values = path.removeprefix(ROOT), values[1:]
    if what in REQUESTS and what not in ("decode", "encode"):
        _wait(desk, desk.ask(what, _request(what, values)), answer)
    elif what == "open":
        named = _named(what, values)
        content = named.pop("content", b"")
        if not isinstance(content, bytes):
            raise BadInput("content is invalid: send the bytes of the file as a blob.")
        _wait(desk, desk.open(named, content), answer)
    elif what == "notes":
        _notes(desk, str(values[0]) if values else "", answer)
    elif what == "save":
        answer("saved", desk.save(_named(what, values))["folder"])
    else:
        known = [name for name in (*REQUESTS, "open", "notes", "save") if name not in ("decode", "encode")]
        raise BadInput(f"There is no message {shown(path)}.{did_you_mean(what, known)} Use one of {', '.join(known)}.")


def _wait(desk: Desk, job: Job, answer: Answer) -> None:
    desk.work.wait(job)
    if job.state != "done":
        raise BadInput(job.error or "It was cancelled.")
    for id in job.result.pieces:
        answer("piece", id, str(desk.pieces.get(id).file))
    answer("done", job.what, len(job.result.pieces))


def _notes(desk: Desk, id: str, answer: Answer) -> None:
    score = desk.pieces.get(id).piece.score()
    notes = score.notes if score else []
    for voice, first, last, pitch, velocity in notes:
        assert score is not None
        begin, length = first / score.ticks_per_beat, (last - first) / score.ticks_per_beat
        answer("note", id, voice, begin, length, pitch, velocity)
    answer("done", "notes", len(notes))


def _request(what: str, values: Sequence[Any]) -> dict[str, Any]:
    """The values of a request, those that it has no field for as options of the model."""
    named = _named(what, values)
    own = {field.name for field in fields(REQUESTS[what])}
    options = {name: value for name, value in named.items() if name not in own}
    return {name: value for name, value in named.items() if name in own} | ({"options": options} if options else {})


def _named(what: str, values: Sequence[Any]) -> dict[str, Any]:
    names = values[::2]
    if len(values) % 2 or not all(isinstance(name, str) for name in names):
        raise BadInput(f"{ROOT}{what} needs pairs of a name and a value behind the token.")
    return {name: _value(name, value) for name, value in zip(names, values[1::2], strict=True)}


def _value(name: str, value: Any) -> Any:
    if name in LISTS and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, float):
        return float(f"{value:.7g}")  # of 32 bits, as OSC has them: 0.9, not 0.8999999761581421
    return value
