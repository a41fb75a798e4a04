"""What llama.cpp calls each architecture, its hyperparameters, and what is done to its tensors on the way.

Key names are those of the GGUF specification; which tensors change, and how, follows from how llama.cpp computes:
its Llama family rotates neighbouring dimensions (so q and k rows are reordered), its Gemma adds no one to the weights
of a norm. This file reads a transformers config and knows nothing of files, tokenizers or quantisation.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ExportError

Operation = Literal["as it is", "rows reordered by head", "plus one", "computed"]


@dataclass(frozen=True)
class Architecture:
    """`name`: llama.cpp's. `reorders_heads`: q and k of this family are stored in interleaved rotary order."""

    name: str
    reorders_heads: bool = False
    norms_plus_one: bool = False


ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("llama", reorders_heads=True),
    "mistral": Architecture("llama", reorders_heads=True),
    "smollm3": Architecture("smollm3", reorders_heads=True),
    "mixtral": Architecture("llama", reorders_heads=True),
    "qwen2": Architecture("qwen2"),
    "qwen2_moe": Architecture("qwen2moe"),
    "qwen3": Architecture("qwen3"),
    "qwen3_moe": Architecture("qwen3moe"),
    "phi3": Architecture("phi3"),
    "gemma2": Architecture("gemma2", norms_plus_one=True),
    "gemma3_text": Architecture("gemma3", norms_plus_one=True),
}
"""By `model_type` of config.json."""

_NO_WINDOW = ("llama", "mistral", "mixtral")
"""llama.cpp's Llama attends to everything: the context ends where a window would begin to matter."""


def find_architecture(config: Any) -> Architecture:
    """Raises ExportError for an architecture that is not covered."""
    found = ARCHITECTURES.get(config.model_type)
    if found is None:
        raise ExportError(
            f"GGUF: the architecture {config.model_type!r} is not covered; covered are {', '.join(ARCHITECTURES)}. "
            "Export it as hf instead"
        )
    return found


def head_dim(config: Any) -> int:
    """Dimensions of one head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def operation_of(architecture: Architecture, source: str) -> Operation:
    """What is done to the tensor that is called `source` in the model folder."""
    parts = source.split(".")
    module = parts[-2]
    if architecture.reorders_heads and module in ("q_proj", "k_proj"):
        return "rows reordered by head"
    if architecture.norms_plus_one and module.endswith("norm"):
        return "plus one"
    return "as it is"


def num_heads_of(config: Any, source: str) -> int:
    """Heads of a q or k projection."""
    return int(config.num_key_value_heads if "k_proj" in source else config.num_attention_heads)


def reorder_heads(rows: NDArray[Any], num_heads: int) -> NDArray[Any]:
    """Rows of q or k, (num_heads * head_dim, ...), from halves that rotate together to neighbours that do.

    transformers rotates dimension i of a head with i + head_dim / 2; llama.cpp's Llama rotates 2 i with 2 i + 1.
    """
    pairs = rows.reshape(num_heads, 2, rows.shape[0] // num_heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))


def hyperparameters(config: Any) -> dict[str, int | float | str]:
    """The `ARCH.*` keys. Raises ExportError where llama.cpp would compute something else than the model does."""
    architecture = find_architecture(config)
    width = head_dim(config)
    values: dict[str, int | float | str] = {
        "context_length": _context_length(config),
        "embedding_length": int(config.hidden_size),
        "block_count": int(config.num_hidden_layers),
        "feed_forward_length": int(config.intermediate_size),
        "attention.head_count": int(config.num_attention_heads),
        "attention.head_count_kv": int(config.num_key_value_heads),
        "attention.key_length": width,
        "attention.value_length": width,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": int(width * _rope(config).get("partial_rotary_factor", 1.0)),
        "vocab_size": int(config.vocab_size),
        **_rope_keys(config),
    }
    if config.model_type.startswith("gemma"):
        values |= _gemma_keys(config)
    if num_experts(config):
        values |= _expert_keys(config)
    if config.model_type == "phi3" and getattr(config, "sliding_window", None):
        values["attention.sliding_window"] = int(config.sliding_window)
    _refuse_what_is_lost(config)
    return {f"{architecture.name}.{key}": value for key, value in values.items()}


def num_experts(config: Any) -> int:
    """Experts of a layer; 0 for a dense model."""
    return int(getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None) or 0)


def _expert_keys(config: Any) -> dict[str, int | float | str]:
    keys: dict[str, int | float | str] = {
        "expert_count": num_experts(config),
        "expert_used_count": int(config.num_experts_per_tok),
    }
    if config.model_type != "mixtral":
        keys["expert_feed_forward_length"] = int(config.moe_intermediate_size)
    if config.model_type == "qwen2_moe":
        keys["expert_shared_feed_forward_length"] = int(config.shared_expert_intermediate_size)
    return keys


def computed_tensors(config: Any) -> dict[str, NDArray[np.float32]]:
    """Divisors of the rotary frequencies that llama.cpp reads as tensors: of Llama 3.1's scaling, and of Phi-3's."""
    rope = _rope(config)
    kind = rope.get("rope_type", "default")
    if kind == "llama3":
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
        width = head_dim(config)
        plain = float(rope["rope_theta"]) ** -(np.arange(0, width, 2, dtype=np.float64) / width)
        return {"rope_freqs.weight": (plain / scaled.double().numpy()).astype(np.float32)}
    if kind == "longrope":
        return {
            f"rope_factors_{which}.weight": np.asarray(rope[f"{which}_factor"], dtype=np.float32)
            for which in ("long", "short")
        }
    return {}


def limits(config: Any) -> list[str]:
    """What a user must know of this file, in sentences."""
    window = _window(config)
    if config.model_type in _NO_WINDOW and window and window < config.max_position_embeddings:
        return [
            f"llama.cpp has no sliding window for this architecture: the file's context is {window} tokens, "
            "up to where both compute the same"
        ]
    return []


def _window(config: Any) -> int | None:
    if getattr(config, "use_sliding_window", True) is False:
        return None
    window = getattr(config, "sliding_window", None)
    return int(window) if window else None


def _context_length(config: Any) -> int:
    length = int(config.max_position_embeddings)
    window = _window(config)
    return min(length, window) if window and config.model_type in _NO_WINDOW else length


def _rope(config: Any) -> dict[str, Any]:
    """The rotary parameters of full attention."""
    rope = dict(getattr(config, "rope_parameters", None) or {})
    return dict(rope.get("full_attention", rope))


def _rope_keys(config: Any) -> dict[str, int | float | str]:
    rope = _rope(config)
    kind = rope.get("rope_type", "default")
    keys: dict[str, int | float | str] = {"rope.freq_base": float(rope["rope_theta"])}
    if kind in ("default", "llama3"):
        return keys
    factor = float(rope.get("factor") or 1.0)
    original = int(rope.get("original_max_position_embeddings") or config.max_position_embeddings)
    if kind == "linear":
        return keys | {"rope.scaling.type": "linear", "rope.scaling.factor": factor}
    if kind == "yarn":
        _refuse_other_yarn(rope)
        return keys | {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": factor,
            "rope.scaling.original_context_length": original,
            "rope.scaling.yarn_beta_fast": float(rope.get("beta_fast") or 32.0),
            "rope.scaling.yarn_beta_slow": float(rope.get("beta_slow") or 1.0),
        }
    if kind == "longrope":
        ratio = config.max_position_embeddings / original
        attention = math.sqrt(1 + math.log(ratio) / math.log(original)) if ratio > 1 else 1.0
        return keys | {
            "rope.scaling.original_context_length": original,
            "rope.scaling.attn_factor": float(rope.get("attention_factor") or attention),
        }
    raise ExportError(f"GGUF: llama.cpp has no rotary scaling of the kind {kind!r}; export it as hf instead")


def _refuse_other_yarn(rope: dict[str, Any]) -> None:
    given = [key for key in ("attention_factor", "mscale", "mscale_all_dim") if rope.get(key) is not None]
    if given or rope.get("truncate") is False:
        raise ExportError(
            f"GGUF: YaRN with {', '.join(given) or 'truncate = false'} is not covered: llama.cpp would compute another "
            "attention factor. Export it as hf instead"
        )


def _gemma_keys(config: Any) -> dict[str, int | float | str]:
    # llama.cpp derives the scale from the number of layers alone: 27B models divide by the width of the hidden state.
    large = config.num_hidden_layers == (46 if config.model_type == "gemma2" else 62)
    expected = config.hidden_size // config.num_attention_heads if large else head_dim(config)
    if config.query_pre_attn_scalar != expected:
        raise ExportError(
            f"GGUF: query_pre_attn_scalar is {config.query_pre_attn_scalar}; for this shape llama.cpp computes with "
            f"{expected} and cannot be told otherwise. Export it as hf instead"
        )
    keys: dict[str, int | float | str] = {"attention.sliding_window": int(config.sliding_window)}
    period = _sliding_period(config)
    if config.model_type == "gemma3_text":
        keys["attention.sliding_window_pattern"] = period
        local = dict(config.rope_parameters["sliding_attention"])
        keys["rope.freq_base_swa"] = float(local["rope_theta"])
    elif period != 2:
        raise ExportError(f"GGUF: gemma2 with full attention in every layer {period}; llama.cpp expects 2")
    for name, key in (
        ("attn_logit_softcapping", "attn_logit_softcapping"),
        ("final_logit_softcapping", "final_logit_softcapping"),
    ):
        if (value := getattr(config, name, None)) is not None:
            keys[key] = float(value)
        elif config.model_type == "gemma2":
            raise ExportError(f"GGUF: gemma2 without {name}; llama.cpp always applies it")
    return keys


def _sliding_period(config: Any) -> int:
    """n, where every n-th layer has full attention and the others slide."""
    kinds = list(config.layer_types)
    period = kinds.index("full_attention") + 1 if "full_attention" in kinds else len(kinds) + 1
    expected = ["sliding_attention" if (i + 1) % period else "full_attention" for i in range(len(kinds))]
    if kinds != expected:
        raise ExportError("GGUF: layers with sliding and full attention do not alternate in a fixed period")
    return period


def _refuse_what_is_lost(config: Any) -> None:
    lost = None
    if config.model_type.startswith("qwen") and _window(config) and _slides(config):
        lost = "a sliding window (use_sliding_window)"
    if config.model_type in ("qwen2_moe", "qwen3_moe"):
        expected_norm = config.model_type == "qwen3_moe"
        if config.decoder_sparse_step != 1 or config.mlp_only_layers:
            lost = "layers without experts (decoder_sparse_step, mlp_only_layers)"
        elif bool(config.norm_topk_prob) is not expected_norm:
            lost = f"norm_topk_prob = {str(config.norm_topk_prob).lower()}"
    if config.model_type == "smollm3":
        # llama.cpp leaves the rotation out in every fourth layer and slides in none.
        expected = [int((i + 1) % 4 != 0) for i in range(config.num_hidden_layers)]
        if list(config.no_rope_layers) != expected or _slides(config):
            lost = "layers without rotation other than every fourth, or a sliding window"
    if getattr(config, "hidden_act", getattr(config, "hidden_activation", "silu")) not in (
        "silu",
        "gelu_pytorch_tanh",
    ):
        lost = f"the activation {config.hidden_act}"
    if lost:
        raise ExportError(
            f"GGUF: llama.cpp's {config.model_type} does not know {lost}; export it as hf instead"
        )


def _slides(config: Any) -> bool:
    return "sliding_attention" in (getattr(config, "layer_types", None) or [])
