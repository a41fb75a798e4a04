"""The door: who may come in and with how much, before any route is looked at. Every route but /healthz is behind it.

A browser that was led here under a foreign name (DNS rebinding) is stopped by the Host header, a foreign page by its
Origin. A body is read whole, within its size and time, before anything is made of it. Knows nothing of routes.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.serving.gateway.bounds import Bounds
from luthier.serving.gateway.errors import Problem
from luthier.serving.keys import Key, KeyRing

OPEN = frozenset({"/healthz"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
CLIENT_GONE = 499  # nginx' word for it; nobody sees it but the log
_DISCARD_SECONDS, _DISCARD_BODIES = 1.0, 8  # of what is too large: how long, and how many times the limit
_UNAUTHORIZED = {"WWW-Authenticate": 'Bearer realm="luthier"'}


class ClientGone(Exception):
    """The client left before its request was there."""


class Door:
    """ASGI middleware. `hosts`: names that this server may be called by, None any; `origins`: foreign pages that may
    ask; `keys`: None where everybody may."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        bounds: Bounds,
        hosts: Collection[str] | None,
        origins: Collection[str] = (),
        keys: KeyRing | None = None,
        responded: Callable[[Scope, int, float], None] = lambda scope, status, seconds: None,
    ) -> None:
        self._app, self._bounds, self._keys = app, bounds, keys
        self._hosts, self._origins = hosts, frozenset(origins)
        self._responded = responded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def write(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            problem = self._refused(scope)
            body = None if problem else await self._body(scope, receive)
            if isinstance(body, Problem):
                problem = body
            if problem is not None:
                response = problem.response(scope["path"])
                # The rest of the body is not read, so nothing else can be asked on this connection.
                response.headers["Connection"] = "close"
                await response(scope, receive, write)
            else:
                _call_it_json(scope)
                await self._app(scope, _replay(body or b"", receive), write)  # type: ignore[arg-type]
        except ClientGone:
            status = CLIENT_GONE
        finally:
            self._responded(scope, status, time.perf_counter() - started)

    def _refused(self, scope: Scope) -> Problem | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        most = self._bounds.max_header_bytes
        if sum(len(name) + len(value) for name, value in scope["headers"]) > most:
            return Problem(431, f"the headers are larger than {most:,} bytes", "headers_too_large")
        host = headers.get(b"host", "")
        if self._hosts is not None and _host_name(host) not in self._hosts:
            return Problem(
                403,
                f"this server is not called {host!r:.100}: start it with --allow-host to let it answer to that name",
                "host_not_allowed",
            )
        origin = headers.get(b"origin")
        if origin is not None and origin not in self._origins and not self._is_own(origin, host):
            return Problem(
                403, f"pages of {origin!r:.100} may not ask: start with --allow-origin", "origin_not_allowed"
            )
        if self._keys is None or scope["path"] in OPEN:
            return None
        key = self._keys.authenticate(_token(headers.get(b"authorization", "")))
        if key is None:
            return Problem(
                401, "a key is needed: Authorization: Bearer KEY", "invalid_api_key", None, _UNAUTHORIZED
            )
        scope.setdefault("state", {})["key"] = key
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        """A page of this very server, or of this machine where that is who may come."""
        parts = urlsplit(origin)
        if parts.netloc and parts.netloc == host:
            return True
        return self._hosts is not None and parts.netloc != "" and _host_name(parts.netloc) in LOOPBACK

    async def _body(self, scope: Scope, receive: Receive) -> bytes | Problem:
        most = self._bounds.max_body_bytes
        too_large = Problem(413, f"the body is larger than {most:,} bytes", "body_too_large")
        said = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not said.isdigit() or int(said[:20]) > most:
            await self._discard(receive)
            return too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._bounds.body_seconds):
                more = True
                while more and size <= most:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    more = message.get("more_body", False)
        except TimeoutError:
            return Problem(
                408,
                f"the body did not come within {self._bounds.body_seconds:g} seconds: {size:,} bytes so far",
                "body_too_slow",
            )
        if size > most:
            await self._discard(receive)
            return too_large
        return b"".join(parts)

    async def _discard(self, receive: Receive) -> None:
        """Read on for a while and keep nothing: who is still sending would never see the answer."""
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while size < _DISCARD_BODIES * self._bounds.max_body_bytes:
                    message = await receive()
                    size += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return


def key_of(scope: Scope) -> Key | None:
    """Whose key came with this request."""
    found: Key | None = scope.get("state", {}).get("key")
    return found


def _token(authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _host_name(host: str) -> str:
    """`localhost` of `LOCALHOST:8000`; `[::1]` keeps its brackets."""
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")


def _call_it_json(scope: Scope) -> None:
    """Every body here is JSON, whatever a client calls it: curl calls all that it sends a form."""
    if scope["method"] == "POST":
        others = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
        scope["headers"] = [*others, (b"content-type", b"application/json")]


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, then what comes after it: the client leaving."""
    given = False

    async def again() -> Any:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again
