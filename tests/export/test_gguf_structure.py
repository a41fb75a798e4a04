"""What stands in a GGUF file, read with the gguf package alone; and what is refused."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from luthier.chat.render import Renderer
from luthier.errors import ConfigError, ExportError
from luthier.export.gguf.write import plan_gguf, write_gguf
from tests.export.folders import VOCAB_SIZE, model_folder
from tests.toy import byte_tokenizer


@pytest.fixture(autouse=True)
def without_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.export.gguf.write.keys_tokeniser", lambda: None)


def values(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def test_the_plan_is_what_is_written(tmp_path: Path) -> None:
    folder, _ = model_folder(tmp_path / "hf", hidden_size=64)
    plans = plan_gguf(folder, "q4_0")
    write_gguf(folder, tmp_path / "m.gguf", "q4_0")
    written = {
        t.name: (t.tensor_type.name.lower(), t.n_bytes) for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors
    }
    assert written == {plan.name: (plan.type, plan.num_bytes) for plan in plans}
    by_name = {plan.name: plan for plan in plans}
    assert by_name["blk.1.attn_q.weight"].operation == "rows reordered by head"
    assert by_name["blk.1.attn_v.weight"].operation == "as it is"
    assert by_name["token_embd.weight"].type == "q8_0"
    assert by_name["blk.0.attn_norm.weight"].type == "f32"
    assert by_name["blk.0.ffn_up.weight"].num_bytes == 64 * 64 // 32 * 18


@pytest.mark.parametrize(
    ("quantization", "steps"),
    [("q8_0", 1 / 254), ("q5_0", 1 / 16), ("q4_0", 1 / 8), ("bf16", 2**-8), ("f16", 2**-11)],
)
def test_values_are_rounded_by_one_step_at_most(tmp_path: Path, quantization: str, steps: float) -> None:
    """A block of 32 has steps of its greatest value over 127, 16 or 8; the scale is
    a float16."""
    folder, model = model_folder(tmp_path / "hf", hidden_size=64)
    write_gguf(folder, tmp_path / "m.gguf", quantization)
    stored = {t.name: t for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}["blk.0.ffn_up.weight"]
    have = gguf.dequantize(stored.data, stored.tensor_type).reshape(-1, 32)
    want = model.model.layers[0].mlp.up_proj.weight.detach().numpy().reshape(-1, 32)
    assert (np.abs(have - want) <= (steps + 2**-11) * np.abs(want).max(1, keepdims=True)).all()
    assert not (have == want).all()


def test_a_large_tensor_is_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = model_folder(tmp_path / "hf", "mixtral")
    write_gguf(folder, tmp_path / "one.gguf", "q8_0")
    monkeypatch.setattr("luthier.export.gguf.weights._PIECE_VALUES", 100)
    write_gguf(folder, tmp_path / "pieces.gguf", "q8_0")
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "pieces.gguf").read_bytes()


def test_rows_that_do_not_fill_blocks_fall_back(tmp_path: Path) -> None:
    folder, _ = model_folder(tmp_path / "hf", intermediate_size=48)
    kinds = {plan.name: plan.type for plan in plan_gguf(folder, "q8_0")}
    assert (kinds["blk.0.ffn_down.weight"], kinds["blk.0.ffn_up.weight"]) == ("f16", "q8_0")


@pytest.mark.parametrize(("family", "add_bos"), [("chatml", False), ("llama3", True), ("strict", True)])
def test_special_tokens_and_template(tmp_path: Path, family: str, add_bos: bool) -> None:
    tokenizer = byte_tokenizer(family)
    folder, _ = model_folder(tmp_path / "hf", tokenizer=tokenizer)
    write_gguf(folder, tmp_path / "m.gguf", "f16")
    found = values(tmp_path / "m.gguf")
    assert found["tokenizer.chat_template"] == tokenizer.chat_template
    assert found["tokenizer.ggml.eot_token_id"] == Renderer(tokenizer).end_of_turn_id
    assert found["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert found["tokenizer.ggml.padding_token_id"] == tokenizer.pad_token_id
    assert found.get("tokenizer.ggml.bos_token_id") == tokenizer.bos_token_id
    assert found["tokenizer.ggml.add_bos_token"] is add_bos
    assert found["tokenizer.ggml.pre"] == "gpt-2"


def test_rows_without_a_token_are_padded(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    folder, _ = model_folder(tmp_path / "hf", tokenizer=tokenizer)
    write_gguf(folder, tmp_path / "m.gguf", "f16")
    found = values(tmp_path / "m.gguf")
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert len(tokens) == len(kinds) == VOCAB_SIZE > len(tokenizer)
    assert tokens[-1] == f"[PAD{VOCAB_SIZE - 1}]" and kinds[-1] == 5
    assert kinds[tokenizer.convert_tokens_to_ids("<|im_end|>")] == 3
    assert tokens[: len(tokenizer)] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))


def test_hyperparameters(tmp_path: Path) -> None:
    folder, model = model_folder(tmp_path / "hf", "gemma3_text")
    write_gguf(folder, tmp_path / "m.gguf", "f16")
    found = values(tmp_path / "m.gguf")
    assert found["general.architecture"] == "gemma3"
    assert found["gemma3.attention.head_count_kv"] == 2
    assert found["gemma3.attention.key_length"] == 8
    assert found["gemma3.attention.sliding_window"] == 8
    assert found["gemma3.attention.sliding_window_pattern"] == 2
    assert found["gemma3.context_length"] == model.config.max_position_embeddings
    assert found["gemma3.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)


def test_a_split_without_a_known_name_is_said_where_llama_cpp_is_absent(tmp_path: Path) -> None:
    folder, _ = model_folder(tmp_path / "hf", tokenizer=_three_digits())
    written = write_gguf(folder, tmp_path / "m.gguf", "f16")
    assert written.pre_tokenizer == "default" and "no name in llama.cpp" in written.notes[0]


def _three_digits() -> Any:
    from tokenizers import Regex, pre_tokenizers

    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}{1,7}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


@pytest.mark.parametrize("architecture", ["gpt2", "granite", "olmo2"])
def test_an_architecture_that_is_not_covered_is_named(tmp_path: Path, architecture: str) -> None:
    folder, _ = model_folder(tmp_path / "hf", architecture)
    with pytest.raises(ExportError, match=f"'{architecture}' is not covered; covered are llama"):
        plan_gguf(folder, "f16")


def test_what_llama_cpp_cannot_be_told_is_refused(tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    folder, _ = model_folder(tmp_path / "rope", rope_parameters=rope)
    with pytest.raises(ExportError, match="no rotary scaling of the kind 'dynamic'"):
        write_gguf(folder, tmp_path / "m.gguf", "f16")
    folder, _ = model_folder(tmp_path / "scale", "gemma3_text", query_pre_attn_scalar=16)
    with pytest.raises(ExportError, match="query_pre_attn_scalar"):
        write_gguf(folder, tmp_path / "m.gguf", "f16")
    folder, _ = model_folder(tmp_path / "experts", "qwen3_moe", norm_topk_prob=False)
    with pytest.raises(ExportError, match="norm_topk_prob = false"):
        write_gguf(folder, tmp_path / "m.gguf", "f16")


def test_unknown_types_and_unmerged_weights_are_refused(tmp_path: Path) -> None:
    folder, _ = model_folder(tmp_path / "hf")
    with pytest.raises(ConfigError, match="f32, f16, bf16, q8_0, q5_0, q4_0"):
        plan_gguf(folder, "q3")
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.q_proj.lora_A.weight"] = weights["model.norm.weight"]
    save_file(
        {k: v.clone() for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(ExportError, match="1 tensors have no name"):
        plan_gguf(folder, "f16")


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    folder, _ = model_folder(tmp_path / "hf")
    path = folder / "tokenizer.json"
    config = json.loads(path.read_text())
    config["added_tokens"][-1]["id"] = VOCAB_SIZE + 3
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"word{i}" for i in range(VOCAB_SIZE)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ExportError, match="do not belong together"):
        write_gguf(folder, tmp_path / "m.gguf", "f16")
