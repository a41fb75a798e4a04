"""One connection, stricter than uvicorn's own: headers must come in time, what is written must be read in time, there
are only so many connections, and what is not HTTP is told so as JSON.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from luthier.serving.gateway.bounds import Bounds
from luthier.serving.gateway.errors import Problem, to_json


def bounded_protocol(bounds: Bounds) -> type[H11Protocol]:
    """uvicorn's protocol within these bounds."""

    class Connection(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > bounds.max_connections:
                self._say(Problem(429, "too many connections", "overloaded", headers={"Retry-After": "1"}))
            else:
                self._end_in(bounds.header_seconds)

        def connection_lost(self, exc: Exception | None) -> None:
            self._in_time()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:
                self._in_time()
            elif self._timer is None and self._waits_for_headers():
                self._end_in(bounds.header_seconds)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._in_time()
            self._end_in(bounds.write_seconds)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._in_time()

        def send_400_response(self, msg: str) -> None:
            if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
                self.transport.abort()  # an answer is on its way, and nothing can be said into it
                return
            self._say(Problem(400, msg, "invalid_http"))

        def _waits_for_headers(self) -> bool:
            return self.conn.their_state is h11.IDLE

        def _end_in(self, seconds: float) -> None:
            self._timer = self.loop.call_later(seconds, self.transport.abort)

        def _in_time(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _say(self, problem: Problem) -> None:
            body = to_json(problem.body("/"))
            lines = [f"HTTP/1.1 {problem.status} ", "Content-Type: application/json", "Connection: close"]
            lines += [f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in problem.headers.items())]
            self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            self.transport.close()

    return Connection
