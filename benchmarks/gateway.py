"""What the gateway adds to the engine below it: the same question of both in turns, and where the time goes.

    python benchmarks/gateway.py [--repeats 300]

An engine that answers at once, so that what is left is the way there and back: reading, checks, the template, the ids,
JSON. One connection is kept, as clients keep theirs. `benchmarks/serving.py --part overhead` asks a real engine.
"""

import argparse
import asyncio
import itertools
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp

from luthier.chat.messages import Message
from luthier.chat.render import Renderer
from luthier.models.load import find_model, load_tokenizer
from luthier.private import mask
from luthier.serving.asking import Asker, ServiceLimits
from luthier.serving.cache import AnswerCache
from luthier.serving.choosing import Chooser
from luthier.serving.engines.engine import Ask, EngineStatus, Mounted, Piece
from luthier.serving.gateway.app import make_app
from luthier.serving.gateway.door import LOOPBACK
from luthier.serving.gateway.gateway import Gateway
from luthier.serving.gateway.server import Server, bound_socket
from luthier.serving.metrics import Metrics
from luthier.serving.protocol import Request, Settings
from luthier.serving.recorder import SqliteRecorder
from luthier.serving.roster import Roster
from luthier.serving.served import serve_base
from luthier.serving.service import Service
from luthier.serving.traffic import Traffic

QUESTION = "A rugby field is 68 metres wide. How many feet is that, and how did you find out?"


class AtOnce:
    """An engine that says the same tokens whatever it is asked, without computing anything."""

    name, context_length = "at once", 4096

    def __init__(self, answer_ids: tuple[int, ...]) -> None:
        self._answer_ids = answer_ids

    async def mount(self, specialist: Mounted) -> None:
        raise NotImplementedError("it has a base alone")

    async def unmount(self, name: str) -> None:
        raise NotImplementedError("it has a base alone")

    async def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        for token in self._answer_ids[: ask.sampling.max_new_tokens - 1]:
            yield Piece((token,))
        yield Piece((min(ask.stop_ids),), finish_reason="stop")

    def status(self) -> EngineStatus:
        return EngineStatus(0, 0, 1)

    async def close(self) -> None:
        pass


async def without_sockets(app: ASGIApp, body: bytes) -> None:
    """One chat completion, handed to the application as a server would."""
    headers = [(b"host", b"localhost"), (b"content-length", str(len(body)).encode())]
    path = "/v1/chat/completions"
    scope = {"type": "http", "method": "POST", "scheme": "http", "path": path, "raw_path": path.encode()}
    scope |= {"query_string": b"", "root_path": "", "headers": headers, "http_version": "1.1", "state": {}}
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return waiting.pop() if waiting else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        pass

    await app(scope, receive, send)


async def milliseconds(ask: Callable[[], Awaitable[object]], repeats: int) -> tuple[float, float, float]:
    """(median and 95th percentile of the wall time, mean of this process' CPU time), after a few to warm up."""
    for _ in range(20):
        await ask()
    times, busy = [], time.process_time()
    for _ in range(repeats):
        started = time.perf_counter()
        await ask()
        times.append(time.perf_counter() - started)
    busy = (time.process_time() - busy) / repeats
    return statistics.median(times) * 1e3, statistics.quantiles(times, n=20)[-1] * 1e3, busy * 1e3


async def measure(repeats: int, num_tokens: int, folder: Path, with_record: bool) -> None:
    place = find_model("luthier-nano").tokenizer_place
    renderer = Renderer(load_tokenizer(place))
    answer_ids = tuple(renderer.tokenizer("It is 223 feet: a metre is 3.28 of them. " * 20)["input_ids"])[
        :num_tokens
    ]
    engine = AtOnce(answer_ids)
    base = serve_base("base", renderer, "sha256:0")

    def refused(specialist: object) -> None:
        raise NotImplementedError("it has a base alone")

    chooser = Chooser(Roster(base, engine, refused), Traffic())  # type: ignore[arg-type]
    recorder = SqliteRecorder(folder / "record.sqlite", redact=mask) if with_record else None
    asker = Asker(engine, AnswerCache(0), None, ServiceLimits())
    service = Service(chooser, asker, Metrics(), recorder=recorder)
    gateway = Gateway(service)
    listening = bound_socket("127.0.0.1", 0)
    ready = asyncio.Event()
    app = make_app(gateway, hosts=LOOPBACK)
    server = Server(app, gateway, started=ready.set)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    await ready.wait()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    body = json.dumps(
        {"model": "base", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": num_tokens + 1}
    )
    messages = (Message("user", QUESTION),)
    prompt = tuple(renderer.prompt(messages))
    sampling = base.sampled(Settings(max_tokens=num_tokens + 1), 4096, 0)
    ask = Ask(None, prompt, sampling, base.stop_ids)

    async def engine_alone() -> None:
        async for _ in engine.answer(ask):
            pass

    async def service_alone() -> None:
        request = Request(
            secrets.token_hex(8), "base", messages, settings=Settings(max_tokens=num_tokens + 1)
        )
        async for _ in service.answer(request):
            pass

    async def application_alone() -> None:
        await without_sockets(app, body.encode())

    async def template() -> None:
        renderer.prompt(messages)

    async with httpx.AsyncClient(base_url=url) as client:

        async def health() -> None:
            (await client.get("/healthz")).raise_for_status()

        async def whole() -> None:
            (await client.post("/v1/chat/completions", content=body)).raise_for_status()

        async def streamed() -> None:
            more = body[:-1] + ', "stream": true}'
            async with client.stream("POST", "/v1/chat/completions", content=more) as response:
                async for _ in response.aiter_bytes():
                    pass

        rows = [
            ("engine alone", engine_alone),
            ("template and ids", template),
            ("service alone", service_alone),
            ("application alone, door to last byte", application_alone),
            ("HTTP alone (/healthz), client included", health),
            ("whole answer over HTTP, client included", whole),
            ("stream over HTTP, client included", streamed),
        ]
        for name, one in rows:
            median, late, busy = await milliseconds(one, repeats)
            record = "record" if with_record else "no record"
            print(
                f"{num_tokens:>4} tokens, {record:<9} {name:<42} median {median:6.2f} ms  95% {late:6.2f}  "
                f"CPU {busy:6.2f}",
                flush=True,
            )
    server.should_exit = True
    await running
    listening.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=300)
    args = parser.parse_args()
    for num_tokens, with_record in itertools.product((1, 64), (False, True)):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(args.repeats, num_tokens, Path(folder), with_record))


if __name__ == "__main__":
    main()
