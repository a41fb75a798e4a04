"""What trains: `apply_method` turns a loaded base into the model of a run.

full: every weight. top_layers: the last k layers, the final norm and an untied head. lora, dora, rslora:
PEFT adapters, saved in PEFT's folder format. Weights that train are kept in float32 (the optimizer's steps
are smaller than bfloat16 can hold); frozen ones stay in the dtype to compute in.
This file knows nothing of data or optimizers.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from luthier.errors import ConfigError, ModelError
from luthier.files import atomic_directory, write_json_atomic

MethodName = Literal["full", "top_layers", "lora", "dora", "rslora"]


class LoraLike(Protocol):
    """The numbers of a low-rank adapter (see training.recipe.LoraMethod)."""

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


def apply_full(model: Any, master_dtype: torch.dtype = torch.float32) -> Any:
    """Every weight trains."""
    return model.to(master_dtype).requires_grad_(True)


def apply_top_layers(model: Any, num_layers: int, master_dtype: torch.dtype = torch.float32) -> Any:
    """The last `num_layers` layers, the final norm, and the head if it is not tied to the embeddings.

    Raises ConfigError where the model has fewer layers, ModelError where its layers cannot be found.
    """
    model.requires_grad_(False)
    backbone = getattr(model, model.base_model_prefix)
    layers = next((m for m in backbone.children() if isinstance(m, torch.nn.ModuleList)), None)
    if layers is None:
        raise ModelError(f"{type(model).__name__}: found no list of layers, so top_layers cannot be applied")
    if num_layers > len(layers):
        raise ConfigError(f"method.num_layers: the model has {len(layers)} layers, got {num_layers}")
    trained: list[torch.nn.Module] = list(layers)[-num_layers:]
    following = list(backbone.children())
    trained += [m for m in following[following.index(layers) + 1 :] if any(True for _ in m.parameters())]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        trained.append(head)
    for module in trained:
        module.to(master_dtype).requires_grad_(True)
    return model


def apply_lora(
    model: Any, method: LoraLike, base_name: str, master_dtype: torch.dtype = torch.float32
) -> Any:
    """Freeze the base and add low-rank adapters to `method.targets` (initialised from torch's random state).

    Raises ConfigError where no module has such a name.
    """
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    # GPT-2 keeps its linear layers transposed (Conv1D); PEFT wants to be told.
    transposed = any(isinstance(module, Conv1D) for module in model.modules())
    config = LoraConfig(
        task_type="CAUSAL_LM",
        fan_in_fan_out=transposed,
        r=method.rank,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=method.targets,
        use_dora=method.name == "dora",
        use_rslora=method.name == "rslora",
    )
    names = [name for name, _ in model.named_modules()]
    for target in method.targets if isinstance(method.targets, list) else []:
        # PEFT is content where one of several names is found, and trains less than was asked for.
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise ConfigError(f"method.targets: {type(model).__name__} has no module named {target!r}")
    try:
        adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    except ValueError as error:
        raise ConfigError(f"method.targets: {error}") from error
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(master_dtype)
    adapted.peft_config["default"].base_model_name_or_path = base_name
    return adapted


def count_parameters(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters; tied weights count once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trains in sizes if trains), sum(n for n, _ in sizes)


def save_trained(model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write what was trained: a PEFT folder for an adapter, a whole model folder otherwise, and the tokenizer.

    Whole models are written in `dtype`; adapters keep theirs. The folder appears whole or not at all.
    """
    with atomic_directory(folder) as beside:
        if hasattr(model, "peft_config"):
            # "auto" would ask the hub for the base's vocabulary; no embedding is resized here.
            model.save_pretrained(beside, save_embedding_layers=False)
            (beside / "README.md").unlink(missing_ok=True)  # PEFT's empty model card says nothing
        else:
            model.save_pretrained(beside, state_dict=_cast(model.state_dict(), dtype))
            # transformers notes the dtype of the module in memory, not that of the tensors it was given.
            config = json.loads((beside / "config.json").read_text(encoding="utf-8"))
            config["dtype"] = str(dtype).removeprefix("torch.")
            write_json_atomic(beside / "config.json", config)
        tokenizer.save_pretrained(beside)


def _cast(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The state in `dtype`. Tied weights stay one tensor, or they would be written twice and come back untied."""
    cast: dict[tuple[int, torch.Size], Tensor] = {}
    for tensor in state.values():
        key = (tensor.data_ptr(), tensor.shape)
        if key not in cast:
            cast[key] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return {name: cast[tensor.data_ptr(), tensor.shape] for name, tensor in state.items()}
