"""Low-rank adapters (LoRA, DoRA, rsLoRA), by PEFT and in its folder format.

The base is frozen in the dtype to compute in; the adapter trains in the master dtype. This file knows nothing of data
or optimizers.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn

from luthier.errors import ConfigError, ModelError
from luthier.models.layers import decoder_layers, name_of_layers


class LoraLike(Protocol):
    """The numbers of a low-rank adapter (see training.method_config.LoraMethod)."""

    @property
    def name(self) -> str: ...
    @property
    def rank(self) -> int: ...
    @property
    def alpha(self) -> float: ...
    @property
    def dropout(self) -> float: ...
    @property
    def targets(self) -> str | list[str]: ...
    @property
    def num_layers(self) -> int | None: ...


def apply_lora(
    model: Any, method: LoraLike, base_name: str, master_dtype: torch.dtype = torch.float32
) -> Any:
    """Freeze the base and add low-rank adapters to `method.targets` (initialised from torch's random state).

    With `method.num_layers` only in so many of the last layers. Raises ConfigError where no module has such a name, or
    there are fewer layers.
    """
    return adapt_linear(model, method, base_name, master_dtype, init=True)


def adapt_linear(
    model: Any, method: LoraLike, base_name: str, master_dtype: torch.dtype, *, init: bool | str
) -> Any:
    """LoRA with `init` as PEFT's `init_lora_weights`."""
    from peft import LoraConfig

    check_targets(model, method.targets)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        fan_in_fan_out=is_transposed(model),
        r=method.rank,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        init_lora_weights=init,
        use_dora=method.name == "dora",
        use_rslora=method.name == "rslora",
        **_top_layers(model, method),
    )
    return attach(model, config, base_name, master_dtype)


def _top_layers(model: Any, method: LoraLike) -> dict[str, Any]:
    """Which modules PEFT is to adapt: `targets`, in all layers or in the last `num_layers`."""
    if method.num_layers is None:
        return {"target_modules": method.targets}
    backbone = getattr(model, model.base_model_prefix)
    layers = decoder_layers(backbone)
    if layers is None:
        raise ModelError(f"{type(model).__name__}: found no list of layers for method.num_layers")
    if method.num_layers > len(layers):
        raise ConfigError(f"method.num_layers: the model has {len(layers)} layers, got {method.num_layers}")
    targets = method.targets
    if targets == "all-linear":  # PEFT takes layers with a list of names only
        targets = sorted(
            {name.split(".")[-1] for name, module in layers.named_modules() if _is_linear(module)}
        )
    return {
        "target_modules": targets,
        "layers_to_transform": list(range(len(layers) - method.num_layers, len(layers))),
        "layers_pattern": name_of_layers(backbone),
    }


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def is_transposed(model: Any) -> bool:
    """GPT-2 keeps its linear layers transposed (Conv1D); PEFT wants to be told."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())


def check_targets(model: Any, targets: str | Sequence[str]) -> None:
    """Raises ConfigError where one of several names is no module: PEFT is content where one is found."""
    names = [name for name, _ in model.named_modules()]
    for target in [] if isinstance(targets, str) else targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise ConfigError(f"method.targets: {type(model).__name__} has no module named {target!r}")


def attach(model: Any, config: Any, base_name: str, master_dtype: torch.dtype) -> Any:
    """A PEFT model of `config`, whose trained weights are in `master_dtype`. Raises ConfigError."""
    from peft import get_peft_model

    try:
        adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    except ValueError as error:
        raise ConfigError(f"method: {error}") from error
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(master_dtype)
    adapted.peft_config["default"].base_model_name_or_path = base_name
    return adapted
