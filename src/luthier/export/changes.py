"""What an adapter does to each stored tensor of its base: a word for the plan, and the arithmetic, in float32.

LoRA: W + s B A, s = alpha / r, or alpha / sqrt(r) for rsLoRA (Hu et al. 2021, arXiv:2106.09685; Kalajdzievski 2023,
arXiv:2312.03732). DoRA: m (W + s B A) / |W + s B A| by output (Liu et al. 2024, arXiv:2402.09353). IA3: channels
times l (Liu et al. 2022, arXiv:2205.05638). modules_to_save: the whole tensor. All but a transposed DoRA work on any
rows of a tensor alone. What is not one of these is said so, and left to PEFT. Knows nothing of where the base lies.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from luthier.errors import ExportError
from luthier.models.methods.bottleneck import KIND as BOTTLENECK

_UNMERGEABLE = {
    BOTTLENECK: "bottleneck adapters are small networks of their own behind each sublayer",
    "PROMPT_TUNING": "a trained prompt is virtual tokens before every sequence",
    "P_TUNING": "a trained prompt is virtual tokens before every sequence",
    "PREFIX_TUNING": "a trained prefix is keys and values before every sequence",
    "ADAPTION_PROMPT": "an adaption prompt is keys and values before every sequence",
}
_PARTS = (
    "lora_A.weight",
    "lora_B.weight",
    "lora_magnitude_vector",
    "lora_embedding_A",
    "lora_embedding_B",
    "ia3_l",
)
_NOT_HERE = ("layer_replication", "target_parameters", "trainable_token_indices", "ensure_weight_tying")
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Change:
    """What happens to one tensor.

    `word`: for the plan. `apply`: float32 rows [first, first + n) of the stored tensor -> the merged rows. `by_rows`:
    whether any rows can be merged alone. `trained`: the whole tensor, where the base's counts for nothing.
    """

    word: str
    apply: Callable[[Tensor, int], Tensor]
    by_rows: bool = True
    trained: Tensor | None = None


class NotStreamed(Exception):
    """This adapter has parts that only PEFT itself merges; the text says which."""


def adapter_config(folder: Path) -> dict[str, Any]:
    """The adapter's own record."""
    config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    return config


def refuse_unmergeable(folder: Path) -> None:
    """Raises ExportError for an adapter that no plain weights can stand for."""
    kind = adapter_config(folder).get("peft_type")
    if kind in _UNMERGEABLE:
        raise ExportError(
            f"{folder}: {_UNMERGEABLE[kind]}, so it cannot be merged into plain weights. Chat, evaluation and the form "
            "peft take the adapter as it is; for a folder that every runtime loads, train with lora, dora, pissa, ia3 "
            "or full"
        )


def changes_of(folder: Path, names: Collection[str]) -> dict[str, Change]:
    """The change of each tensor that the adapter changes, by the base's own `names` of parameters.

    Raises NotStreamed where PEFT has to do it, ExportError where no plain weights can stand for the adapter or its keys
    do not fit the base.
    """
    refuse_unmergeable(folder)
    config = adapter_config(folder)
    for key in _NOT_HERE:
        if config.get(key):
            raise NotStreamed(f"the adapter uses {key}")
    if config.get("peft_type") not in ("LORA", "IA3"):
        raise NotStreamed(f"the adapter is {config.get('peft_type')}")
    parts, found = _parts(folder), {}
    for module, tensors in parts.items():
        for name, change in _module_changes(module, tensors, config, names).items():
            found[name] = change
    strays = sorted(name for name in found if name not in names)
    if strays:
        raise ExportError(
            f"{folder}: the adapter changes {len(strays)} tensors that its base does not have, the first is "
            f"{strays[0]}: it was made for another model"
        )
    return found


def _parts(folder: Path) -> dict[str, dict[str, Tensor]]:
    """The adapter's tensors by module and part. A part that is no adapter's is the name of a whole parameter."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in load_file(folder / "adapter_model.safetensors").items():
        if not key.startswith(_PREFIX):
            raise ExportError(
                f"{folder}: expected keys that begin with {_PREFIX}, got {key}: saved by other means than PEFT's"
            )
        path = key.removeprefix(_PREFIX).replace(".modules_to_save.", ".").replace(".base_layer.", ".")
        path = path.removesuffix(".weight") if path.endswith("lora_magnitude_vector.weight") else path
        part = next((part for part in _PARTS if path.endswith(f".{part}")), None)
        if part is None and (".lora_" in path or ".ia3_" in path or ".token_adapter." in path):
            raise NotStreamed(f"the adapter has a part that is not known here: {path}")
        module = path.removesuffix(f".{part}") if part else path.rpartition(".")[0]
        parts[module][part or path.rpartition(".")[2]] = tensor.float()
    return parts


def _module_changes(
    module: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any], names: Collection[str]
) -> dict[str, Change]:
    kinds = {part.split("_")[0] if part in _PARTS else "whole" for part in tensors}
    if len(kinds) > 1:
        raise NotStreamed(f"{module} is adapted in several ways at once")
    weight, transposed = f"{module}.weight", bool(config.get("fan_in_fan_out"))
    if kinds == {"whole"}:
        return {f"{module}.{name}": _replaced(tensor) for name, tensor in tensors.items()}
    if "ia3_l" in tensors:
        changes = {weight: _scaled_channels(tensors["ia3_l"], transposed)}
        if f"{module}.bias" in names and tensors["ia3_l"].shape[0] > 1:  # of outputs, so the bias is one too
            changes[f"{module}.bias"] = Change("times l", _times(tensors["ia3_l"].flatten()))
        return changes
    scale = scale_of(module, config)
    if "lora_embedding_A" in tensors:
        return {weight: _embedding(tensors["lora_embedding_A"], tensors["lora_embedding_B"], scale)}
    a, b = tensors["lora_A.weight"], tensors["lora_B.weight"]
    if a.dim() != 2:
        raise NotStreamed(f"{module} is a convolution")
    if "lora_magnitude_vector" in tensors:
        return {weight: _dora(a, b, scale, tensors["lora_magnitude_vector"].flatten(), transposed)}
    if config.get("use_dora"):
        raise ExportError(f"{module}: the adapter says DoRA and has no magnitudes for this module")
    return {weight: _lora(a, b, scale, transposed)}


def scale_of(module: str, config: Mapping[str, Any]) -> float:
    """What B A is multiplied with: alpha / r, or alpha / sqrt(r); a module may have an alpha and an r of its own."""
    from peft.utils.other import get_pattern_key

    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    rank = ranks.get(get_pattern_key(list(ranks), module), config["r"])
    alpha = alphas.get(get_pattern_key(list(alphas), module), config["lora_alpha"])
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _lora(a: Tensor, b: Tensor, scale: float, transposed: bool) -> Change:
    left, right = (a.T, b.T) if transposed else (b, a)
    sign = f"+ {scale:g} x B({b.shape[1]}) A"
    return Change(
        sign, lambda rows, first: torch.addmm(rows, left[first : first + len(rows)], right, alpha=scale)
    )


def _dora(a: Tensor, b: Tensor, scale: float, magnitude: Tensor, transposed: bool) -> Change:
    inner = _lora(a, b, scale, transposed)

    def apply(rows: Tensor, first: int) -> Tensor:
        moved = inner.apply(rows, first)
        if transposed:  # outputs are columns
            columns: Tensor = magnitude / torch.linalg.norm(moved, dim=0)
            return moved * columns
        of_rows: Tensor = magnitude[first : first + len(rows)] / torch.linalg.norm(moved, dim=1)
        return moved * of_rows.unsqueeze(1)

    return Change(f"{inner.word}, to the magnitudes m", apply, by_rows=not transposed)


def _embedding(a: Tensor, b: Tensor, scale: float) -> Change:
    return Change(
        f"+ {scale:g} x (B({b.shape[1]}) A)^T",
        lambda rows, first: torch.addmm(rows, a.T[first : first + len(rows)], b.T, alpha=scale),
    )


def _scaled_channels(factors: Tensor, transposed: bool) -> Change:
    """`factors` is (1, inputs) or (outputs, 1)."""
    matrix = factors.T if transposed else factors
    if matrix.shape[0] == 1:
        return Change("times l by column", lambda rows, _first: rows * matrix)
    return Change("times l by row", _times(matrix))


def _times(factors: Tensor) -> Callable[[Tensor, int], Tensor]:
    return lambda rows, first: rows * factors[first : first + len(rows)]


def _replaced(tensor: Tensor) -> Change:
    """A whole trained tensor; it may have more rows than the base's."""
    return Change(
        "replaced by the trained one", lambda rows, first: tensor[first : first + len(rows)], trained=tensor
    )
