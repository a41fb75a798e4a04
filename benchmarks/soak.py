"""A server under clients of every kind of manners, for minutes: nothing leaks, nothing is mixed up, nothing is lost.

    python benchmarks/soak.py --minutes 10              # 64 clients, luthier-nano, three specialists, torch
    python benchmarks/soak.py --minutes 10 --engine llamacpp

Clients ask, stream, leave in the middle or while they wait, read slowly, send half a body, too much, no JSON, names
that nobody has, and come in floods. Held at the end: every whole answer is the one its adapter gives alone (the
canary), every whole answer is in the record, refusals are 4xx with a JSON body (429 with Retry-After), no slot is
taken, and the memory of the last quarter is within 5% of that of the second.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from serving import Peer, running, server_process
from serving_client import Address, Answer, chat_body, connection, head_of, read_head, request
from serving_files import SHAPES, fill_store, make

CHAT = "/v1/chat/completions"
TOO_LARGE = 9 * 1024 * 1024
GROWTH = 1.05


@dataclass
class Soak:
    """What happened. canaries: (model, question) to the answer that the model gives alone."""

    address: Address
    canaries: dict[tuple[str, str], str]
    tokens: int
    counts: Counter[str] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def complain(self, what: str) -> None:
        self.counts["wrong"] += 1
        self.wrong = [*self.wrong, what][:20]

    def body(self, choice: random.Random, *, stream: bool) -> tuple[bytes, str]:
        """(a question, its canary)."""
        (model, question), canary = choice.choice(list(self.canaries.items()))
        return chat_body(model, question, self.tokens, stream=stream), canary

    async def ask(self, choice: random.Random, pause_seconds: float = 0.0) -> None:
        stream = pause_seconds > 0 or choice.random() < 0.5
        body, canary = self.body(choice, stream=stream)
        answer = await request(self.address, CHAT, body, pause_seconds=pause_seconds)
        if answer.status != 200:
            self._refused(answer, {429})
            return
        self.counts["answered"] += 1
        if not answer.reason:
            self.complain(f"an answer ended without its end: {answer.body[-200:]!r}")
        elif answer.text != canary:
            self.complain(f"expected {canary!r}, got {answer.text!r}")
        first = answer.body.split(b"\n")[0].removeprefix(b"data: ")
        self.ids.add(json.loads(first if stream else answer.body)["id"])

    async def slow(self, choice: random.Random) -> None:
        await self.ask(choice, pause_seconds=0.02)

    async def leave(self, choice: random.Random) -> None:
        """Go away: before a word, often while it waits, or after some."""
        body, _ = self.body(choice, stream=True)
        async with connection(self.address) as (reader, writer):
            writer.write(head_of(self.address, CHAT, len(body)) + body)
            await writer.drain()
            if choice.random() < 0.5:
                await asyncio.sleep(choice.random() * 0.3)
            else:
                await reader.read(choice.randrange(1, 900))
        self.counts["left"] += 1

    async def half(self, choice: random.Random) -> None:
        body, _ = self.body(choice, stream=False)
        async with connection(self.address) as (_, writer):
            writer.write(head_of(self.address, CHAT, len(body)) + body[: len(body) // 2])
            await writer.drain()
            await asyncio.sleep(choice.random() * 0.2)
        self.counts["half"] += 1

    async def oversize(self, choice: random.Random) -> None:
        async with connection(self.address) as (reader, writer):
            writer.write(head_of(self.address, CHAT, TOO_LARGE) + b" " * 65_536)
            answer = await read_head(reader)
            answer.body = await reader.read(-1)
        self._refused(answer, {413})

    async def malformed(self, choice: random.Random) -> None:
        junk = choice.choice([b"{", b"[]", b"\xff\xfe", b'{"model": 3}', b'{"messages": "no"}', b"null"])
        self._refused(await request(self.address, CHAT, junk), {400, 422})

    async def unknown(self, choice: random.Random) -> None:
        body = chat_body(choice.choice(["nobody", "../etc/passwd", "s0@99"]), "Who?", 4, stream=False)
        self._refused(await request(self.address, CHAT, body), {400, 404})

    async def flood(self, choice: random.Random) -> None:
        await asyncio.gather(*(self.ask(choice) for _ in range(40)))

    def _refused(self, answer: Answer, wanted: set[int]) -> None:
        self.counts[f"refused {answer.status}"] += 1
        if answer.status not in wanted:
            self.complain(f"status {answer.status}, expected {wanted}: {answer.body[:200]!r}")
            return
        try:
            json.loads(answer.body)
        except ValueError:
            self.complain(f"status {answer.status} without JSON: {answer.body[:200]!r}")
        if answer.status == 429 and "retry-after" not in answer.headers:
            self.complain("429 without Retry-After")


def manners(soak: Soak) -> tuple[list[Callable[[random.Random], Awaitable[None]]], list[int]]:
    """What a client does next, and how often."""
    ways = {
        soak.ask: 50,
        soak.leave: 20,
        soak.slow: 5,
        soak.half: 6,
        soak.oversize: 4,
        soak.malformed: 7,
        soak.unknown: 7,
        soak.flood: 1,
    }
    return list(ways), list(ways.values())


async def clients(
    soak: Soak, num_clients: int, seconds: float, watch: Callable[[], int]
) -> list[tuple[float, int]]:
    """Let them go on for so long; (seconds, bytes of the server) now and then."""
    ways, weights = manners(soak)
    started = time.monotonic()
    sizes: list[tuple[float, int]] = []

    async def client(seed: int) -> None:
        choice = random.Random(seed)
        while time.monotonic() - started < seconds:
            (way,) = choice.choices(ways, weights)
            try:
                await asyncio.wait_for(way(choice), 120)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                soak.complain(f"{way.__name__}: {type(error).__name__} {error}")

    async def scale() -> None:
        while time.monotonic() - started < seconds:
            sizes.append((time.monotonic() - started, watch()))
            await asyncio.sleep(min(5.0, seconds / 20))

    await asyncio.gather(scale(), *(client(seed) for seed in range(num_clients)))
    return sizes


async def canaries(address: Address, models: list[str], tokens: int) -> dict[tuple[str, str], str]:
    """What each model says to each question while nobody else asks."""
    questions = ("How wide is the field?", "Write the number 42 in words, please.")
    found = {}
    for model in models:
        for question in questions:
            answer = await request(address, CHAT, chat_body(model, question, tokens, stream=False))
            assert answer.status == 200, answer.body
            found[model, question] = answer.text
    return found


async def at_rest(address: Address) -> dict[str, float]:
    """The gauges of the engine, as soon as nothing runs, or after 20 s."""
    for _ in range(200):
        text = (await request(address, "/metrics", method="GET")).body.decode()
        found = {
            line.split()[0]: float(line.split()[1])
            for line in text.splitlines()
            if line.startswith(("luthier_engine_active", "luthier_engine_queued"))
        }
        if found and not any(found.values()):
            break
        await asyncio.sleep(0.1)
    return found


def recorded(path: Path) -> set[str]:
    """The ids in the record."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {str(id) for (id,) in database.execute("select id from interactions")}


def growth(sizes: list[tuple[float, int]]) -> float:
    """The memory of the last quarter over that of the second; medians."""
    quarter = len(sizes) // 4
    second = statistics.median(size for _, size in sizes[quarter : 2 * quarter])
    last = statistics.median(size for _, size in sizes[-quarter:])
    return last / second


def soak(args: argparse.Namespace, folder: Path) -> list[str]:
    """Run it; what does not hold, in sentences."""
    files = make(folder, args.shape, args.adapters)
    store, record = folder / "store", folder / "interactions.sqlite"
    names = fill_store(store, files)
    command = [sys.executable, "-m", "luthier", "serve", "--port", "{port}", "--base", str(files.base)]
    command += ["--engine", args.engine, "--max-batch", "16", "--max-queue", "40", "--cache-mb", "0"]
    command += ["--record", str(record)]
    command += (
        ["--gguf", str(files.gguf), "--threads", "1"] if args.engine == "llamacpp" else ["--dtype", "float32"]
    )
    peer = Peer("luthier", tuple(command), tuple(names), {"LUTHIER_SPECIALISTS": str(store)})
    with running(peer, args.threads) as address:
        server = server_process(address)
        models = [files.base.name, *names]
        run = Soak(address, asyncio.run(canaries(address, models, args.tokens)), args.tokens)
        assert len(set(run.canaries.values())) > len(names), (
            "the adapters say the same: nothing could be mixed up"
        )
        sizes = asyncio.run(clients(run, args.clients, args.minutes * 60, lambda: server.memory_info().rss))
        rest = asyncio.run(at_rest(address))
    lost = run.ids - recorded(record)
    grown = growth(sizes)
    print(f"{args.minutes:g} minutes, {args.clients} clients, {args.engine}: " + json.dumps(dict(run.counts)))
    print(
        f"memory {sizes[0][1] / 1e6:.0f} MB, {sizes[-1][1] / 1e6:.0f} MB at the end "
        f"({grown:.3f} times the second quarter's)"
    )
    print(f"of {len(run.ids)} whole answers {len(lost)} are not in the record; at rest: {rest}")
    faults = list(run.wrong)
    faults += [f"{len(lost)} records are lost"] if lost else []
    faults += [f"memory grew {grown:.3f} times"] if grown > GROWTH else []
    faults += [f"slots are taken at the end: {rest}"] if not rest or any(rest.values()) else []
    faults += ["nobody was answered"] if not run.counts["answered"] else []
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--engine", choices=("torch", "llamacpp"), default="torch")
    parser.add_argument("--shape", choices=SHAPES, default="luthier-nano")
    parser.add_argument("--adapters", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, help="where models are kept; default: a scratch folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        faults = soak(args, args.work or Path(scratch))
    for fault in faults:
        print(f"FAULT: {fault}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
