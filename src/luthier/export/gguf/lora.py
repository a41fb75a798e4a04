"""A LoRA adapter alone as a GGUF file, so that one base serves many specialists.

llama.cpp adds (alpha / rank) B A to a weight, with one alpha for the whole file and the rank of each B. PEFT's scale
may differ from module to module (rsLoRA, rank and alpha patterns): then alpha is 1 and B carries the scale.
Knows nothing of merging.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ConfigError, ExportError
from luthier.export.gguf.architecture import num_heads_of, reorder_heads
from luthier.export.gguf.file import TensorPlan, num_bytes_of, write_file
from luthier.export.gguf.weights import Weights, tensor_names
from luthier.export.gguf.write import GgufWritten
from luthier.models.rope import read_scaling

ADAPTER_TYPES = ("f32", "f16", "bf16")
_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_NOT_A_SUM = {
    "use_dora": "DoRA scales each row by a magnitude, which no sum of B A can stand for",
    "modules_to_save": "whole modules were trained with it (modules_to_save)",
    "trainable_token_indices": "rows of the embeddings were trained with it (trainable_token_indices)",
    "target_parameters": "parameters of experts were adapted (target_parameters)",
    "layer_replication": "it repeats layers (layer_replication)",
    "alora_invocation_tokens": "it works from certain tokens on (aLoRA)",
    "use_qalora": "it is a QALoRA, which pools the inputs of A",
    "use_bdlora": "it is a block-diagonal LoRA",
    "arrow_config": "it routes between adapters (Arrow)",
    "kasa_config": "it is a KaSA",
    "lora_bias": "its B has a bias (lora_bias)",
    "fan_in_fan_out": "its weights are transposed (fan_in_fan_out)",
}


@dataclass(frozen=True)
class _Pair:
    """A and B of one module; `scale`: what PEFT multiplies B A by."""

    module: str
    A_RI: NDArray[np.float32]
    B_OR: NDArray[np.float32]
    scale: float

    @property
    def alpha(self) -> float:
        """llama.cpp's alpha that gives this scale."""
        return self.scale * len(self.A_RI)


def write_gguf_lora(adapter: Path, base: str | Path, out: Path, quantization: str = "f32") -> GgufWritten:
    """Write the PEFT folder `adapter` as the GGUF file `out`, to be laid over the GGUF of the model folder `base`.

    `quantization`: f32, f16 or bf16. Raises ConfigError for another one; ExportError, with the reason, for an adapter
    that is more than LoRA, does not fit the base, or changes nothing.
    """
    if quantization not in ADAPTER_TYPES:
        raise ConfigError(f"GGUF adapter: expected {', '.join(ADAPTER_TYPES)}; got {quantization!r}")
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    _refuse_more_than_lora(adapter, config)
    weights = Weights(Path(base))
    pairs = list(_pairs(adapter, config))
    if not any(pair.B_OR.any() for pair in pairs):
        raise ExportError(f"{adapter}: every B is zero: this adapter changes nothing")
    alphas = {pair.alpha for pair in pairs}
    alpha = alphas.pop() if len(alphas) == 1 else 1.0
    values: dict[str, NDArray[np.float32]] = {}
    for pair in pairs:
        name = _name(weights, pair)
        values[f"{name}.weight.lora_a"] = pair.A_RI
        values[f"{name}.weight.lora_b"] = _B(weights, pair) * np.float32(pair.alpha / alpha)
    keys = {
        "general.type": "adapter",
        "general.name": adapter.resolve().name,
        "adapter.type": "lora",
        "adapter.lora.alpha": alpha,
    }
    plans = [
        TensorPlan(name, (), "adapter", v.shape, quantization, num_bytes_of(v.shape, quantization))
        for name, v in values.items()
    ]
    write_file(out, weights.architecture.name, keys, plans, lambda plan: [values[plan.name]])
    return GgufWritten(out, out.stat().st_size, len(plans), "")


def _refuse_more_than_lora(adapter: Path, config: dict[str, Any]) -> None:
    reason = None
    if config.get("peft_type") != "LORA":
        reason = f"it is {config.get('peft_type')}, and llama.cpp adds LoRA alone"
    elif (config.get("bias") or "none") != "none":
        reason = f"biases were trained with it (bias = {config['bias']})"
    elif read_scaling(adapter) is not None:
        reason = "it was trained with scaled positions, which the base's file does not have"
    else:
        reason = next((why for key, why in _NOT_A_SUM.items() if config.get(key)), None)
    if reason:
        raise ExportError(
            f"{adapter}: it cannot be an adapter in GGUF: {reason}. Export it merged (gguf) instead"
        )


def _pairs(adapter: Path, config: dict[str, Any]) -> Iterator[_Pair]:
    from safetensors.torch import load_file

    tensors = {
        name: t.float().numpy() for name, t in load_file(adapter / "adapter_model.safetensors").items()
    }
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    strange = []
    for name, values in tensors.items():
        if (match := _KEY.fullmatch(name)) is None:
            strange.append(name)
        else:
            found.setdefault(match[1], {})[match[2]] = values
    strange += [module for module, pair in found.items() if set(pair) != {"A", "B"}]
    if strange or not found:
        raise ExportError(
            f"{adapter}: expected pairs of lora_A and lora_B; {len(strange)} tensors are something else, the first is "
            f"{strange[0] if strange else 'none at all'}"
        )
    for module, pair in found.items():
        yield _Pair(module, pair["A"], pair["B"], _scale(config, module, pair["A"].shape[0]))


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """PEFT's: alpha over the rank, or over its root (rsLoRA; Kalajdzievski 2023, arXiv:2312.03732)."""
    patterns = config.get("alpha_pattern") or {}
    # As PEFT does: a key is the end of a module's name, or a pattern of it; the first that fits counts.
    own = next((v for key, v in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), None)
    alpha = float(config["lora_alpha"] if own is None else own)
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _name(weights: Weights, pair: _Pair) -> str:
    """llama.cpp's name of the module, checked against the base."""
    if pair.module.endswith("embed_tokens"):
        raise ExportError(
            "GGUF: an adapter of the embeddings is not covered. Export it merged (gguf) instead"
        )
    shape = weights.shape_of(f"{pair.module}.weight")
    found = tensor_names(weights.config).get_name(pair.module)
    if shape is None or found is None:
        raise ExportError(f"GGUF: the base has no {pair.module}.weight: is it the base of this adapter?")
    if shape != (pair.B_OR.shape[0], pair.A_RI.shape[1]):
        raise ExportError(
            f"GGUF: {pair.module}: the adapter is for a weight of {pair.B_OR.shape[0]} x {pair.A_RI.shape[1]}, the "
            f"base has {' x '.join(map(str, shape))}: it is not the base of this adapter"
        )
    return str(found)


def _B(weights: Weights, pair: _Pair) -> NDArray[np.float32]:
    if weights.architecture.reorders_heads and pair.module.endswith(("q_proj", "k_proj")):
        return reorder_heads(pair.B_OR, num_heads_of(weights.config, pair.module))
    return pair.B_OR
