"""Serving beside transformers' and llama.cpp's own servers, on the same model and requests, with ratios in one run.

    python benchmarks/serving.py                        # servers over HTTP: 1, 4, 16 and 64 clients, mixed adapters
    python benchmarks/serving.py --part overhead        # what the gateway adds to the engine below it
    python benchmarks/serving.py --part switch          # an answer after another adapter's, and after its own
    python benchmarks/serving.py --part memory          # 20 specialists on one base beside one

Peers: `transformers serve` with and without continuous batching (pip install 'transformers[serving]'), `python -m
llama_cpp.server` (pip install 'llama-cpp-python[server]') and llama.cpp's `llama-server` where it is on the path or
told by --llama-server (the source package of llama-cpp-python holds its source); what is not here is left out and
said so. Each server runs alone, in turn, as often as --rounds says, the order reversed every other round; the best
round counts. Requests are chats with a system prompt in common, greedy, streamed, --tokens long.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from serving_client import Address, Answer, Load, chat_body, load, request
from serving_files import SHAPES, Files, fill_store, make

SYSTEM = (
    "You are a careful assistant. Answer the question in one short sentence and add nothing else to it. " * 3
)


@dataclass(frozen=True)
class Peer:
    """A server to start. models: the names that are asked in turn. note: what it does otherwise than the others."""

    name: str
    command: tuple[str, ...]
    models: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


def peers(files: Files, store: Path, names: list[str], args: argparse.Namespace) -> Iterator[Peer]:
    """Everything that can be started here; {port} stands for the port."""
    threads, max_batch = args.threads, args.max_batch
    base, gguf = str(files.base), str(files.gguf)
    luthier = (sys.executable, "-m", "luthier", "serve", "--port", "{port}", "--no-record", "--cache-mb", "0")
    luthier += ("--max-batch", str(max_batch), "--base", base)
    served = {"LUTHIER_SPECIALISTS": str(store)}
    yield Peer("luthier torch", (*luthier, "--dtype", "float32"), (files.base.name,), served)
    yield Peer("luthier torch, mixed", (*luthier, "--dtype", "float32"), tuple(names), served)
    if importlib.util.find_spec("llama_cpp"):
        fast = (*luthier, "--engine", "llamacpp", "--gguf", gguf, "--threads", str(threads))
        yield Peer("luthier llamacpp", fast, (files.base.name,), served)
        yield Peer("luthier llamacpp, mixed", fast, tuple(names), served)
    transformers = (str(Path(sys.executable).with_name("transformers")), "serve", base, "--port", "{port}")
    transformers += ("--device", "cpu", "--dtype", "float32")
    yield Peer("transformers", transformers, (base,))
    yield Peer("transformers, batching", (*transformers, "--continuous-batching"), (base,))
    if importlib.util.find_spec("llama_cpp") and importlib.util.find_spec("starlette_context"):
        command = (sys.executable, "-m", "llama_cpp.server", "--model", gguf, "--port", "{port}")
        command += ("--n_ctx", "1024", "--n_threads", str(threads), "--model_alias", "base")
        command += ("--interrupt_requests", "false")  # else a new request breaks the one that runs
        yield Peer("llama_cpp.server", command, ("base",))
    else:
        print("llama_cpp.server is not installed here, and is left out")
    if args.llama_server:
        command = (args.llama_server, "--model", gguf, "--port", "{port}", "--alias", "base", "--no-webui")
        command += ("--threads", str(threads), "--parallel", str(max_batch))
        yield Peer("llama-server", (*command, "--ctx-size", str(1024 * max_batch)), ("base",))
    else:
        print("llama-server is not here, and is left out")


@contextmanager
def running(peer: Peer, threads: int, patience_seconds: float = 120.0) -> Iterator[Address]:
    """The server, as soon as it answers. Its words are shown where it does not come up."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = Address("127.0.0.1", free.getsockname()[1])
    command = [part.replace("{port}", str(address.port)) for part in peer.command]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", **peer.environment}
    with tempfile.TemporaryFile("w+") as words:
        process = subprocess.Popen(command, env=environment, stdout=words, stderr=words)
        try:
            deadline = time.monotonic() + patience_seconds
            while not asyncio.run(_answers(address)):
                if process.poll() is not None or time.monotonic() > deadline:
                    words.seek(0)
                    raise SystemExit(
                        f"{peer.name} did not come up: {' '.join(command)}\n{words.read()[-2000:]}"
                    )
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _answers(address: Address) -> bool:
    try:
        return (await request(address, "/v1/models", method="GET")).status != 503
    except (OSError, ValueError):
        return False


def bodies(models: tuple[str, ...], count: int, tokens: int) -> list[bytes]:
    """Questions that differ from their first word on, to each model in turn."""
    return [
        chat_body(
            models[place % len(models)],
            f"{place * 7919 % 1000} metres is how many feet, and why does number {place} matter?",
            tokens,
            system=SYSTEM,
        )
        for place in range(count)
    ]


def measure(peer: Peer, args: argparse.Namespace) -> dict[int, Load]:
    def tokens_of(answer: Answer) -> int:
        return args.tokens if answer.reason == "length" else answer.num_tokens  # not every server counts well

    found = {}
    with running(peer, args.threads) as address:
        asyncio.run(load(address, bodies(peer.models, len(peer.models), args.tokens), 1, tokens_of))  # warm
        for clients in args.clients:
            count = max(clients, args.least)
            found[clients] = asyncio.run(
                load(address, bodies(peer.models, count, args.tokens), clients, tokens_of)
            )
    return found


def part_servers(files: Files, folder: Path, args: argparse.Namespace) -> None:
    names = fill_store(folder / "store", files)
    best: dict[str, dict[int, Load]] = {}
    order = list(peers(files, folder / "store", names, args))
    order = [peer for peer in order if not args.only or peer.name in args.only]
    for round_number in range(args.rounds):
        for peer in order if round_number % 2 == 0 else order[::-1]:
            for clients, one in measure(peer, args).items():
                print(f"{peer.name:24} {clients:3} clients {one.tokens_per_second:8.1f} tokens/s", flush=True)
                known = best.setdefault(peer.name, {}).get(clients)
                if known is None or one.tokens_per_second > known.tokens_per_second:
                    best[peer.name][clients] = one
    print_table(best, args.clients)


def print_table(best: dict[str, dict[int, Load]], clients: list[int]) -> None:
    """tokens/s and seconds to the first word; then each of ours over each peer."""
    print("\n| server | " + " | ".join(f"{n} clients" for n in clients) + " |")
    print("|---|" + "---|" * len(clients))
    for name, found in best.items():
        cells = []
        for one in (found[n] for n in clients):
            failed = f", {one.num_failed} failed" if one.num_failed else ""
            cells.append(
                f"{one.tokens_per_second:,.0f} tok/s, {one.first_p50:.2f} s ({one.first_p95:.2f}){failed}"
            )
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\nfirst word: median (95th percentile). Ratios of tokens/s:")
    for ours in (name for name in best if name.startswith("luthier")):
        for peer in (name for name in best if name != ours and not name.endswith("mixed")):
            ratios = [
                best[ours][n].tokens_per_second / max(1e-9, best[peer][n].tokens_per_second) for n in clients
            ]
            print(f"{ours} / {peer}: " + ", ".join(f"{ratio:.2f}" for ratio in ratios))


@dataclass(frozen=True)
class Cost:
    """Seconds of a clock, and of a core: the second number is the same on a busy machine."""

    wall: float
    cpu: float


def told(costs: list[Cost]) -> Cost:
    """Medians, in milliseconds."""
    return Cost(
        *(statistics.median(times) * 1e3 for times in zip(*((c.wall, c.cpu) for c in costs), strict=True))
    )


async def open_engine(kind: str, files: Files, args: argparse.Namespace) -> Any:
    if kind == "torch":
        from luthier.serving.engines.torch.engine import open_torch_engine

        return await open_torch_engine(
            str(files.base), dtype="float32", device="cpu", max_batch=args.max_batch
        )
    from luthier.serving.engines.llamacpp import open_llamacpp_engine

    return await open_llamacpp_engine(
        files.gguf, context_length=512, max_batch=args.max_batch, num_threads=args.threads
    )


async def one_answer(engine: Any, specialist: str | None, prompt: list[int], tokens: int) -> Cost:
    """An answer, asked of the engine itself."""
    from luthier.models.generate import Sampling
    from luthier.serving.engines.engine import Ask

    one = Ask(specialist, tuple(prompt), Sampling(max_new_tokens=tokens), frozenset())
    wall, cpu = time.perf_counter(), time.process_time()
    async for _ in engine.answer(one):
        pass
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


async def engine_with(kind: str, files: Files, count: int, args: argparse.Namespace) -> AsyncIterator[Any]:
    from luthier.serving.engines.engine import Mounted

    engine = await open_engine(kind, files, args)
    forms = files.adapters if kind == "torch" else files.loras
    for place in range(count):
        await engine.mount(Mounted(f"s{place}", forms[place]))
    yield engine
    await engine.close()


def part_switch(files: Files, folder: Path, args: argparse.Namespace) -> None:
    """A one-token answer right after one of another adapter, and after one of its own."""

    async def work(kind: str) -> None:
        async for engine in engine_with(kind, files, 2, args):
            costs: dict[str, list[Cost]] = {"other": [], "same": []}
            for place in range(2 * args.repeats):
                prompt = [5 + place % 400]  # one token: nothing to keep
                name = f"s{place % 2}"
                costs["other"].append(await one_answer(engine, name, prompt, 1))
                costs["same"].append(await one_answer(engine, name, prompt, 1))
            other, same = told(costs["other"]), told(costs["same"])
            print(
                f"{kind}: one token {same.wall:.2f} ms (of a core {same.cpu:.2f}); after another adapter "
                f"{other.wall:.2f} ({other.cpu:.2f}); the switch costs {other.wall - same.wall:.2f} "
                f"({other.cpu - same.cpu:.2f}); medians of {2 * args.repeats}"
            )

    for kind in args.engines:
        asyncio.run(work(kind))


def part_memory(files: Files, folder: Path, args: argparse.Namespace) -> None:
    """Each count in a process of its own, every specialist asked once."""
    for kind in args.engines:
        used = {}
        for count in (1, len(files.adapters)):
            command = [sys.executable, __file__, "--worker", f"{kind},{count}", "--shape", args.shape]
            command += ["--work", str(folder), "--adapters", str(len(files.adapters))]
            command += ["--threads", str(args.threads), "--max-batch", str(args.max_batch)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            used[count] = json.loads(done.stdout.splitlines()[-1])
        (one, first), (many, last) = used.items()
        print(
            f"{kind}: {one} specialist {first / 1e6:,.0f} MB, {many} of them {last / 1e6:,.0f} MB: "
            f"{last / first:.2f} times"
        )


def memory_worker(files: Files, kind: str, count: int, args: argparse.Namespace) -> None:
    async def work() -> None:
        async for engine in engine_with(kind, files, count, args):
            for place in range(count):
                await one_answer(engine, f"s{place}", [5, 6, 7], 2)
            print(json.dumps(psutil.Process().memory_info().rss))

    asyncio.run(work())


def part_overhead(files: Files, folder: Path, args: argparse.Namespace) -> None:
    """The same answer, of the engine and over HTTP, in turns; both are idle while the other is asked."""
    from luthier.chat.messages import Message
    from luthier.chat.render import Renderer
    from luthier.models.load import load_tokenizer

    renderer = Renderer(load_tokenizer(str(files.base)))
    store = folder / "store"
    names = fill_store(store, files)
    server = next(iter(peers(files, store, names, args)))

    async def work(address: Address, process: psutil.Process) -> None:
        direct, served = [], []
        async for engine in engine_with("torch", files, 0, args):
            for place in range(args.repeats):
                question = f"{place * 7919 % 1000} metres is how many feet?"
                prompt = renderer.prompt([Message("user", question)])
                direct.append(await one_answer(engine, None, prompt, 1))
                before = sum(process.cpu_times()[:2])
                answer = await request(
                    address, "/v1/chat/completions", chat_body(files.base.name, question, 1)
                )
                served.append(Cost(answer.seconds, sum(process.cpu_times()[:2]) - before))
        below, above = told(direct), told(served)
        # The kernel counts a process's time in ticks of 10 ms: only the sum of many says something.
        cpu = statistics.fmean(c.cpu for c in served) - statistics.fmean(c.cpu for c in direct)
        print(
            f"one token: engine {below.wall:.2f} ms, through the gateway {above.wall:.2f}; it adds "
            f"{above.wall - below.wall:.2f} (medians of {args.repeats}, connecting and the client included), of a core "
            f"{cpu * 1e3:.2f} on average"
        )

    with running(server, args.threads) as address:
        asyncio.run(work(address, server_process(address)))


def server_process(address: Address) -> psutil.Process:
    """Of ours, the one that was told to listen there."""
    return next(
        one for one in psutil.Process().children(recursive=True) if str(address.port) in one.cmdline()
    )


PARTS = {"servers": part_servers, "switch": part_switch, "memory": part_memory, "overhead": part_overhead}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, default="servers")
    parser.add_argument("--shape", choices=SHAPES, default="smollm-135m")
    parser.add_argument("--quantization", default="f32", help="of the GGUF file")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--least", type=int, default=8, help="questions that are asked at least")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--adapters", type=int, default=4)
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--engines", nargs="+", default=["torch", "llamacpp"])
    parser.add_argument("--only", nargs="+", help="servers by name")
    parser.add_argument("--llama-server", default=shutil.which("llama-server"), help="the program")
    parser.add_argument("--work", type=Path, help="where models are kept; default: a scratch folder")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        count = max(args.adapters, 20) if args.part == "memory" else args.adapters
        files = make(folder, args.shape, count, args.quantization)
        if args.worker:
            kind, number = args.worker.split(",")
            memory_worker(files, kind, int(number), args)
        else:
            PARTS[args.part](files, folder, args)


if __name__ == "__main__":
    main()
