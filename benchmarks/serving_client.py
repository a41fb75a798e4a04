"""A light client of the OpenAI protocol over plain sockets, for load and for ill-mannered traffic.

It costs the machine a fraction of what a full client costs, so that on two cores the servers are measured. Knows
nothing of what is asked.
"""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """What came back. text and reason of a chat answer; seconds from the request to the first word and to the end.

    num_tokens: as the server counts them; where it does not, its parts with text.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    text: str = ""
    reason: str = ""
    num_tokens: int = 0
    first_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Address:
    host: str
    port: int


@asynccontextmanager
async def connection(address: Address) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()


def head_of(address: Address, path: str, length: int, method: str = "POST") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode()


async def request(
    address: Address, path: str, body: bytes = b"", method: str = "POST", pause_seconds: float = 0.0
) -> Answer:
    """Send a body and read the answer; a streamed one's words are joined. pause_seconds: before each line is read."""
    started = time.perf_counter()
    async with connection(address) as (reader, writer):
        writer.write(head_of(address, path, len(body), method) + body)
        await writer.drain()
        answer = await read_head(reader)
        async for line in lines_of(reader, answer.headers):
            if pause_seconds:
                await asyncio.sleep(pause_seconds)
            _take(answer, line, time.perf_counter() - started)
    answer.seconds = time.perf_counter() - started
    if (
        "event-stream" not in answer.headers.get("content-type", "")
        and answer.status == 200
        and "chat" in path
    ):
        choice = json.loads(answer.body)["choices"][0]
        answer.text, answer.reason = choice["message"]["content"] or "", choice["finish_reason"]
        answer.num_tokens = json.loads(answer.body)["usage"]["completion_tokens"]
        answer.first_seconds = answer.seconds
    return answer


async def read_head(reader: asyncio.StreamReader) -> Answer:
    """Status and headers. Raises ConnectionError where the server says nothing."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the server closed the connection without an answer") from error
    first, *rest = head.split("\r\n")
    pairs = (line.partition(":") for line in rest if line)
    return Answer(int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs})


async def lines_of(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    """The lines of a body, whatever its chunks."""
    if "chunked" not in headers.get("transfer-encoding", ""):
        for line in (await reader.read(-1)).splitlines(keepends=True):
            yield line
        return
    rest = b""
    while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
        rest += await reader.readexactly(size)
        await reader.readline()
        *whole, rest = rest.split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def _take(answer: Answer, line: bytes, seconds: float) -> None:
    answer.body += line
    if not line.startswith(b"data: {"):
        return
    chunk = json.loads(line[6:])
    for choice in chunk.get("choices") or ():
        text = choice.get("delta", {}).get("content") or choice.get("text") or ""
        if text and not answer.text:
            answer.first_seconds = seconds
        answer.text += text
        answer.num_tokens += bool(text)
        answer.reason = choice.get("finish_reason") or answer.reason
    if usage := chunk.get("usage"):
        answer.num_tokens = usage["completion_tokens"]


def chat_body(
    model: str, question: str, max_tokens: int, *, stream: bool = True, system: str | None = None
) -> bytes:
    """A greedy question."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    settings: dict[str, Any] = {"max_tokens": max_tokens, "temperature": 0, "stream": stream}
    if stream:
        settings["stream_options"] = {"include_usage": True}
    return json.dumps({"model": model, "messages": messages, **settings}).encode()


@dataclass(frozen=True)
class Load:
    """What some clients saw. tokens_per_second: of all of them together."""

    num_clients: int
    num_answers: int
    num_failed: int
    tokens_per_second: float
    first_p50: float
    first_p95: float


async def load(
    address: Address,
    bodies: Sequence[bytes],
    num_clients: int,
    tokens_of: Callable[[Answer], int],
    path: str = "/v1/chat/completions",
) -> Load:
    """Let so many clients ask all bodies, each the next one when it has its answer."""
    waiting, answers = iter(bodies), list[Answer]()

    async def client() -> None:
        for body in waiting:
            try:
                answers.append(await request(address, path, body))
            except (ConnectionError, ValueError) as error:
                answers.append(Answer(0, body=str(error).encode()))

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(num_clients)))
    seconds = time.perf_counter() - started
    good = [answer for answer in answers if answer.status == 200 and answer.reason]
    first = sorted(answer.first_seconds for answer in good) or [float("nan")]
    return Load(
        num_clients,
        len(good),
        len(answers) - len(good),
        sum(map(tokens_of, good)) / seconds,
        statistics.median(first),
        first[int(0.95 * (len(first) - 1))],
    )
