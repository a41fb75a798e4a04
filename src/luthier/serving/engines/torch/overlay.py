"""What an adapter folder means to a base that is shared: every change of a token's way, read from the files.

    lora, rslora, qlora, pissa     factors                                    y = W x + b + B A x
    dora                           factors and a factor for each output       y = g * (W x) + b + g B A x
    ia3                            a factor for each input or output          y = l * (W x + b), y = W (l x) + b
    adapter (bottleneck)           a small network behind a sublayer
    prompt, prefix                 tokens before the sequence, as embeddings or as keys and values

All of them act on a token by itself, so rows of any of them go through the base together. The formulas are PEFT's and
those of models.methods. A folder that asks for anything else is refused, never laid over the base in part.
This file knows nothing of rows and steps.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from luthier.errors import ServingError
from luthier.models.methods.bottleneck import KIND, Bottleneck
from luthier.models.rope import read_scaling
from luthier.serving.engines.torch.low_rank import Factors


@dataclass(frozen=True)
class Scale:
    """Of one linear layer: input_I (in) before it; output_O (out) on what it gives, and then shift_O added."""

    input_I: Tensor | None = None
    output_O: Tensor | None = None
    shift_O: Tensor | None = None


@dataclass(frozen=True)
class Overlay:
    """An adapter, by the names of the base's modules.

    embeddings_VC (virtual tokens, channels): of prompt tuning. past: of prefix tuning, keys and values for each layer,
    each (virtual tokens, key heads, width).
    """

    factors: Mapping[str, Factors] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    bottlenecks: Mapping[str, Bottleneck] = field(default_factory=dict)
    embeddings_VC: Tensor | None = None
    past: tuple[tuple[Tensor, Tensor], ...] = ()

    @property
    def num_virtual(self) -> int:
        if self.embeddings_VC is not None:
            return len(self.embeddings_VC)
        return len(self.past[0][0]) if self.past else 0


def read_overlay(model: Any, folder: Path, dtype: torch.dtype, device: torch.device) -> Overlay:
    """The adapter in `folder` for the plain causal `model`; its numbers in `dtype`.

    Raises ServingError where it is whole weights, of a kind that cannot share a base, or does not fit.
    """
    config, tensors = _read(folder, dtype, device)
    if (scaling := read_scaling(folder)) is not None:
        raise ServingError(
            f"{folder}: was trained with {scaling.type} positions (rope_scaling), and the base that is served has its "
            "own; merge it (luthier export) and serve it as a base"
        )
    kind = str(config.get("peft_type"))
    read = _READ.get(kind)
    if read is None:
        raise _refusal(folder, f"an adapter of the kind {kind}")
    return read(_Files(model, folder, config, tensors))


@dataclass(frozen=True)
class _Files:
    model: Any
    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    def linear(self, site: str) -> tuple[nn.Module, bool]:
        """The linear layer of that name, and whether it keeps its weight transposed, as GPT-2 does."""
        from transformers.pytorch_utils import Conv1D

        try:
            module = self.model.get_submodule(site)
        except AttributeError as error:
            raise ServingError(
                f"{self.folder}: the adapter does not fit this base, which has no {site}: it belongs to another model"
            ) from error
        if type(module) not in (nn.Linear, Conv1D):
            raise _refusal(self.folder, f"an adapter on {site}, which is a {type(module).__name__}")
        if module is self.model.get_output_embeddings():
            raise _refusal(self.folder, f"an adapter on the output layer ({site})")
        return module, type(module) is Conv1D

    def sizes(self, site: str) -> tuple[int, int]:
        """(in, out)."""
        module, transposed = self.linear(site)
        weight: Any = module.weight
        first, second = weight.shape
        return (first, second) if transposed else (second, first)

    def expect(self, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != shape:
            raise ServingError(
                f"{self.folder}: the adapter does not fit this base: {name} has shape {tuple(tensor.shape)}, expected "
                f"{shape}"
            )


def _read(folder: Path, dtype: torch.dtype, device: torch.device) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors.torch import load_file

    config_file, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    if not config_file.exists() and (folder / "config.json").exists():
        raise ServingError(
            f"{folder}: holds whole weights, which cannot share a base with others: each takes the memory of a model. "
            "Serve it as a base of its own (--base), or train an adapter"
        )
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        tensors = load_file(weights, device=str(device))
    except (OSError, ValueError, SafetensorError) as error:
        raise ServingError(
            f"{folder}: expected an adapter (adapter_config.json and adapter_model.safetensors): {error}"
        ) from error
    if not isinstance(config, dict):
        raise ServingError(f"{config_file}: expected an object, got {type(config).__name__}")
    if spoilt := next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), None):
        raise ServingError(
            f"{weights}: {spoilt} holds numbers that are not finite; train or fetch the adapter again"
        )
    return config, {name: tensor.to(dtype) for name, tensor in tensors.items()}


def _refusal(folder: Path, what: str) -> ServingError:
    return ServingError(
        f"{folder}: {what} cannot share a base with others here; merge it (luthier export) and serve it as a base of "
        "its own (--base)"
    )


_PREFIX = "base_model.model."


def _by_site(files: _Files, endings: tuple[str, ...]) -> dict[str, dict[str, Tensor]]:
    """site -> ending -> tensor. A tensor that ends otherwise would be lost without a word, so it is refused."""
    sites: dict[str, dict[str, Tensor]] = {}
    for name, tensor in files.tensors.items():
        ending = next((ending for ending in endings if name.endswith(f".{ending}")), None)
        if ending is None or not name.startswith(_PREFIX):
            raise _refusal(files.folder, f"an adapter with {name}")
        sites.setdefault(name[len(_PREFIX) : -len(ending) - 1], {})[ending] = tensor
    if not sites:
        raise ServingError(f"{files.folder}: adapter_model.safetensors is empty")
    return sites


# LoRA and its kin

_A, _B, _MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
_CHANGE_THE_PRODUCT = ("alora_invocation_tokens", "arrow_config", "use_qalora", "layer_replication")


def _low_rank(files: _Files) -> Overlay:
    for key in _CHANGE_THE_PRODUCT:
        if files.config.get(key):
            raise _refusal(files.folder, f"an adapter with {key}")
    factors, scales = {}, {}
    for site, parts in _by_site(files, (_A, _B, _MAGNITUDE)).items():
        if _A not in parts or _B not in parts:
            raise ServingError(f"{files.folder}: half of the adapter of {site} is missing")
        a_RI, b_OR = parts[_A], parts[_B]
        size_in, size_out = files.sizes(site)
        files.expect(f"{site}.{_A}", a_RI, (len(a_RI), size_in))
        files.expect(f"{site}.{_B}", b_OR, (size_out, len(a_RI)))
        b_OR = b_OR * _scaling(files.config, site, len(a_RI))
        if _MAGNITUDE in parts:
            gain_O = _gain(files, site, a_RI, b_OR, parts[_MAGNITUDE])
            scales[site] = _only_the_product(files, site, gain_O)
            b_OR = gain_O[:, None] * b_OR
        factors[site] = Factors(a_RI, b_OR.T.contiguous())
    return Overlay(factors=factors, scales=scales)


def _scaling(config: Mapping[str, Any], site: str, rank: int) -> float:
    from peft.utils.other import get_pattern_key

    pattern: dict[str, Any] = config.get("alpha_pattern") or {}
    alpha = float(pattern.get(get_pattern_key(pattern.keys(), site), config.get("lora_alpha", 8)))
    return alpha / rank**0.5 if config.get("use_rslora") else alpha / rank


def _gain(files: _Files, site: str, a_RI: Tensor, b_OR: Tensor, magnitude_O: Tensor) -> Tensor:
    """(out): the trained length of each row of W + B A, by the length that it has (Liu et al. 2024)."""
    module, transposed = files.linear(site)
    weight: Any = module.weight
    whole = (weight.T if transposed else weight).to(a_RI.dtype) + b_OR @ a_RI
    files.expect(f"{site}.{_MAGNITUDE}", magnitude_O, (len(whole),))
    lengths_O: Tensor = torch.linalg.vector_norm(whole, dim=1)
    return magnitude_O / lengths_O


def _only_the_product(files: _Files, site: str, gain_O: Tensor) -> Scale:
    """`gain_O` on W x, where a bias follows that it does not touch."""
    bias: Any = files.linear(site)[0].bias
    return Scale(output_O=gain_O, shift_O=None if bias is None else (bias - bias * gain_O).to(gain_O.dtype))


# IA3


def _ia3(files: _Files) -> Overlay:
    scales = {}
    for site, parts in _by_site(files, ("ia3_l",)).items():
        factor = parts["ia3_l"]
        size_in, size_out = files.sizes(site)
        if factor.shape[0] == 1 and factor.ndim == 2 and factor.shape[1] == size_in:
            scales[site] = Scale(input_I=factor[0])
        else:
            files.expect(f"{site}.ia3_l", factor, (size_out, 1))
            scales[site] = Scale(output_O=factor[:, 0])
    return Overlay(scales=scales)


# Bottleneck adapters


def _bottleneck(files: _Files) -> Overlay:
    sites: dict[str, dict[str, Tensor]] = {}
    for name, tensor in files.tensors.items():
        site, _, part = name.partition(".bottleneck.")
        sites.setdefault(site, {})[part] = tensor
    networks = {}
    for site, state in sites.items():
        try:
            files.model.get_submodule(site)
            down = state["down.weight"]
            with torch.random.fork_rng(
                devices=[]
            ):  # its first weights are drawn, and an answer must not feel it
                network = Bottleneck(down.shape[1], down.shape[0], str(files.config.get("activation")))
            network.to(down.device, down.dtype).load_state_dict(state)
        except (AttributeError, KeyError, RuntimeError) as error:
            raise ServingError(
                f"{files.folder}: the adapter does not fit this base at {site}: {error}"
            ) from error
        networks[site] = network.requires_grad_(False)
    return Overlay(bottlenecks=networks)


# Virtual tokens


def _prompt(files: _Files) -> Overlay:
    embeddings_VC = _prompt_embeddings(files)
    channels = files.model.get_input_embeddings().weight.shape[1]
    files.expect("prompt_embeddings", embeddings_VC, (len(embeddings_VC), channels))
    return Overlay(embeddings_VC=embeddings_VC)


def _prefix(files: _Files) -> Overlay:
    """PEFT keeps (virtual tokens, layers * (keys, values) * heads * width), with any network applied."""
    flat_VN = _prompt_embeddings(files)
    config = files.model.config.get_text_config()
    heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    layers = int(config.num_hidden_layers)
    files.expect("prompt_embeddings", flat_VN, (len(flat_VN), layers * 2 * heads * width))
    past = flat_VN.view(len(flat_VN), layers, 2, heads, width)
    return Overlay(past=tuple((past[:, layer, 0], past[:, layer, 1]) for layer in range(layers)))


def _prompt_embeddings(files: _Files) -> Tensor:
    if set(files.tensors) != {"prompt_embeddings"} or files.tensors["prompt_embeddings"].ndim != 2:
        raise _refusal(files.folder, f"virtual tokens with {sorted(files.tensors)[:2]}")
    return files.tensors["prompt_embeddings"]


_READ = {
    "LORA": _low_rank,
    "IA3": _ia3,
    KIND: _bottleneck,
    "PROMPT_TUNING": _prompt,
    "PREFIX_TUNING": _prefix,
}
