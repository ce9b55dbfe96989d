"""What stands before every request: hosts, origins, sizes, headers, counts, and a log without data."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datakiln.serve.settings import MEGA, Settings

log = logging.getLogger(__name__)
SMALL_BODY = 1 << 20  # bytes of a body that is no upload
TOO_LONG = "the body has more than {:,} bytes; send less"
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """An ASGI middleware.

    Arguments:
        app: What answers.
        settings: Of the server.
        counts: Requests by method and status, for `/metrics`.
    """

    def __init__(self, app: ASGIApp, settings: Settings, counts: Counter[tuple[str, int]]) -> None:
        """See the class."""
        self.app, self.settings, self.counts = app, settings, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers itself what must not go further."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        since, status = time.monotonic(), 0
        most = self.settings.upload_mb * MEGA if scope["path"] == "/v1/uploads" else SMALL_BODY
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:  # of all exceptions FastAPI's parsing of a body lets only this one through
                raise HTTPException(413, TOO_LONG.format(most))
            return message

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                there = {name.lower() for name, _ in message["headers"]}
                added = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in there]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            if (refused := self._refused(scope["method"], headers, most)) is not None:
                await _answer(answered, *refused)
            else:
                await self.app(scope, counted, answered)
        finally:
            self.counts[scope["method"] if scope["method"] in (*UNSAFE, "GET", "HEAD") else "other", status] += 1
            route = getattr(scope.get("route"), "path", "-")  # the pattern: names in it are somebody's
            log.info("%s %s %d %.0f ms", scope["method"], route, status, 1000 * (time.monotonic() - since))

    def _refused(self, method: str, headers: dict[str, str], most: int) -> tuple[int, str] | None:
        """Status and reason, where another site speaks through somebody's browser, or too much is announced."""
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name, is_foreign = urlsplit(f"//{host}").hostname, origin is not None and urlsplit(origin).netloc != host
        except ValueError:
            return 400, "host or origin is no address"
        if self.settings.is_local and name not in ("localhost", "127.0.0.1", "::1"):
            return 421, "this server answers to localhost only"
        if method in UNSAFE and (is_foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site")):
            return 403, "another site may not ask for this"
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            return 400, "content-length is no number"
        return (413, TOO_LONG.format(most)) if int(length[:18]) > most else None


async def _answer(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": kind})
    await send({"type": "http.response.body", "body": body})
