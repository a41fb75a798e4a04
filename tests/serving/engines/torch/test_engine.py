"""The engine against one-at-a-time answers of models.generate: every method, every architecture, any company."""

import asyncio
from pathlib import Path

import pytest

from luthier.models.generate import Sampling
from luthier.models.load import LoadedModel
from tests.serving.engines.torch.toys import (
    SHARED,
    adapter_folder,
    alone,
    ask,
    base_folder,
    engine_over,
    load,
    mounted,
    together,
)
from tests.toy import ARCHITECTURES

SYSTEM = list(range(30, 45))
PROMPTS = [[5, 6, 7, 8], [9, 10], list(range(11, 40)), [*SYSTEM, 3, 4], [*SYSTEM, 9], [44]]
GREEDY = Sampling(max_new_tokens=14)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, base: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {
        key: adapter_folder(root / key, base, name, seed=number, **changes)
        for number, (key, (name, changes)) in enumerate(SHARED.items())
    }


@pytest.fixture(scope="module")
def expected(base: Path, adapters: dict[str, Path]) -> dict[tuple[str | None, int], list[int]]:
    models: dict[str | None, LoadedModel] = {None: load(base), **{k: load(f) for k, f in adapters.items()}}
    return {
        (key, number): alone(model, prompt, GREEDY)
        for key, model in models.items()
        for number, prompt in enumerate(PROMPTS[:4])
    }


def test_every_method_in_one_batch_answers_as_alone(
    base: Path, adapters: dict[str, Path], expected: dict[tuple[str | None, int], list[int]]
) -> None:
    async def run() -> None:
        engine = engine_over(load(base), max_batch=16)
        for key, folder in adapters.items():
            await engine.mount(mounted(key, folder, SYSTEM))
        wanted = list(expected)
        stop = frozenset(engine._loaded.renderer.stop_ids)
        for _ in range(2):  # the second time from kept beginnings
            found = await together(engine, [ask(PROMPTS[n], GREEDY, key, stop_ids=stop) for key, n in wanted])
            for key, ids in zip(wanted, found, strict=True):
                assert ids == expected[key], key
        counters = engine.status().counters
        assert counters["prompt_tokens_cached"] > counters["prompt_tokens"] // 3
        await engine.close()

    asyncio.run(run())
    assert len({tuple(ids) for ids in expected.values()}) > 20


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_shares_its_steps(architecture: str, tmp_path: Path) -> None:
    loaded = load(base_folder(tmp_path, architecture))

    async def run() -> None:
        engine = engine_over(load(tmp_path))
        assert engine._built.why_alone is None
        stop = frozenset(loaded.renderer.stop_ids)
        found = await together(engine, [ask(prompt, GREEDY, stop_ids=stop) for prompt in PROMPTS])
        await engine.close()
        assert found == [alone(loaded, prompt, GREEDY) for prompt in PROMPTS]

    asyncio.run(run())
