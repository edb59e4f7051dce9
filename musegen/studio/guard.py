"""Who may use a studio: whoever knows its token, from this machine, from no other site, with requests of a reasonable size."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import anyio

__all__ = ["Guard"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
}
"""Of every answer, but where it has its own."""


class _Refused(Exception):
    """A request that is not answered: status, and why."""


class Guard:
    """An ASGI application in front of another one.

    A page of another site can have a browser send requests here, but it does not know the token; nor does a name that such a site
    gives to this machine (DNS rebinding) get through, as the host of a request must be one that the server was started under.

    Args:
        app: behind it.
        token: in the header ``Authorization: Bearer …``, or behind ``?token=`` where a browser sets no headers.
        hosts: names of the server, with the port, as browsers write them.
        public: addresses that need no token, of files that everybody has.
        most_bytes: of a request's body.
        patience_s: for a body to arrive.
    """

    def __init__(
        self,
        app: App,
        token: str,
        hosts: frozenset[str],
        public: frozenset[str] = frozenset(),
        most_bytes: int = 16 << 20,
        patience_s: float = 30,
    ) -> None:
        self.app, self.token, self.hosts, self.public = app, token, hosts, public
        self.most_bytes, self.patience_s = most_bytes, patience_s

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # nothing here speaks another protocol; the server closes the connection
        try:
            self._check(scope)
            body = await self._body(scope, receive)
        except _Refused as refused:
            status, why = refused.args
            await _answer(send, status, why)
            return
        await self.app(scope, _given(body, receive), _with_headers(send))

    def _check(self, scope: Message) -> None:
        """Refuse a stranger.

        Raises:
            _Refused: it is one.
        """
        headers = {name.lower(): value for name, value in scope["headers"]}
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if host not in self.hosts:
            raise _Refused(403, "This studio is not called so: use the address that it printed.")
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if (origin and origin != f"http://{host}") or headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
            raise _Refused(403, "Pages of other sites may not use this studio.")
        if scope["path"] in self.public and scope["method"] in ("GET", "HEAD"):
            return
        kind, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        query = (
            parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=20, errors="replace") if not given else {}
        )
        token = given if kind.lower() == "bearer" else query.get("token", [""])[0]
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            raise _Refused(401, "The token is missing or wrong: use the address that the studio printed.")

    async def _body(self, scope: Message, receive: Receive) -> bytes:
        """The whole body of a request.

        Raises:
            _Refused: it is too large, or does not arrive.
        """
        too_large = _Refused(413, f"A request may have {self.most_bytes:,} bytes: send less.")
        for name, value in scope["headers"]:
            if name.lower() == b"content-length" and (not value.isdigit() or int(value[:20]) > self.most_bytes):
                raise too_large
        body = bytearray()
        with anyio.move_on_after(self.patience_s) as patience:
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > self.most_bytes:
                    raise too_large
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    break
        if patience.cancelled_caught:
            raise _Refused(408, "The request did not arrive in time: send it again.")
        return bytes(body)


def _given(body: bytes, receive: Receive) -> Receive:
    """Gives the application a body that is there already."""
    sent = False

    async def give() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in message["headers"]}
            added = [(name, value) for name, value in _encoded(HEADERS) if name not in own]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, why: str) -> None:
    content = json.dumps({"error": why}).encode()
    headers = {
        **HEADERS,
        "content-type": "application/json",
        "content-length": str(len(content)),
        "connection": "close",
    }
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": content})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
