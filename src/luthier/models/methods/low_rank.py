"""Low-rank adapters (LoRA, DoRA, rsLoRA), by PEFT and in its folder format.

The base is frozen in the dtype to compute in; the adapter trains in the master dtype. This file knows nothing of data
or optimizers.
"""

import warnings
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

    modules, parameters = _split_targets(model, method)
    config = LoraConfig(
        task_type=task_of(model),
        fan_in_fan_out=is_transposed(model),
        r=method.rank,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_parameters=parameters or None,
        init_lora_weights=init,
        use_dora=method.name == "dora",
        use_rslora=method.name == "rslora",
        **_modules(model, method, modules),
    )
    return attach(model, config, base_name, master_dtype)


def _modules(model: Any, method: LoraLike, targets: str | list[str]) -> dict[str, Any]:
    """Which modules PEFT is to adapt: `targets`, in all layers or in the last `num_layers`."""
    if method.num_layers is None:
        return {"target_modules": targets}
    backbone = getattr(model, model.base_model_prefix)
    layers = decoder_layers(backbone)
    if layers is None:
        raise ModelError(f"{type(model).__name__}: found no list of layers for method.num_layers")
    if method.num_layers > len(layers):
        raise ConfigError(f"method.num_layers: the model has {len(layers)} layers, got {method.num_layers}")
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


def _split_targets(model: Any, method: LoraLike) -> tuple[str | list[str], list[str]]:
    """The targets that are modules, and those that are parameters: a router, or experts in one tensor.

    Raises ConfigError for a name that is neither, and where the method cannot be laid on a parameter.
    """
    if isinstance(method.targets, str):
        return method.targets, []
    names = [f".{name}" for name, _ in model.named_parameters()]
    modules = [f".{name}" for name, _ in model.named_modules()]
    parameters = [
        target
        for target in method.targets
        if any(name.endswith(f".{target}") for name in names)
        and not any(name.endswith(f".{target}") for name in modules)
    ]
    check_targets(model, [target for target in method.targets if target not in parameters])
    if parameters and method.name not in ("lora", "rslora"):
        raise ConfigError(
            f"method.targets: {parameters[0]} is a parameter, not a linear layer, and {method.name} takes linear "
            "layers alone; take lora or rslora"
        )
    if parameters and method.dropout:
        raise ConfigError(
            f"method.targets: {parameters[0]} is a parameter, not a linear layer, and has no input to drop: set "
            "method.dropout to 0"
        )
    if parameters and method.num_layers is not None:
        raise ConfigError(
            f"method.num_layers takes linear layers alone, and {parameters[0]} in method.targets is a parameter"
        )
    return [target for target in method.targets if target not in parameters], parameters


def task_of(model: Any) -> str:
    """PEFT's word for what a model is for. The head of a model that scores trains and is saved with its adapter."""
    return "SEQ_CLS" if type(model).__name__.endswith("ForSequenceClassification") else "CAUSAL_LM"


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
        with warnings.catch_warnings():
            # PEFT writes ranks for experts that were modules once, and then finds them in one tensor.
            warnings.filterwarnings("ignore", message=r"The following \w+_pattern keys did not match")
            adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    except ValueError as error:
        if "ParamWrapper" in str(error):
            # PEFT's all-linear means the experts and routers of a mixture too.
            raise ConfigError(
                f"method: the experts and routers of this {type(model).__name__} are parameters, not linear layers: "
                "they take lora and rslora, with method.dropout 0. Set that, or name linear layers in method.targets "
                f"([q_proj, v_proj], say) ({error})"
            ) from error
        raise ConfigError(f"method: {error}") from error
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(master_dtype)
    adapted.peft_config["default"].base_model_name_or_path = base_name
    return adapted
