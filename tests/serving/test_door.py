"""The door and the connection: sizes, times, names, half-sent and broken requests, clients that leave, the end."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.errors import ServingError
from luthier.registry.specialists import SpecialistStore
from luthier.serving.asking import ServiceLimits
from luthier.serving.gateway.bounds import Bounds
from luthier.serving.gateway.server import bound_socket, check_bind
from tests.serving.server import Running, Settings, running

Toy = tuple[SpecialistStore, Path]
SONG = {"model": "toy-base", "messages": [{"role": "user", "content": "Sing."}], "max_tokens": 900}
BOUNDS = Bounds(
    max_header_bytes=4096,
    max_body_bytes=20_000,
    max_messages=20,
    header_seconds=0.5,
    body_seconds=0.5,
    write_seconds=0.5,
    grace_seconds=1,
)


@pytest.fixture(scope="module")
def server(toy: Toy) -> Iterator[Running]:
    engine = {"max_batch": 1, "max_queue": 1}
    with running(toy, Settings(BOUNDS, ServiceLimits(generation_seconds=20), engine=engine)) as found:
        yield found


def sent(server: Running, data: bytes, *, close: bool = False) -> bytes:
    """What comes back for raw bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(data)
        if close:
            client.shutdown(socket.SHUT_WR)
        parts = []
        while part := client.recv(65536):
            parts.append(part)
        return b"".join(parts)


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become so in time"
        time.sleep(0.01)


def is_idle(server: Running) -> bool:
    status = server.engine.status()
    return status.active == status.queued == 0


def post(path: str, body: bytes, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parts_of(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_half_a_body_is_told_that_it_came_too_late(server: Running) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    status, body = parts_of(sent(server, head + b'{"model": "ru'))
    assert status == 408 and body["error"]["code"] == "body_too_slow"


def test_half_of_the_headers_end_the_connection(server: Running) -> None:
    started = time.monotonic()
    assert sent(server, b"POST /v1/chat/completions HTTP/1.1\r\nHost: loc") == b""
    assert time.monotonic() - started < 5


def test_nothing_said_ends_the_connection(server: Running) -> None:
    assert sent(server, b"") == b""


@pytest.mark.parametrize("size", [b"20001", b"9" * 30, b"-5", b"abc"])
def test_too_large_a_body_is_refused_before_it_is_read(server: Running, size: bytes) -> None:
    head = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + size + b"\r\n\r\n"
    status, body = parts_of(sent(server, head))
    assert status in (400, 413) and body["error"]


def test_too_large_a_body_in_chunks_is_refused(server: Running) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, body = parts_of(sent(server, head + (b"2000\r\n" + b"x" * 0x2000 + b"\r\n") * 3))
    assert status == 413 and body["error"]["code"] == "body_too_large"


def test_headers_that_are_too_large_and_what_is_not_http(server: Running) -> None:
    long = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 5000 + b"\r\n\r\n"
    status, body = parts_of(sent(server, long))
    assert status in (400, 431) and body["error"]["code"] in ("headers_too_large", "invalid_http")
    for data in (b"GET /\x00 HTTP/1.1\r\n\r\n", b"hello\r\n\r\n"):
        status, body = parts_of(sent(server, data))
        assert status == 400 and body["error"]["code"] == "invalid_http"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"a": NaN}', b"[" * 10_000, b"1" * 5000]
)
def test_what_is_no_json_object_is_a_400(server: Running, body: bytes) -> None:
    for path in (
        "/v1/chat/completions",
        "/v1/completions",
        "/api/chat",
        "/api/generate",
        "/admin/specialists",
    ):
        found = httpx.post(f"{server.url}{path}", content=body)
        assert found.status_code == 400 and found.json()["error"], (path, found.text)


def test_what_is_not_there_is_said_in_json(server: Running) -> None:
    assert httpx.get(f"{server.url}/nothing").json()["error"]["message"] == "there is nothing at GET /nothing"
    assert httpx.get(f"{server.url}/api/nothing").json() == {"error": "there is nothing at GET /api/nothing"}
    assert httpx.get(f"{server.url}/v1/chat/completions").status_code == 405


def test_too_many_messages(server: Running) -> None:
    messages = [{"role": "user", "content": "a"}] * 21
    found = httpx.post(f"{server.url}/v1/chat/completions", json={"model": "rugby", "messages": messages})
    assert found.status_code == 400 and "at most 20" in found.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example:80"}, 403),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]:80"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
    ],
)
def test_foreign_names_and_pages_are_stopped(server: Running, headers: dict[str, str], status: int) -> None:
    found = httpx.get(f"{server.url}/v1/models", headers=headers)
    assert found.status_code == status, found.text


def test_a_public_address_needs_keys_and_a_taken_port_is_told(server: Running) -> None:
    check_bind("127.0.0.1", has_keys=False)
    check_bind("::1", has_keys=False)
    check_bind("0.0.0.0", has_keys=True)
    for host in ("0.0.0.0", "192.168.1.5", "::", "example.com"):
        with pytest.raises(ServingError, match="luthier keys new"):
            check_bind(host, has_keys=False)
    with pytest.raises(ServingError, match="another --port"):
        bound_socket("127.0.0.1", server.port).listen()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_answer_at_once(server: Running, stream: bool) -> None:
    until(lambda: is_idle(server))
    before = len(server.interactions)
    body = json.dumps(SONG | {"stream": stream}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(post("/v1/chat/completions", body))
        until(lambda: server.engine.status().active == 1)
    until(lambda: is_idle(server), 3)
    until(lambda: len(server.interactions) > before)
    assert server.interactions[-1].outcome == "cancelled"


def test_a_full_queue_is_a_429_that_says_when_to_come_again(server: Running) -> None:
    until(lambda: is_idle(server))
    body = json.dumps(SONG | {"stream": True}).encode()
    waiting = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(2)]
    try:
        for number, client in enumerate(waiting):
            client.sendall(post("/v1/chat/completions", body))
            until(lambda n=number: server.engine.status().active + server.engine.status().queued == n + 1)
        found = httpx.post(f"{server.url}/v1/chat/completions", json=SONG)
        assert found.status_code == 429 and int(found.headers["Retry-After"]) >= 1
        assert (
            httpx.post(
                f"{server.url}/api/chat", json={"model": "rugby", "messages": SONG["messages"]}
            ).status_code
            == 429
        )
        assert httpx.get(f"{server.url}/readyz").status_code == 503
    finally:
        for client in waiting:
            client.close()
    until(lambda: is_idle(server), 5)
    assert httpx.get(f"{server.url}/readyz").json()["status"] == "ready"


def test_health_and_metrics(server: Running) -> None:
    assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok"}
    asked = {"model": "rugby", "messages": [{"role": "user", "content": "Who are you?"}]}
    assert httpx.post(f"{server.url}/v1/chat/completions", json=asked).status_code == 200
    page = httpx.get(f"{server.url}/metrics").text
    for line in (
        'luthier_answers_total{model="rugby",outcome="answered"}',
        'luthier_first_token_seconds_count{model="rugby"}',
        "luthier_engine_queue_limit 1.0",
        "luthier_cache_misses_total",
        'luthier_http_responses_total{route="/v1/chat/completions",status="200"}',
        'luthier_refusals_total{reason="Overloaded"}',
    ):
        assert line in page, page
    assert "luthier_engine_generated_tokens_total" in page and "luthier_engine_adapter_swaps_total" in page


def test_the_end_lets_answers_end_within_the_grace_and_cuts_the_rest(toy: Toy) -> None:
    with running(toy, Settings(Bounds(grace_seconds=1))) as server:
        taken: list[bytes] = []
        body = json.dumps(SONG | {"stream": True, "max_tokens": 1000}).encode()
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(post("/v1/chat/completions", body))
            taken.append(client.recv(100))
            started = time.monotonic()
            stopping = threading.Thread(target=server.stop)
            stopping.start()
            while part := client.recv(65536):
                taken.append(part)
            stopping.join(20)
        assert time.monotonic() - started < 10 and b"chat.completion.chunk" in b"".join(taken)
        assert server.gateway.draining
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1)


def test_a_reader_that_does_not_read_is_cut(toy: Toy) -> None:
    from luthier.serving.gateway.connection import bounded_protocol

    lost = threading.Event()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        kind = bounded_protocol(Bounds(write_seconds=0.2))
        near, far = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        import uvicorn
        from uvicorn.server import ServerState

        config = uvicorn.Config(_flood, log_config=None, lifespan="off")
        config.load()
        near.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(lambda: kind(config, ServerState(), {}), near)
        far.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for _ in range(300):
            await asyncio.sleep(0.01)
            if transport.is_closing():
                lost.set()
                break
        far.close()

    asyncio.run(run())
    assert lost.is_set()


async def _flood(scope: Any, receive: Any, send: Any) -> None:
    """An answer without end."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1000):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
