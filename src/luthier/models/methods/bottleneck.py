"""Bottleneck adapters: a small network with a short cut, behind the sublayers of every layer.

x -> x + up(act(down(x))), on the output of a sublayer before it joins the residual stream. `up` starts at 0, so the
model starts as its base. Placements: `houlsby` behind attention and feed-forward (Houlsby et al. 2019,
arXiv:1902.00751), `pfeiffer` behind feed-forward alone (Pfeiffer et al. 2021, arXiv:2005.00247). It is not linear, so
it cannot be merged into the base. Saved as adapter_config.json and adapter_model.safetensors, in a format of our own.
Knows nothing of data or optimizers.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from luthier.errors import ModelError
from luthier.files import write_json_atomic
from luthier.models.layers import decoder_layers

KIND = "LUTHIER_BOTTLENECK"
_CONFIG = "luthier_bottleneck"
_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
}
_ATTENTION = ("self_attn", "attn", "self_attention", "attention")
_FEEDFORWARD = ("mlp", "feed_forward", "ffn")


class BottleneckLike(Protocol):
    """Size and place of the adapters (see training.method_config.AdapterMethod)."""

    @property
    def size(self) -> int: ...
    @property
    def placement(self) -> str: ...
    @property
    def activation(self) -> str: ...


class Bottleneck(nn.Module):
    """x + up(act(down(x))) over the last axis."""

    def __init__(self, channels: int, size: int, activation: str) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, size), nn.Linear(size, channels)
        self.activation = _ACTIVATIONS[activation]
        nn.init.normal_(self.down.weight, std=0.02)
        for start in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(start)

    def forward(self, hidden: Tensor) -> Tensor:
        """Shape (..., channels). Computed in the dtype of the adapter, where autocast is off."""
        change: Tensor = self.up(self.activation(self.down(hidden.to(self.down.weight.dtype))))
        return hidden + change.to(hidden.dtype)


def apply_adapter(
    model: Any, method: BottleneckLike, base_name: str, master_dtype: torch.dtype = torch.float32
) -> Any:
    """Freeze the base and add bottleneck adapters to every layer (initialised from torch's random state).

    Raises ModelError where a layer's sublayers cannot be found.
    """
    model.requires_grad_(False)
    settings = {"size": method.size, "placement": method.placement, "activation": method.activation}
    _insert(model, settings, master_dtype)
    setattr(model, _CONFIG, {"base_model_name_or_path": base_name, "peft_type": KIND, **settings})
    return model


def is_bottleneck(model: Any) -> bool:
    return hasattr(model, _CONFIG)


def save_bottleneck(model: Any, folder: Path) -> None:
    """Write the adapters and how they were made."""
    from safetensors.torch import save_file

    write_json_atomic(folder / "adapter_config.json", getattr(model, _CONFIG))
    save_file(_state(model), folder / "adapter_model.safetensors", {"format": "pt"})


def is_bottleneck_folder(folder: Path) -> bool:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    return isinstance(config, dict) and config.get("peft_type") == KIND


def attach_bottleneck(model: Any, folder: Path) -> Any:
    """Lay the adapters in `folder` over `model`, frozen. Raises ModelError where config or weights do not fit."""
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    expected = {"size": int, "placement": str, "activation": str}
    for key, kind in expected.items():
        if not isinstance(config.get(key), kind):
            raise ModelError(
                f"{folder}/adapter_config.json: expected {key} as {kind.__name__}, got {config.get(key)!r}"
            )
    if config["activation"] not in _ACTIVATIONS or config["placement"] not in ("houlsby", "pfeiffer"):
        raise ModelError(f"{folder}/adapter_config.json: unknown activation or placement: {config}")
    weights = load_file(folder / "adapter_model.safetensors")
    dtype = next(model.parameters()).dtype
    model.requires_grad_(False)
    with torch.random.fork_rng(
        devices=[]
    ):  # what is drawn here is overwritten; an answer's seed must not feel it
        _insert(model, {key: config[key] for key in expected}, dtype)
    setattr(model, _CONFIG, config)
    own = _state(model)
    if differing := sorted(own.keys() ^ weights.keys()):
        raise ModelError(
            f"{folder}: the adapter does not fit this model: {len(differing)} of its weights are on one side only, "
            f"the first is {differing[0]}"
        )
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            raise ModelError(
                f"{folder}: {name}: expected shape {tuple(tensor.shape)}, got {tuple(weights[name].shape)}"
            )
        tensor.copy_(weights[name])
    model.requires_grad_(False)
    return model


def _state(model: Any) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if ".bottleneck." in name}


def _insert(model: Any, settings: dict[str, Any], dtype: torch.dtype) -> None:
    backbone = getattr(model, model.base_model_prefix)
    layers = decoder_layers(backbone)
    if layers is None:
        raise ModelError(f"{type(model).__name__}: found no list of layers for bottleneck adapters")
    channels = int(model.get_input_embeddings().weight.shape[1])
    kinds = [_FEEDFORWARD] if settings["placement"] == "pfeiffer" else [_ATTENTION, _FEEDFORWARD]
    for number, layer in enumerate(layers):
        for names in kinds:
            sublayer = next((getattr(layer, name) for name in names if hasattr(layer, name)), None)
            if sublayer is None:
                raise ModelError(
                    f"{type(model).__name__}: layer {number} has none of {', '.join(names)}, so there is no place for "
                    "a bottleneck adapter"
                )
            device = next(sublayer.parameters()).device
            sublayer.bottleneck = Bottleneck(channels, settings["size"], settings["activation"]).to(
                device, dtype
            )
            sublayer.register_forward_hook(_through)


def _through(sublayer: Any, _inputs: Any, output: Any) -> Any:
    """Attention answers with a tuple whose first part is the hidden states."""
    if isinstance(output, tuple):
        return (sublayer.bottleneck(output[0]), *output[1:])
    return sublayer.bottleneck(output)
