"""The torch engine alone, without HTTP: tokens a second by rows at once, beside transformers on the same prompts.

    python benchmarks/engine.py                                   luthier-nano
    python benchmarks/engine.py --model smollm-135m --folder DIR  that shape with random weights
    python benchmarks/engine.py --continuous                      beside continuous batching of transformers, too
    python benchmarks/engine.py --adapters                        one adapter, and another one for each row
    python benchmarks/engine.py --switch                          what it takes to ask another adapter than before
    python benchmarks/engine.py --memory 20                       what 20 specialists take, beside one

static: `generate` on all prompts at once, which knows when all end. continuous: `generate_batch`. Answers are of equal
length, so that static batches lose nothing by waiting. Seconds are of the process, summed over its threads: on a
machine that does other work they tell more than those of the clock. Every figure is the best of `--repeats`, taken in
turn, after one warm-up.
"""

import argparse
import asyncio
import gc
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from luthier.models.generate import Sampling, generate
from luthier.models.load import LoadedModel, load_model
from luthier.serving.engines.engine import Ask, Mounted
from luthier.serving.engines.torch.build import default_limits
from luthier.serving.engines.torch.engine import TorchEngine

SHAPES = ("smollm-135m", "qwen3-0.6b")
PROMPT_TOKENS = 32


def prompts(loaded: LoadedModel, count: int, length: int = PROMPT_TOKENS) -> list[list[int]]:
    random = np.random.default_rng(0)
    vocabulary = int(loaded.model.config.vocab_size)
    return [[int(token) for token in random.integers(5, vocabulary, length)] for _ in range(count)]


def asks(loaded: LoadedModel, rows: int, new_tokens: int, names: Sequence[str | None]) -> list[Ask]:
    sampling = Sampling(max_new_tokens=new_tokens)
    return [
        Ask(names[row % len(names)], tuple(prompt), sampling, frozenset())
        for row, prompt in enumerate(prompts(loaded, rows))
    ]


async def answer_all(engine: TorchEngine, wanted: Sequence[Ask]) -> int:
    async def one(ask: Ask) -> int:
        return sum([len(piece.token_ids) async for piece in engine.answer(ask)])

    return sum(await asyncio.gather(*(one(ask) for ask in wanted)))


def static(loaded: LoadedModel, rows: int, new_tokens: int) -> int:
    found = generate(loaded, prompts(loaded, rows), Sampling(max_new_tokens=new_tokens))
    return sum(map(len, found))


def continuous(loaded: LoadedModel, rows: int, new_tokens: int) -> int:
    from transformers import GenerationConfig

    config = GenerationConfig(max_new_tokens=new_tokens, do_sample=False, eos_token_id=-1, pad_token_id=0)
    found = loaded.model.generate_batch(prompts(loaded, rows), generation_config=config, progress_bar=False)
    return sum(len(one.generated_tokens) for one in found.values())


def speed(work: Callable[[], int]) -> tuple[float, float]:
    """Tokens a second: (of the process, of the clock)."""
    clock, used = time.perf_counter(), time.process_time()
    tokens = work()
    return tokens / (time.process_time() - used), tokens / (time.perf_counter() - clock)


def write_adapter(loaded: LoadedModel, folder: Path, seed: int, rank: int) -> Path:
    """A LoRA on all linear layers with random numbers, as PEFT writes it."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tensors = {}
    for name, module in loaded.model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not loaded.model.get_output_embeddings():
            for letter, shape in (("A", (rank, module.in_features)), ("B", (module.out_features, rank))):
                tensors[f"base_model.model.{name}.lora_{letter}.weight"] = 0.01 * torch.randn(shape)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "lora_alpha": 16, "r": rank})
    )
    return folder


async def mount_all(engine: TorchEngine, loaded: LoadedModel, root: Path, count: int, rank: int) -> list[str]:
    names = [f"adapter-{number}" for number in range(count)]
    for number, name in enumerate(names):
        folder = root / name
        if not folder.exists():
            write_adapter(loaded, folder, number, rank)
        await engine.mount(Mounted(name, folder))
    return names


async def measure_speed(options: argparse.Namespace, root: Path) -> None:
    loaded = opened(options)
    engine = TorchEngine(loaded, default_limits(loaded.device, max(options.rows), 256, None, 0))
    names = await mount_all(engine, loaded, root, max(options.rows), options.rank) if options.adapters else []
    peer = opened(options)  # of its own, with the attention that it came with
    for rows in options.rows:
        ways: dict[str, Callable[[], int]] = {}
        kinds = {"engine": [None], "engine, one adapter": names[:1], "engine, an adapter each": names[:rows]}
        for way, mounted in kinds.items():
            if mounted:
                wanted = asks(loaded, rows, options.new_tokens, mounted)
                ways[way] = lambda wanted=wanted: asyncio.run(answer_all(engine, wanted))  # type: ignore[misc]
        if not options.adapters:
            ways["static"] = lambda rows=rows: static(peer, rows, options.new_tokens)  # type: ignore[misc]
        if options.continuous:
            ways["continuous"] = lambda rows=rows: continuous(peer, rows, options.new_tokens)  # type: ignore[misc]
        await tell_speeds(rows, ways, options.repeats)
    await engine.close()


async def tell_speeds(rows: int, ways: dict[str, Callable[[], int]], repeats: int) -> None:
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, work in ways.items():
            figures = await asyncio.to_thread(speed, work)
            if repeat:
                found[way].append(figures)
    for way, figures in found.items():
        used, clock = (max(column) for column in zip(*figures, strict=True))
        print(
            f"{rows:3} rows  {way:24} {used:9.1f} tokens a processor second, {clock:9.1f} by the clock",
            flush=True,
        )


async def measure_switch(options: argparse.Namespace, root: Path) -> None:
    """The answer of one token to one token, by the adapter that answered before and by another one, in turn."""
    loaded = opened(options)
    engine = TorchEngine(loaded, default_limits(loaded.device, 4, 16, None, 0))
    names = await mount_all(engine, loaded, root, 2, options.rank)
    sampling = Sampling(max_new_tokens=1)
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for number in range(80):  # a a b b a a b b ...
        clock, used = time.perf_counter(), time.process_time()
        await answer_all(engine, [Ask(names[number // 2 % 2], (5,), sampling, frozenset())])
        if number > 1:
            figures = time.process_time() - used, time.perf_counter() - clock
            found[number % 2 == 0].append(figures)
    for other, told in ((False, "the same adapter"), (True, "another adapter")):
        used, clock = (1e3 * statistics.median(column) for column in zip(*found[other], strict=True))
        print(f"{told}: median of 39: {used:.2f} ms of the processor, {clock:.2f} ms by the clock")
    await engine.close()


async def measure_memory(options: argparse.Namespace, root: Path) -> None:
    """Resident memory with 1 and with N specialists mounted, each time after N answers."""
    loaded = opened(options)
    for number in range(options.memory):
        write_adapter(loaded, root / f"adapter-{number}", number, options.rank)
    gc.collect()
    engine = TorchEngine(loaded, default_limits(loaded.device, 16, 64, None, 1 << 26))
    taken = []
    for count in (1, options.memory):
        for number in range(0 if count == 1 else 1, count):
            await engine.mount(Mounted(f"adapter-{number}", root / f"adapter-{number}"))
        names = [f"adapter-{number}" for number in range(count)]
        for _ in range(2):
            await answer_all(engine, asks(loaded, options.memory, 16, names))
        gc.collect()
        taken.append(psutil.Process().memory_info().rss / 2**20)
    print(
        f"1 specialist {taken[0]:.0f} MiB, {options.memory} {taken[1]:.0f} MiB: {taken[1] / taken[0]:.2f} times"
    )
    await engine.close()


def opened(options: argparse.Namespace) -> LoadedModel:
    place = options.model
    if place in SHAPES:
        from benchmarks.train_shapes import model_folder

        place = str(model_folder(place, options.folder / place))
    return load_model(place, dtype="float32", device=options.device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="luthier-nano", help=f"a model, or a shape: {', '.join(SHAPES)}")
    parser.add_argument("--folder", type=Path, default=Path("build"), help="where shapes are written")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--adapters", action="store_true")
    parser.add_argument(
        "--continuous", action="store_true", help="also transformers' own continuous batching"
    )
    parser.add_argument("--switch", action="store_true")
    parser.add_argument("--memory", type=int, default=0, metavar="N")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    measure: Any = measure_memory if options.memory else measure_switch if options.switch else measure_speed
    with tempfile.TemporaryDirectory() as root:
        asyncio.run(measure(options, Path(root)))


if __name__ == "__main__":
    main()
