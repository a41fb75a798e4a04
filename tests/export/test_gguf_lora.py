"""An adapter as GGUF over its base's GGUF against PEFT: the same logits."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from luthier.errors import ConfigError, ExportError
from luthier.export.gguf.lora import write_gguf_lora
from luthier.export.gguf.write import write_gguf
from tests.export.folders import VOCAB_SIZE, logits_of, model_folder

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 8}, "alpha_pattern": {"v_proj": 3}},
}
IDS = [(7 * i + 13) % VOCAB_SIZE for i in range(40)]


def adapter_folder(folder: Path, base: Path, model: Any, **options: Any) -> Any:
    """A PEFT folder with random A and B; gives the model with the adapter over it."""
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(**({"r": 4, "lora_alpha": 8, "target_modules": TARGETS} | options))
    adapted = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return adapted.eval()


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [*(("llama", kind) for kind in KINDS), ("qwen3", "plain"), ("gemma3_text", "plain")],
)
def test_the_adapter_over_the_base_computes_what_peft_computes(
    tmp_path: Path, architecture: str, kind: str
) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: nothing runs a GGUF file")
    from luthier.models.gguf import GgufModel

    base, model = model_folder(tmp_path / "base", architecture, scale=0.15)
    plain = logits_of(model, IDS)
    adapted = adapter_folder(tmp_path / "adapter", base, model, **KINDS[kind])
    write_gguf(base, tmp_path / "base.gguf", "f32")
    written = write_gguf_lora(tmp_path / "adapter", base, tmp_path / "lora.gguf")
    assert written.num_tensors == 2 * 2 * len(TARGETS)
    want = logits_of(adapted, IDS)
    with GgufModel(tmp_path / "base.gguf", adapter=tmp_path / "lora.gguf", num_threads=1) as file:
        have = file.logits(IDS)
    assert np.abs(want - have).max() <= 2e-3 * np.abs(want).max()
    assert (want.argmax(1) == have.argmax(1)).all()
    assert np.abs(want - plain).max() > 0.1 * np.abs(want).max()


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    reader = gguf.GGUFReader(path)
    return {k: f.contents() for k, f in reader.fields.items()}, {t.name: t.data for t in reader.tensors}


@pytest.mark.parametrize("kind", KINDS)
def test_alpha_over_rank_times_b_a_is_pefts_change(tmp_path: Path, kind: str) -> None:
    base, model = model_folder(tmp_path / "base", "qwen3")
    adapted = adapter_folder(tmp_path / "adapter", base, model, **KINDS[kind])
    write_gguf_lora(tmp_path / "adapter", base, tmp_path / "lora.gguf")
    keys, tensors = read(tmp_path / "lora.gguf")
    for module, name in (
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.v_proj", "attn_v"),
        ("mlp.up_proj", "ffn_up"),
    ):
        a, b = (tensors[f"blk.1.{name}.weight.lora_{which}"] for which in "ab")
        have = keys["adapter.lora.alpha"] / len(a) * b @ a
        layer = adapted.get_submodule(f"base_model.model.model.layers.1.{module}")
        want = layer.get_delta_weight("default").detach().numpy()
        assert np.allclose(have, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"use_dora": True}, "DoRA scales each row"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"bias": "lora_only"}, "biases were trained"),
        ({"target_modules": ["embed_tokens"]}, "adapter of the embeddings|something else"),
    ],
)
def test_what_is_more_than_lora_is_refused_with_the_reason(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    base, model = model_folder(tmp_path / "base", "qwen2")
    adapter_folder(tmp_path / "adapter", base, model, **options)
    with pytest.raises(ExportError, match=reason):
        write_gguf_lora(tmp_path / "adapter", base, tmp_path / "lora.gguf")
    assert not (tmp_path / "lora.gguf").exists()


def test_another_base_another_kind_and_an_empty_adapter_are_refused(tmp_path: Path) -> None:
    base, model = model_folder(tmp_path / "base", "llama")
    adapter_folder(tmp_path / "adapter", base, model)
    wide, _ = model_folder(tmp_path / "wide", "llama", hidden_size=64)
    with pytest.raises(ExportError, match="it is not the base of this adapter"):
        write_gguf_lora(tmp_path / "adapter", wide, tmp_path / "lora.gguf")
    shallow, _ = model_folder(tmp_path / "shallow", "llama", num_hidden_layers=1)
    with pytest.raises(ExportError, match="is it the base of this adapter"):
        write_gguf_lora(tmp_path / "adapter", shallow, tmp_path / "lora.gguf")
    with pytest.raises(ConfigError, match="f32, f16, bf16"):
        write_gguf_lora(tmp_path / "adapter", base, tmp_path / "lora.gguf", "q4_0")
    path = tmp_path / "adapter" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"peft_type": "IA3"}))
    with pytest.raises(ExportError, match=r"it is IA3, and llama\.cpp adds LoRA alone"):
        write_gguf_lora(tmp_path / "adapter", base, tmp_path / "lora.gguf")
    path.write_text(json.dumps(config))
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    empty = {name: values * ("lora_A" in name) for name, values in weights.items()}
    save_file(empty, tmp_path / "adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match="every B is zero"):
        write_gguf_lora(tmp_path / "adapter", base, tmp_path / "lora.gguf")
