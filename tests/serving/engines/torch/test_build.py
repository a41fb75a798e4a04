"""What cannot share a base is refused with a reason; what cannot share a step answers one by one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.errors import ServingError
from luthier.models.generate import Sampling
from luthier.models.load import LoadedModel
from luthier.serving.engines.torch.engine import open_torch_engine
from luthier.serving.engines.torch.norms import fuse_norms
from tests.serving.engines.torch.toys import (
    adapter_folder,
    alone,
    ask,
    base_folder,
    engine_over,
    load,
    mounted,
    together,
)
from tests.toy import byte_tokenizer, tiny_model

PROMPTS = [[5, 6, 7], list(range(9, 31)), [44]]
GREEDY = Sampling(max_new_tokens=10)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def loaded(base: Path) -> LoadedModel:
    return load(base)


def changed(folder: Path, config: dict[str, Any], tensors: dict[str, Any]) -> Path:
    """Write into an adapter folder; None takes something away."""
    path, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    kept = {**load_file(weights), **tensors}
    save_file({name: tensor for name, tensor in kept.items() if tensor is not None}, weights)
    return folder


Q = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("config", "tensors", "reason"),
    [
        ({"peft_type": "LOHA"}, {}, "kind LOHA cannot share"),
        ({}, {"base_model.model.lm_head.weight": torch.ones(1)}, "lm_head.weight cannot share"),
        ({"use_qalora": True}, {}, "use_qalora cannot share"),
        ({}, {f"{Q}.lora_B.weight": None}, "half of the adapter"),
        ({}, {f"{Q}.lora_A.weight": torch.ones(4, 31)}, r"shape \(4, 31\), expected \(4, 32\)"),
        ({}, {f"{Q[:-6]}x_proj.lora_{x}.weight": torch.ones(4, 4) for x in "AB"}, r"has no model.*x_proj"),
        ({}, {f"{Q}.lora_A.weight": torch.full((4, 32), torch.nan)}, "not finite"),
    ],
)
def test_adapters_that_are_refused(
    base: Path,
    loaded: LoadedModel,
    tmp_path: Path,
    config: dict[str, Any],
    tensors: dict[str, Any],
    reason: str,
) -> None:
    folder = changed(adapter_folder(tmp_path / "a", base, targets=["q_proj"]), config, tensors)

    async def run() -> None:
        engine = engine_over(loaded)
        with pytest.raises(ServingError, match=reason):
            await engine.mount(mounted("a", folder))
        with pytest.raises(ServingError, match="not mounted"):
            await engine.unmount("a")
        assert await together(engine, [ask([5], GREEDY)]) == [alone(loaded, [5], GREEDY)]
        await engine.close()

    asyncio.run(run())


def test_whole_weights_and_nothing_at_all_are_refused(
    base: Path, loaded: LoadedModel, tmp_path: Path
) -> None:
    async def run() -> None:
        engine = engine_over(loaded)
        with pytest.raises(ServingError, match="whole weights, which cannot share"):
            await engine.mount(mounted("a", base))
        with pytest.raises(ServingError, match="expected an adapter"):
            await engine.mount(mounted("a", tmp_path))
        await engine.close()

    asyncio.run(run())


def test_a_base_that_is_an_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    folder = adapter_folder(tmp_path / "a", base, targets=["q_proj"])
    with pytest.raises(ServingError, match="is an adapter over"):
        asyncio.run(open_torch_engine(str(folder), dtype="float32", device="cpu"))


@pytest.mark.parametrize(("architecture", "count"), [("llama", 5), ("qwen3", 9), ("gemma2", 0), ("gpt2", 0)])
def test_norms_in_one_call_give_the_same_bits(architecture: str, count: int) -> None:
    model, ids = tiny_model(architecture), torch.arange(20)[None]
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        assert fuse_norms(model) == count
        assert torch.equal(model(input_ids=ids).logits, before)


def odd_model(folder: Path, **config: Any) -> Path:
    tokenizer = byte_tokenizer()
    made = AutoConfig.for_model(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **config)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(made).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
ODD: dict[str, dict[str, Any]] = {
    "state space": {"model_type": "mamba", **SMALL, "state_size": 8},
    "ALiBi": {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "dynamic positions": {
        "model_type": "llama",
        **SMALL,
        "num_attention_heads": 4,
        "max_position_embeddings": 16,
        "rope_parameters": DYNAMIC,
    },
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_models_answer_one_by_one(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded = load(odd_model(tmp_path, **ODD[kind]))

    async def run() -> None:
        engine = engine_over(loaded)
        found = await together(engine, [ask(prompt, GREEDY, stop_ids=STOP) for prompt in PROMPTS])
        await engine.close()
        assert found == [alone(loaded, prompt, GREEDY) for prompt in PROMPTS]

    STOP = frozenset(loaded.renderer.stop_ids)
    asyncio.run(run())
    assert [record.message for record in caplog.records if "one row at a time" in record.message]
