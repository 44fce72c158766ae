"""What a page on this machine must refuse: other hosts, other origins, bodies without end."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crbench.errors import UserError

HOSTS = ["127.0.0.1", "localhost"]
_HEADERS = {
    # same-origin and not no-referrer: with that, browsers hide the origin of our own forms too
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_DRAIN_BYTES, _DRAIN_SECONDS = 8 * 2**20, 2.0


class Refused(Exception):
    """A request that is not answered: the HTTP status, and the message of its page."""

    def __init__(self, status: int, error: UserError) -> None:
        super().__init__(str(error))
        self.status, self.error = status, error


class Guard:
    """Around the whole application: headers on every answer, and no body over ``most`` bytes.

    The body is counted as it comes, whatever its length claims to be. After a refusal a little of
    the rest is read and dropped, since a connection that is closed at once loses the answer.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        state: dict[str, Any] = {"read": 0, "ended": not has_body(scope)}

        async def counted() -> Message:
            message = await receive()
            state["ended"] = message["type"] != "http.request" or not message.get("more_body")
            state["read"] += len(message.get("body", b""))
            if state["read"] > self.most:
                raise too_large(self.most)
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                if not state["ended"]:
                    headers["Connection"] = "close"
            elif not message.get("more_body") and not state["ended"]:
                await send({**message, "more_body": True})
                await self._drain(receive)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        return await self.app(scope, counted, guarded)

    async def _drain(self, receive: Receive) -> None:
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                dropped = 0
                while dropped < _DRAIN_BYTES:
                    message = await receive()
                    dropped += len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body"):
                        return
        except TimeoutError:
            return


def has_body(scope: Scope) -> bool:
    """Whether a request announces a body."""
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def too_large(most: int) -> Refused:
    """The refusal of a file that no image of this run needs."""
    return Refused(
        413,
        UserError(
            f"the file is larger than {most / 2**20:,.0f} MiB, which no image of this run needs",
            fix="cut one image of the sensor's size out of it",
        ),
    )


def check_origin(headers: Headers) -> None:
    """Refuse a form that another page sends: the browser says where it comes from."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    own = f"http://{headers.get('host', '')}"
    if (origin is not None and origin != own) or site not in (None, "same-origin", "none"):
        raise Refused(
            403,
            UserError("this was sent by another page", fix="choose the image on this page itself"),
        )


def check_length(headers: Headers, most: int) -> None:
    """Refuse a body that says itself that it is too long, before any of it is read."""
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise too_large(most)
