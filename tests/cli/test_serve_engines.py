"""What `luthier serve --engine` opens: the answers of the same files, from a model folder and a PEFT folder."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.serve_engines import EngineWanted, base_gguf, lora_gguf, opener
from luthier.errors import ConfigError, ExportError
from luthier.models.generate import Sampling
from luthier.models.gguf import GgufModel
from luthier.models.load import load_tokenizer
from luthier.serving.engines.engine import Ask, Mounted
from tests.export.toys import adapter_folder, base_folder, ia3_config, lora_config
from tests.serving.engines.openai.upstream import Upstream, answer_ids, running


def wanted(base: Path, kind: str, **changes: Any) -> EngineWanted:
    return EngineWanted(
        **{"kind": kind, "base_place": str(base), "base_hash": "x:ab"} | changes, max_batch=2, max_queue=4
    )


async def ids_of(engine: Any, specialist: str | None, prompt: tuple[int, ...]) -> list[int]:
    one = Ask(specialist, prompt, Sampling(max_new_tokens=8), frozenset())
    return [token async for piece in engine.answer(one) for token in piece.token_ids]


def test_llamacpp_is_served_from_the_folders_of_training(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: nothing runs a GGUF file")
    base = base_folder(tmp_path / "base")
    adapter = adapter_folder(base, tmp_path / "adapter", lora_config())

    async def work() -> None:
        open_engine = opener(wanted(base, "llamacpp", threads=1, context_length=64))
        assert open_engine is not None
        engine = await open_engine()
        await engine.mount(Mounted("one@1", adapter))
        found = [await ids_of(engine, name, (9, 8, 7)) for name in (None, "one@1")]
        assert engine.context_length == 64 and engine.name == "llamacpp" and engine.status().active == 0
        await engine.unmount("one@1")
        other = adapter_folder(base, tmp_path / "other", ia3_config(["k_proj", "down_proj"], ["down_proj"]))
        with pytest.raises(ExportError, match=r"llama\.cpp adds LoRA alone"):
            await engine.mount(Mounted("other@1", other))
        await engine.close()
        gguf, lora = base_gguf(str(base), "x:ab"), lora_gguf(Mounted("one@1", adapter), str(base))
        for path, answer in ((None, found[0]), (lora, found[1])):
            with GgufModel(gguf, adapter=path, num_threads=1) as model:
                stops = set(model.stop_ids)
                assert not stops & set(answer) and answer == model.generate([9, 8, 7], 8)
        assert found[0] != found[1]

    asyncio.run(work())


def test_an_upstream_knows_specialists_by_their_names(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")

    async def work() -> None:
        async with running(Upstream(load_tokenizer(str(base)), owner="vllm")) as upstream:
            open_engine = opener(wanted(base, "openai", upstream=f"{upstream.url}#base"))
            assert open_engine is not None
            engine = await open_engine()
            await engine.mount(Mounted("units@3", tmp_path / "somewhere"))
            assert engine.context_length == 1024
            await ids_of(engine, "units@3", (9, 8, 7))
            assert upstream.asked[-1]["model"] == "units" and answer_ids("units", (9, 8, 7), 8)
            await engine.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "vllm"}, "expected one of torch, llamacpp, openai; got 'vllm'"),
        ({"kind": "openai"}, "needs --upstream URL#MODEL"),
        ({"kind": "openai", "threads": 2}, "--threads is for --engine torch and llamacpp"),
        ({"kind": "llamacpp", "upstream": "http://x/v1#m"}, "--upstream is for --engine openai"),
        ({"kind": "torch", "context_length": 9}, "torch takes the base's"),
    ],
)
def test_options_of_another_engine_are_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        opener(wanted(tmp_path, **changes))


def test_torch_is_opened_by_the_server(tmp_path: Path) -> None:
    assert opener(wanted(tmp_path, "torch")) is None
