"""One answer as one HTTP response, whole or as a stream; a client that leaves ends it at once.

The first part of an answer is awaited before a status is sent, so that a full queue is a 429 and not a broken stream.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Protocol

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from luthier.serving.gateway.errors import Problem, problem_of, to_json
from luthier.serving.protocol import Chosen, Delta, Event, Finished


class Writer(Protocol):
    """Events in the words of one API."""

    media_type: str

    def start(self, chosen: Chosen) -> Iterable[bytes]:
        """What a stream begins with."""
        ...

    def part(self, event: Delta | Finished) -> Iterable[bytes]:
        """One more event."""
        ...

    def end(self) -> Iterable[bytes]:
        """What a stream ends with."""
        ...

    def broken(self, problem: Problem) -> Iterable[bytes]:
        """The end of a stream that cannot go on."""
        ...

    def whole(self, chosen: Chosen, events: list[Delta | Finished]) -> bytes:
        """All of it in one body."""
        ...


def decision_headers(id: str, chosen: Chosen) -> dict[str, str]:
    """Who answers and why, as headers."""
    told = {
        "x-request-id": id,
        "x-luthier-specialist": chosen.specialist or "base",
        "x-luthier-decision": f"{chosen.word}: {chosen.why}",
    }
    return {name: _header(value) for name, value in told.items()}


class AnswerResponse(Response):
    """Sends an answer. `is_stream`: as it comes."""

    def __init__(
        self, id: str, events: AsyncGenerator[Event, None], writer: Writer, *, is_stream: bool
    ) -> None:
        self._id, self._events, self._writer, self._is_stream = id, events, writer, is_stream
        self.background: BackgroundTask | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answering = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not answering.done():
                answering.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)
        if not answering.cancelled() and (error := answering.exception()) is not None:
            raise error

    async def _send(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            chosen = await anext(events)
            assert isinstance(chosen, Chosen)
            first = await anext(events)
            send_all = self._stream if self._is_stream else self._whole
            await send_all(chosen, _from(first, events), send)

    async def _whole(self, chosen: Chosen, events: AsyncIterator[Event], send: Send) -> None:
        body = self._writer.whole(chosen, [event async for event in events if not isinstance(event, Chosen)])
        headers = decision_headers(self._id, chosen) | {"content-length": str(len(body))}
        await _start(send, headers, "application/json")
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, chosen: Chosen, events: AsyncIterator[Event], send: Send) -> None:
        async def write(parts: Iterable[bytes], *, more: bool = True) -> None:
            body = b"".join(parts)
            if body or not more:
                await send({"type": "http.response.body", "body": body, "more_body": more})

        headers = decision_headers(self._id, chosen) | {"cache-control": "no-store"}
        await _start(send, headers, self._writer.media_type)
        await write(self._writer.start(chosen))
        try:
            async for event in events:
                if not isinstance(event, Chosen):
                    await write(self._writer.part(event))
        except Exception as error:  # the status is sent: what is left is to say it in the stream
            await write(self._writer.broken(problem_of(error)), more=False)
            return
        await write(self._writer.end(), more=False)


async def _start(send: Send, headers: Mapping[str, str], media_type: str) -> None:
    raw = {"content-type": media_type, **headers}
    pairs = [(name.encode(), value.encode()) for name, value in raw.items()]
    await send({"type": "http.response.start", "status": 200, "headers": pairs})


async def _from(first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[Event]:
    yield first
    async for event in rest:
        yield event


async def _left(receive: Receive) -> None:
    """Returns once the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _header(value: str) -> str:
    """What may stand in a header: visible ASCII."""
    return "".join(char if " " <= char <= "~" else "?" for char in value)[:500]


def sse(value: object) -> bytes:
    """One server-sent event."""
    return b"data: " + to_json(value) + b"\n\n"


def ndjson(value: object) -> bytes:
    """One line."""
    return to_json(value) + b"\n"
