"""The engine of GGUF files against the same files asked one prompt at a time."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.errors import ConfigError, ModelError, ServingError
from luthier.export.gguf.lora import write_gguf_lora
from luthier.export.gguf.write import write_gguf
from luthier.models.generate import Sampling
from luthier.models.gguf import GgufModel
from luthier.serving.engines.engine import Ask, Engine, Mounted, Overloaded, Piece, Unavailable
from luthier.serving.engines.llamacpp import open_llamacpp_engine
from luthier.serving.engines.sampling import Sampler
from tests.export.toys import adapter_folder, base_folder, lora_config

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: nothing runs a GGUF file")
NAMES = (None, "one", "two", "three")


@dataclass
class Files:
    """A base and three adapters, and who answers one at a time."""

    base: Path
    adapters: dict[str, Path]
    alone: dict[str | None, GgufModel]

    def want(self, ask: Ask) -> list[int]:
        sampler = Sampler(ask.sampling, ask.prompt_ids)
        return self.alone[ask.specialist].generate(
            ask.prompt_ids, ask.sampling.max_new_tokens, sampler.choose
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("gguf")
    base = base_folder(folder / "base", max_position_embeddings=256)
    write_gguf(base, folder / "base.gguf", "f32")
    adapters = {}
    for seed, name in enumerate(NAMES[1:]):
        adapter_folder(base, folder / str(name), lora_config(), seed=seed)
        adapters[str(name)] = folder / f"{name}.gguf"
        write_gguf_lora(folder / str(name), base, adapters[str(name)])
    paths = {None: None, **adapters}
    alone = {
        name: GgufModel(folder / "base.gguf", adapter=path, num_threads=1) for name, path in paths.items()
    }
    yield Files(folder / "base.gguf", adapters, alone)
    for model in alone.values():
        model.close()


def run(
    files: Files, work: Callable[[Engine], Awaitable[None]], *, mounted: bool = True, **settings: Any
) -> None:
    """`work` with an engine of the files, closed afterwards."""

    async def inside() -> None:
        engine = await open_llamacpp_engine(files.base, num_threads=1, **settings)
        try:
            for name, path in files.adapters.items() if mounted else ():
                await engine.mount(Mounted(name, path))
            await work(engine)
        finally:
            await engine.close()

    asyncio.run(asyncio.wait_for(inside(), 60))


def ask(files: Files, specialist: str | None, prompt: list[int], **sampling: Any) -> Ask:
    settings = Sampling(**{"max_new_tokens": 12} | sampling)
    return Ask(specialist, tuple(prompt), settings, frozenset(files.alone[None].stop_ids))


async def told(engine: Engine, one: Ask) -> list[int]:
    ids: list[int] = []
    reasons = []
    async for piece in engine.answer(one):
        ids += piece.token_ids
        reasons.append(piece.finish_reason)
    assert set(reasons[:-1]) <= {None}
    assert reasons[-1] == ("stop" if ids[-1] in one.stop_ids else "length")
    return ids


def random_asks(files: Files, count: int, seed: int) -> list[Ask]:
    """Some begin alike, some are read in several steps, some are drawn at random."""
    choice = random.Random(seed)
    system = [choice.randrange(5, 400) for _ in range(30)]
    asks = []
    for place in range(count):
        own = [choice.randrange(5, 400) for _ in range(choice.choice([1, 7, 40]))]
        drawn = {"temperature": 0.9, "top_k": 20, "top_p": 0.9, "seed": place} if place % 4 == 3 else {}
        prompt = [*(system if choice.random() < 0.5 else []), *own]
        asks.append(
            ask(files, choice.choice(NAMES), prompt, max_new_tokens=choice.choice([1, 5, 20]), **drawn)
        )
    return asks


@pytest.mark.parametrize("max_batch", [1, 3, 8])
def test_mixed_answers_are_those_of_one_at_a_time(files: Files, max_batch: int) -> None:
    asks = random_asks(files, 32, seed=max_batch)
    order = random.Random(max_batch)

    async def later(engine: Engine, one: Ask) -> list[int]:
        await asyncio.sleep(order.random() * 0.04)
        return await told(engine, one)

    async def work(engine: Engine) -> None:
        found = await asyncio.gather(*(later(engine, one) for one in asks))
        assert found == [files.want(one) for one in asks]
        status = engine.status()
        assert (status.active, status.queued) == (0, 0)
        assert status.counters["answers"] == len(asks)
        assert status.counters["generated_tokens"] == sum(map(len, found))
        assert status.counters["prompt_tokens_cached"] > 0

    run(files, work, max_batch=max_batch)


def test_the_adapters_differ(files: Files) -> None:
    answers = {tuple(files.want(ask(files, name, [9, 8, 7]))) for name in NAMES}
    assert len(answers) == len(NAMES)


def test_cancelled_answers_free_their_place_and_change_no_other(files: Files) -> None:
    asks = random_asks(files, 24, seed=5)

    async def leave(engine: Engine, one: Ask, num_pieces: int) -> None:
        pieces = engine.answer(replace(one, sampling=Sampling(max_new_tokens=150), stop_ids=frozenset()))
        for _ in range(num_pieces):
            await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]

    async def work(engine: Engine) -> None:
        leaving = [leave(engine, one, place % 3) for place, one in enumerate(asks)]
        found = await asyncio.gather(*(told(engine, one) for one in asks), *leaving)
        assert found[: len(asks)] == [files.want(one) for one in asks]
        assert await told(engine, asks[0]) == files.want(asks[0])
        status = engine.status()
        assert (status.active, status.queued) == (0, 0)
        assert status.counters["cancelled"] == sum(place % 3 > 0 for place in range(len(asks)))

    run(files, work, max_batch=4)


def test_one_that_waits_is_cancelled_without_a_step(files: Files) -> None:
    async def work(engine: Engine) -> None:
        long = replace(ask(files, None, [5], max_new_tokens=200), stop_ids=frozenset())
        first = engine.answer(long)
        await anext(first)
        second = asyncio.create_task(told(engine, ask(files, "one", [6])))
        await asyncio.sleep(0.01)
        assert engine.status().queued == 1
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert engine.status().queued == 0
        await first.aclose()  # type: ignore[attr-defined]
        assert await told(engine, ask(files, "one", [6])) == files.want(ask(files, "one", [6]))

    run(files, work, max_batch=1)


def test_a_full_queue_refuses(files: Files) -> None:
    async def work(engine: Engine) -> None:
        one = ask(files, None, [5, 6], max_new_tokens=30)
        running = [asyncio.create_task(told(engine, one)) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="3 questions wait already") as caught:
            await told(engine, one)
        assert caught.value.retry_after_seconds >= 1
        assert engine.status().max_queue == 3
        assert {tuple(found) for found in await asyncio.gather(*running)} == {tuple(files.want(one))}
        assert await told(engine, one) == files.want(one)

    run(files, work, max_batch=2, max_queue=3)


def test_a_system_prompt_is_computed_once(files: Files) -> None:
    system = list(range(20, 80))

    async def work(engine: Engine) -> None:
        await engine.mount(Mounted("taught", files.adapters["two"], tuple(system)))
        while engine.status().counters["steps"] == 0:
            await asyncio.sleep(0.005)
        asks = [ask(files, "taught", [*system, 7, place]) for place in range(5)]
        for one in asks:
            assert await told(engine, one) == files.want(replace(one, specialist="two"))
        assert engine.status().counters["prompt_tokens_cached"] >= 5 * len(system)
        # Another adapter says something else of the same prompt, and computes it for itself.
        other = replace(asks[0], specialist="one")
        before = engine.status().counters["prompt_tokens_cached"]
        assert await told(engine, other) == files.want(other)
        assert engine.status().counters["prompt_tokens_cached"] == before

    run(files, work)


def test_with_little_room_beginnings_go(files: Files) -> None:
    asks = random_asks(files, 24, seed=11)

    async def work(engine: Engine) -> None:
        found = await asyncio.gather(*(told(engine, one) for one in asks))
        assert found == [files.want(one) for one in asks]

    run(files, work, max_batch=3, max_kept=1)


def test_log_probabilities_are_of_the_whole_distribution(files: Files) -> None:
    async def work(engine: Engine) -> None:
        one = replace(ask(files, "one", [9, 8, 7], max_new_tokens=3), num_top_logprobs=4)
        pieces = [piece async for piece in engine.answer(one)]
        ids = [token for piece in pieces for token in piece.token_ids]
        logits = files.alone["one"].logits([9, 8, 7, *ids[:-1]])[2:].astype(np.float64)
        want = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        for piece, want_V in zip(pieces, want, strict=True):
            (found,) = piece.logprobs
            assert found.token_id == piece.token_ids[0]
            assert found.logprob == pytest.approx(want_V[found.token_id], abs=1e-3)
            assert [token for token, _ in found.top] == np.argsort(-want_V)[:4].tolist()

    run(files, work)


class Odd:
    """Only odd ids, and a fault at the end."""

    def __init__(self, num_tokens: int, faults_after: int = 99) -> None:
        self._allowed = np.arange(num_tokens) % 2 == 1
        self._left = faults_after

    def allowed(self) -> Any:
        if not self._left:
            raise ValueError("the schema is odd")
        return self._allowed

    def accept(self, token_id: int) -> None:
        self._left -= 1


def test_a_mask_rules_and_its_fault_ends_its_own_answer(files: Files) -> None:
    vocabulary = files.alone[None].num_tokens

    async def work(engine: Engine) -> None:
        plain = ask(files, "one", [9, 8, 7])
        masked = replace(plain, mask=Odd(vocabulary), stop_ids=frozenset())
        faulty = replace(plain, mask=Odd(vocabulary, faults_after=2), stop_ids=frozenset())
        found = await asyncio.gather(
            told(engine, plain), told(engine, masked), told(engine, faulty), return_exceptions=True
        )
        assert found[0] == files.want(plain)
        assert isinstance(found[1], list) and len(found[1]) == 12 and all(token % 2 for token in found[1])
        assert isinstance(found[2], ServingError) and "the schema is odd" in str(found[2])
        assert engine.status().active == 0

    run(files, work)


def test_mounting_and_unmounting_while_others_run(files: Files) -> None:
    async def work(engine: Engine) -> None:
        long = replace(ask(files, "one", [5], max_new_tokens=150), stop_ids=frozenset())
        running = engine.answer(long)
        await anext(running)
        for _ in range(5):
            await engine.mount(Mounted("late", files.adapters["three"], tuple(range(10, 40))))
            late = ask(files, "late", [*range(10, 40), 6])
            assert await told(engine, late) == files.want(replace(late, specialist="three"))
            await engine.unmount("late")
            with pytest.raises(ServingError, match="late is not mounted; mounted: one, two, three"):
                await told(engine, late)
        leaving = asyncio.create_task(engine.unmount("one"))
        await asyncio.sleep(0.02)
        assert not leaving.done()
        with pytest.raises(ServingError, match="one is not mounted"):
            await told(engine, long)
        assert len([piece async for piece in running]) == 149
        await asyncio.wait_for(leaving, 5)

    run(files, work)


def test_what_cannot_be_answered_is_told_before_anything_runs(files: Files, tmp_path: Path) -> None:
    async def work(engine: Engine) -> None:
        assert engine.context_length == 128 and engine.name == "llamacpp"
        for prompt, problem in (
            ([], "the prompt is empty"),
            ([5] * 128, "a prompt of 128 tokens leaves no room"),
            ([5, 100_000], "ids that are not below"),
            ([-1], "ids that are not below"),
        ):
            with pytest.raises(ServingError, match=problem):
                await told(engine, ask(files, None, prompt))
        whole = replace(ask(files, None, [5] * 127, max_new_tokens=50), stop_ids=frozenset())
        assert len(await told(engine, whole)) == 1
        with pytest.raises(ServingError, match="one is mounted already"):
            await engine.mount(Mounted("one", files.adapters["one"]))
        for wrong in (tmp_path / "nothing.gguf", files.base):
            with pytest.raises(ModelError):
                await engine.mount(Mounted("wrong", wrong))
        with pytest.raises(ServingError, match="wrong is not mounted"):
            await engine.unmount("wrong")

    run(files, work, context_length=128)


def test_closing_ends_what_runs(files: Files) -> None:
    async def work(engine: Engine) -> None:
        long = replace(ask(files, "one", [5], max_new_tokens=200), stop_ids=frozenset())
        pieces: AsyncIterator[Piece] = engine.answer(long)
        await anext(pieces)
        waiting = asyncio.create_task(told(engine, long))
        await asyncio.sleep(0)
        await engine.close()
        with pytest.raises(Unavailable, match="ended before the answer did"):
            async for _ in pieces:
                pass
        with pytest.raises(Unavailable):
            await waiting
        with pytest.raises(Unavailable, match="the engine is closed"):
            await told(engine, long)

    run(files, work, max_batch=1)


def test_numbers_out_of_range(files: Files) -> None:
    with pytest.raises(ConfigError, match="expected max_batch of at least 1"):
        asyncio.run(open_llamacpp_engine(files.base, max_batch=0))
