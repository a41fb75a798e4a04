"""The merge by pieces against PEFT's own, and what it must not lose."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.errors import ExportError
from luthier.export import merge as merging
from luthier.export import merge_plan
from luthier.export.merge import apply_merge, merge
from luthier.export.merge_plan import plan_merge
from luthier.models.load import attach_adapter, find_model, load_weights
from tests.export.toys import adapter_folder, base_folder, ia3_config, lora_config, peft_merged

ARCHITECTURES = {"llama": {}, "qwen2": {}, "gpt2": {"fan_in_fan_out": True}, "gemma2": {}}
LORAS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
}
PATTERNS = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.self_attn.v_proj": 3}}


def same(folder: Path, expected: Any, dtype: torch.dtype = torch.float32) -> None:
    found = load_weights(str(folder), torch.float32).state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor.to(dtype).float(), rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", LORAS)
def test_low_rank_as_peft_merges_it(
    architecture: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "PIECE_BYTES", 1000)  # a few rows at a time
    base = base_folder(tmp_path / "base", architecture)
    adapter = adapter_folder(
        base, tmp_path / "adapter", lora_config(**ARCHITECTURES[architecture], **LORAS[kind])
    )
    plan = plan_merge(find_model(str(adapter)))
    assert plan.whole_because is None and plan.num_changed > 0
    apply_merge(plan, tmp_path / "out")
    same(tmp_path / "out", peft_merged(base, adapter))


def test_single_modules_may_have_a_rank_and_a_scale_of_their_own(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    adapter = adapter_folder(base, tmp_path / "adapter", lora_config(**PATTERNS))
    words = {tensor.name: tensor.operation for tensor in plan_merge(find_model(str(adapter))).tensors}
    assert "4 x B(2) A" in words["model.layers.0.self_attn.q_proj.weight"]
    assert "0.75 x B(4) A" in words["model.layers.1.self_attn.v_proj.weight"]
    merge(str(adapter), tmp_path / "out")
    same(tmp_path / "out", peft_merged(base, adapter))


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_ia3_scales_weights_and_the_biases_behind_them(architecture: str, tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", architecture)
    config = (
        ia3_config(["c_attn", "mlp.c_proj"], ["mlp.c_proj"], fan_in_fan_out=True)
        if architecture == "gpt2"
        else ia3_config(["k_proj", "v_proj", "down_proj"], ["down_proj"])
    )
    adapter = adapter_folder(base, tmp_path / "adapter", config)
    merge(str(adapter), tmp_path / "out")
    same(tmp_path / "out", peft_merged(base, adapter))


@pytest.mark.parametrize(
    ("changes", "untied"),
    [
        ({"modules_to_save": ["lm_head"]}, True),
        ({"modules_to_save": ["embed_tokens", "lm_head"]}, True),
        ({"target_modules": ["q_proj", "embed_tokens"]}, True),
        ({"target_modules": ["q_proj"]}, False),
    ],
)
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings")
def test_tied_embeddings_part_when_one_of_them_was_trained(
    changes: dict[str, Any], untied: bool, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base", tie_word_embeddings=True)
    adapter = adapter_folder(base, tmp_path / "adapter", lora_config(**changes))
    merge(str(adapter), tmp_path / "out")
    trained = attach_adapter(load_weights(str(base), torch.float32), adapter).eval()
    merged = load_weights(str(tmp_path / "out"), torch.float32)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is not untied
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, trained(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_vocabulary_that_grew_is_kept(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    adapter = adapter_folder(
        base, tmp_path / "adapter", lora_config(modules_to_save=["embed_tokens", "lm_head"])
    )
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    for name in ("embed_tokens", "lm_head"):
        key = next(key for key in tensors if name in key)
        tensors[key] = torch.cat([tensors[key], torch.full((3, 32), 0.5)])
    save_file(tensors, file, {"format": "pt"})
    merge(str(adapter), tmp_path / "out")
    model = load_weights(str(tmp_path / "out"), torch.float32)
    rows = load_weights(str(base), torch.float32).config.vocab_size + 3
    assert model.config.vocab_size == model.get_input_embeddings().weight.shape[0] == rows
    assert (model.lm_head.weight[-3:] == 0.5).all()


def test_bfloat16_is_rounded_once(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", dtype=torch.bfloat16)
    adapter = adapter_folder(base, tmp_path / "adapter", lora_config())
    merge(str(adapter), tmp_path / "out")
    exact = peft_merged(base, adapter)
    written = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in written.items():
        assert tensor.dtype == torch.bfloat16
        # One rounding: the error is at most half of the last of 8 bits.
        assert ((tensor.float() - exact[name]).abs() <= exact[name].abs() * 2**-8 + 1e-6).all(), name


def test_shards_and_a_plan_that_says_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_plan, "MAX_SHARD_BYTES", 40_000)
    base = base_folder(tmp_path / "base")
    adapter = adapter_folder(base, tmp_path / "adapter", lora_config())
    plan = plan_merge(find_model(str(adapter)))
    apply_merge(plan, tmp_path / "out")
    sizes = plan.file_sizes()
    assert len(sizes) > 1
    assert sizes == {path.name: path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors")}
    same(tmp_path / "out", peft_merged(base, adapter))
    assert any("+ 2 x B(4) A, in float32" in tensor.describe() for tensor in plan.tensors)


def test_an_adapter_that_changes_nothing_is_an_error(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    adapter = adapter_folder(base, tmp_path / "adapter", lora_config(), std=0.0)
    with pytest.raises(ExportError, match="changed no weight"):
        merge(str(adapter), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_keys_of_another_model_are_an_error(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    adapter = adapter_folder(base, tmp_path / "adapter", lora_config())
    file = adapter / "adapter_model.safetensors"
    save_file({key.replace("layers.1", "layers.7"): value for key, value in load_file(file).items()}, file)
    with pytest.raises(ExportError, match=r"does not have, the first is model\.layers\.7"):
        merge(str(adapter), tmp_path / "out")


def test_weights_that_the_dtype_cannot_hold_are_an_error(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    adapter = adapter_folder(base, tmp_path / "adapter", lora_config(), std=1000.0)
    with pytest.raises(ExportError, match="cannot hold them"):
        merge(str(adapter), tmp_path / "out", dtype="float16")


def test_a_mixture_is_merged_whole_and_says_why(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", "mixtral")
    adapter = adapter_folder(base, tmp_path / "adapter", lora_config(target_modules=["q_proj", "v_proj"]))
    plan = plan_merge(find_model(str(adapter)))
    assert plan.whole_because is not None and "renames" in plan.whole_because
    apply_merge(plan, tmp_path / "out")
    same(tmp_path / "out", peft_merged(base, adapter))


def test_a_quantised_base_is_refused(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    adapter = adapter_folder(base, tmp_path / "adapter", lora_config())
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": "bitsandbytes"}})
    )
    with pytest.raises(ExportError, match="stored quantised"):
        merge(str(adapter), tmp_path / "out")
