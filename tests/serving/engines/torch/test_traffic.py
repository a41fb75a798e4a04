"""Rows that come and go: random schedules, cancels, a full queue, closing, a crash; none changes another's answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import ServingError
from luthier.models.generate import Sampling
from luthier.models.load import LoadedModel
from luthier.serving.engines.engine import Ask, Overloaded, Piece, Unavailable
from luthier.serving.engines.torch.engine import TorchEngine
from luthier.serving.masks import json_mask
from tests.serving.engines.torch.toys import (
    adapter_folder,
    all_pieces,
    ask,
    base_folder,
    engine_over,
    ids_of,
    load,
    mounted,
    together,
)

SYSTEM = tuple(range(30, 60))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(base_folder(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, loaded: LoadedModel) -> list[Path]:
    root, base = tmp_path_factory.mktemp("adapters"), Path(loaded.source.base)
    return [adapter_folder(root / str(seed), base, "lora", seed=seed) for seed in (1, 2)]


async def opened(loaded: LoadedModel, adapters: list[Path], **limits: Any) -> TorchEngine:
    engine = engine_over(loaded, **limits)
    for number, folder in enumerate(adapters):
        await engine.mount(mounted(f"s{number}", folder, SYSTEM))
    return engine


PROMPT = st.tuples(st.booleans(), st.lists(st.integers(1, 400), min_size=1, max_size=160)).map(
    lambda pair: (*SYSTEM, *pair[1]) if pair[0] else tuple(pair[1])
)
SAMPLING = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.0, 1.3]),
    top_p=st.sampled_from([1.0, 0.9]),
    repetition_penalty=st.sampled_from([1.0, 1.2]),
    max_new_tokens=st.integers(1, 25),
    seed=st.integers(0, 99),
)
ASK = st.builds(ask, PROMPT, SAMPLING, st.sampled_from([None, "s0", "s1"]))
JOINING = st.tuples(
    ASK, st.integers(0, 12), st.none() | st.integers(0, 6)
)  # wait; tokens until it is cancelled


@settings(deadline=None, max_examples=5)
@given(schedule=st.lists(JOINING, min_size=2, max_size=12))
def test_a_random_schedule_changes_no_answer(
    loaded: LoadedModel, adapters: list[Path], schedule: list[tuple[Ask, int, int | None]]
) -> None:
    async def one(engine: TorchEngine, one: Ask, wait: int, until: int | None) -> list[int]:
        for _ in range(wait):
            await asyncio.sleep(0.001)
        ids: list[int] = []
        pieces = engine.answer(one)
        async for piece in pieces:
            ids += piece.token_ids
            if until is not None and len(ids) >= until:
                break
        await pieces.aclose()  # type: ignore[attr-defined]
        return ids

    async def run() -> None:
        engine = await opened(loaded, adapters, max_batch=5, prefix_bytes=1 << 17)
        found = await asyncio.gather(*(one(engine, *joining) for joining in schedule))
        lonely = await opened(loaded, adapters, max_batch=1, prefix_bytes=0)
        for (asked, _, _), ids in zip(schedule, found, strict=True):
            expected = await ids_of(lonely, asked)
            assert ids == expected[: len(ids)]
        await asyncio.gather(engine.close(), lonely.close())

    asyncio.run(run())


def test_a_prefix_is_computed_once(loaded: LoadedModel, adapters: list[Path]) -> None:
    async def run() -> None:
        engine = await opened(loaded, adapters, max_batch=8)
        asks = [ask([*SYSTEM, number], Sampling(max_new_tokens=3), "s0") for number in range(1, 9)]
        await together(engine, asks)
        counters = engine.status().counters
        assert counters["prompt_tokens"] == 8 * 31
        assert counters["prompt_tokens_cached"] == 7 * 30
        first = await ids_of(engine, ask([*SYSTEM, 5, 6], Sampling(max_new_tokens=9), "s1"))
        longer = [*SYSTEM, 5, 6, *first, 9]
        before = engine.status().counters["prompt_tokens_cached"]
        again = await ids_of(engine, ask(longer, Sampling(max_new_tokens=9), "s1"))
        assert engine.status().counters["prompt_tokens_cached"] - before == len(longer) - 2
        fresh = await opened(loaded, adapters, prefix_bytes=0)
        assert again == await ids_of(fresh, ask(longer, Sampling(max_new_tokens=9), "s1"))
        assert fresh.status().counters["prompt_tokens_cached"] == 0
        await asyncio.gather(engine.close(), fresh.close())

    asyncio.run(run())


async def first_piece(engine: TorchEngine, one: Ask) -> tuple[Piece, AsyncIterator[Piece]]:
    pieces = engine.answer(one)
    return await anext(pieces), pieces


def test_a_cancel_frees_the_slot_also_in_the_queue(loaded: LoadedModel) -> None:
    async def run() -> None:
        engine = engine_over(loaded, max_batch=1, max_queue=2)
        endless = ask([5, 6], Sampling(max_new_tokens=900))
        _, running = await first_piece(engine, endless)
        waiting = [asyncio.create_task(ids_of(engine, endless)) for _ in range(2)]
        await asyncio.sleep(0)
        assert engine.status().queued == 2
        with pytest.raises(Overloaded) as refusal:
            await anext(engine.answer(endless))
        assert refusal.value.retry_after_seconds >= 1
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await running.aclose()  # type: ignore[attr-defined]
        assert len(await ids_of(engine, ask([5, 6], Sampling(max_new_tokens=4)))) == 4
        status = engine.status()
        assert (status.active, status.queued, status.counters["cancelled"]) == (0, 0, 3)
        await engine.close()

    asyncio.run(run())


def test_streams_go_on_while_a_long_prompt_is_read(loaded: LoadedModel) -> None:
    async def run() -> None:
        engine = engine_over(loaded)
        _, stream = await first_piece(engine, ask([5, 6], Sampling(max_new_tokens=400)))
        long = asyncio.create_task(anext(engine.answer(ask([7] * 900, Sampling(max_new_tokens=1)))))
        count = 0
        while not long.done():
            await anext(stream)
            count += 1
        assert count >= 900 // 128
        await stream.aclose()  # type: ignore[attr-defined]
        await engine.close()

    asyncio.run(run())


def test_ends(loaded: LoadedModel) -> None:
    async def run() -> None:
        engine = engine_over(loaded)
        free = await ids_of(engine, ask([5, 6, 7], Sampling(max_new_tokens=12)))
        stopped = await all_pieces(
            engine, ask([5, 6, 7], Sampling(max_new_tokens=12), stop_ids=frozenset({free[4]}))
        )
        assert [token for piece in stopped for token in piece.token_ids] == free[: free.index(free[4]) + 1]
        assert [piece.finish_reason for piece in stopped][-2:] == [None, "stop"]
        full = await all_pieces(engine, ask([5] * 1020, Sampling(max_new_tokens=12)))
        assert len(full) == 4 and full[-1].finish_reason == "length"
        for wrong in ([5] * 1024, [], [483], [-1]):
            with pytest.raises(ServingError):
                await ids_of(engine, ask(wrong, Sampling()))
        with pytest.raises(ServingError, match="nobody is not mounted"):
            await ids_of(engine, ask([5], Sampling(), "nobody"))
        await engine.close()
        with pytest.raises(Unavailable, match="closed"):
            await ids_of(engine, ask([5], Sampling()))

    asyncio.run(run())


def test_closing_ends_what_runs(loaded: LoadedModel) -> None:
    async def run() -> None:
        engine = engine_over(loaded, max_batch=1)
        asks = [asyncio.create_task(ids_of(engine, ask([5], Sampling(max_new_tokens=900)))) for _ in range(3)]
        await asyncio.sleep(0.02)
        await engine.close()
        found = await asyncio.gather(*asks, return_exceptions=True)
        assert [type(one) for one in found] == [Unavailable] * 3

    asyncio.run(run())


class Faulty:
    """A mask with a fault."""

    def allowed(self) -> Any:
        raise RuntimeError("a fault")

    def accept(self, token_id: int) -> None:
        raise AssertionError("nothing was allowed")


def test_a_mask_that_fails_ends_its_own_answer(loaded: LoadedModel) -> None:
    async def run() -> None:
        engine = engine_over(loaded)
        other = asyncio.create_task(ids_of(engine, ask([5], Sampling(max_new_tokens=30))))
        with pytest.raises(ServingError, match="mask of this answer failed: RuntimeError: a fault"):
            await ids_of(engine, ask([5], Sampling(), mask=Faulty()))
        assert len(await other) == 30
        assert engine.status().active == 0
        await engine.close()

    asyncio.run(run())


def test_a_crash_tells_everybody(loaded: LoadedModel) -> None:
    async def run() -> None:
        engine = engine_over(load(Path(loaded.source.base)))
        asks = [asyncio.create_task(ids_of(engine, ask([5], Sampling(max_new_tokens=900)))) for _ in range(6)]
        await asyncio.sleep(0.02)
        engine._built.model.model.norm.weight.data = torch.ones(5)  # no longer fits
        found = await asyncio.gather(*asks, return_exceptions=True)
        assert [type(one) for one in found] == [Unavailable] * 6
        with pytest.raises(Unavailable, match="broken"):
            await ids_of(engine, ask([5], Sampling()))
        await engine.close()

    asyncio.run(run())


def test_mounting_and_unmounting_while_answers_run(loaded: LoadedModel, adapters: list[Path]) -> None:
    async def run() -> None:
        engine = await opened(loaded, adapters[:1])
        with pytest.raises(ServingError, match="mounted already"):
            await engine.mount(mounted("s0", adapters[1]))
        asked = ask([5, 6], Sampling(max_new_tokens=60), "s0")
        expected = await ids_of(engine, asked)
        running = asyncio.create_task(ids_of(engine, asked))
        await asyncio.sleep(0)
        await engine.mount(mounted("s1", adapters[1]))
        leaving = asyncio.create_task(engine.unmount("s0"))
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="s0 is not mounted"):
            await ids_of(engine, asked)
        assert not leaving.done()
        assert await running == expected
        await leaving
        await engine.mount(mounted("s0", adapters[0]))
        assert await ids_of(engine, asked) == expected
        with pytest.raises(ServingError, match="not mounted"):
            await engine.unmount("s7")
        await engine.close()

    asyncio.run(run())


def test_json_at_temperature_1(loaded: LoadedModel) -> None:
    schema = {
        "type": "object",
        "properties": {
            "value": {"type": "integer", "maximum": 99, "minimum": 0},
            "unit": {"enum": ["m", "km"]},
        },
        "required": ["value", "unit"],
        "additionalProperties": False,
    }
    tokenizer = loaded.tokenizer
    end = frozenset({tokenizer.eos_token_id})

    async def run() -> None:
        engine = engine_over(loaded)
        asks = [
            ask(
                [5, 6],
                Sampling(temperature=1.0, seed=seed, max_new_tokens=120),
                stop_ids=end,
                mask=json_mask(schema, tokenizer),
                num_top_logprobs=2,
            )
            for seed in range(12)
        ]
        answers = await asyncio.gather(*(all_pieces(engine, one) for one in asks))
        for pieces in answers:
            assert pieces[-1].finish_reason == "stop"
            ids = [token for piece in pieces for token in piece.token_ids]
            jsonschema.validate(json.loads(tokenizer.decode(ids[:-1])), schema)
            assert all(len(piece.logprobs[0].top) == 2 for piece in pieces)
        await engine.close()

    asyncio.run(run())


def test_a_pool_of_memory_is_not_overdrawn(loaded: LoadedModel) -> None:
    async def run() -> None:
        one_row = 128 * engine_over(loaded)._built.computation._shape.bytes_per_token  # type: ignore[union-attr]
        engine = engine_over(loaded, kv_bytes=2 * one_row)
        asks = [asyncio.create_task(ids_of(engine, ask([5], Sampling(max_new_tokens=99)))) for _ in range(4)]
        most = 0
        while not all(task.done() for task in asks):
            await asyncio.sleep(0.001)
            most = max(most, engine.status().active)
        assert most == 2
        await engine.close()

    with torch.inference_mode():
        asyncio.run(run())
