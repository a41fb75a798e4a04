"""GGUF files against transformers, through llama.cpp: the same logits and the same choice at every position."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from luthier.errors import ExportError
from luthier.export.gguf.write import write_gguf
from tests.export.folders import VOCAB_SIZE, logits_of, model_folder

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: nothing runs a GGUF file")

from luthier.models.gguf import GgufModel

PROBES = [[(7 * i + 13 * j) % VOCAB_SIZE for i in range(40)] for j in range(3)]
LONG_FACTORS = [1.0, 2.0, 3.0, 4.0]
ROPES: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("llama", {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    "yarn": (
        "qwen3",
        {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 256,
        },
    ),
    "llama3": (
        "llama",
        {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "longrope": (
        "phi3",
        {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 1.0,
            "short_factor": [1.0, 1.5, 2.0, 2.5],
            "long_factor": LONG_FACTORS,
            "original_max_position_embeddings": 512,
        },
    ),
}


def compare(path: Path, model: Any, probes: list[list[int]] = PROBES) -> tuple[float, float]:
    """The greatest difference over the greatest logit, and the share of positions with the same best token."""
    with GgufModel(path, num_threads=1) as file:
        pairs = [(logits_of(model, ids), file.logits(ids)) for ids in probes]
    worst = max(float(np.abs(want - have).max() / np.abs(want).max()) for want, have in pairs)
    return worst, float(np.mean([(want.argmax(1) == have.argmax(1)).mean() for want, have in pairs]))


ARCHITECTURES = (
    "llama",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi3",
    "smollm3",
    "mixtral",
    "qwen2_moe",
)
CONFIGS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ARCHITECTURES},
    "qwen3_moe": {"norm_topk_prob": True},
}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_float32_computes_what_transformers_computes(tmp_path: Path, architecture: str) -> None:
    folder, model = model_folder(tmp_path / "hf", architecture, **CONFIGS[architecture])
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    worst, agreement = compare(tmp_path / "m.gguf", model)
    assert worst <= 1e-3 and agreement == 1.0


def test_mistral_computes_the_same_up_to_its_window_and_the_context_ends_there(tmp_path: Path) -> None:
    folder, model = model_folder(tmp_path / "hf", "mistral")
    written = write_gguf(folder, tmp_path / "m.gguf", "f32")
    assert "8 tokens" in written.notes[0]
    worst, agreement = compare(tmp_path / "m.gguf", model, [ids[:8] for ids in PROBES])
    assert worst <= 1e-3 and agreement == 1.0
    with GgufModel(tmp_path / "m.gguf") as file:
        assert file.context_length == 8


@pytest.mark.parametrize("kind", ROPES)
def test_scaled_positions_are_scaled_in_the_file_too(tmp_path: Path, kind: str) -> None:
    architecture, rope = ROPES[kind]
    folder, model = model_folder(tmp_path / "hf", architecture, rope_parameters=rope)
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    worst, agreement = compare(tmp_path / "m.gguf", model)
    assert worst <= 1e-3 and agreement == 1.0


def test_without_the_reordering_of_heads_the_comparison_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = model_folder(tmp_path / "hf")
    monkeypatch.setattr("luthier.export.gguf.weights.reorder_heads", lambda rows, num_heads: rows)
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    assert compare(tmp_path / "m.gguf", model)[0] > 0.01


@pytest.mark.parametrize(
    ("quantization", "bound"),
    [("f16", 2e-3), ("bf16", 1e-2), ("q8_0", 3e-2), ("q5_0", 0.15), ("q4_0", 0.25)],
)
def test_smaller_types_stay_near(tmp_path: Path, quantization: str, bound: float) -> None:
    folder, model = model_folder(tmp_path / "hf", scale=0.05)
    write_gguf(folder, tmp_path / "m.gguf", quantization)
    worst, _ = compare(tmp_path / "m.gguf", model)
    assert 0 < worst <= bound


def test_untied_tied_and_sharded_weights(tmp_path: Path) -> None:
    folder, model = model_folder(tmp_path / "tied", tie_word_embeddings=True)
    write_gguf(folder, tmp_path / "tied.gguf", "f32")
    assert compare(tmp_path / "tied.gguf", model)[0] <= 1e-3
    folder, model = model_folder(tmp_path / "hf")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / "sharded" / name).write_bytes((folder / name).read_bytes())
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    write_gguf(folder, tmp_path / "one.gguf", "f32")
    write_gguf(tmp_path / "sharded", tmp_path / "many.gguf", "f32")
    assert compare(tmp_path / "many.gguf", model)[0] <= 1e-3


def test_values_that_are_not_finite_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    folder, _ = model_folder(tmp_path / "hf")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"model\.norm\.weight holds values that are not finite"):
        write_gguf(folder, tmp_path / "m.gguf", "f32")
    weights["model.norm.weight"][3] = 1.0
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e6
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match="too large for f16"):
        write_gguf(folder, tmp_path / "m.gguf", "f16")
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]
