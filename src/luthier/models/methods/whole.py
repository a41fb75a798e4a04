"""Methods that train weights of the base itself: all of them, the last layers, or those that a pattern names.

Weights that train are kept in the master dtype (the optimizer's steps are smaller than bfloat16 can hold); frozen ones
stay in the dtype to compute in. This file knows nothing of adapters, data or optimizers.
"""

import re
from typing import Any, Protocol

import torch

from luthier.errors import ConfigError, ModelError
from luthier.models.layers import decoder_layers


class FreezeLike(Protocol):
    """Which weights train, by name (see training.method_config.FreezeMethod); one of the two lists is given."""

    @property
    def train(self) -> list[str]: ...
    @property
    def freeze(self) -> list[str]: ...


def apply_full(model: Any, master_dtype: torch.dtype = torch.float32) -> Any:
    """Every weight trains."""
    return model.to(master_dtype).requires_grad_(True)


def apply_top_layers(model: Any, num_layers: int, master_dtype: torch.dtype = torch.float32) -> Any:
    """The last `num_layers` layers, the final norm, and the head if it is not tied to the embeddings.

    Raises ConfigError where the model has fewer layers, ModelError where its layers cannot be found.
    """
    model.requires_grad_(False)
    backbone = getattr(model, model.base_model_prefix)
    layers = decoder_layers(backbone)
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


def apply_freeze(model: Any, method: FreezeLike, master_dtype: torch.dtype = torch.float32) -> Any:
    """Only the parameters whose name matches one of `method.train` train, or all but those of `method.freeze`.

    A pattern is a regular expression that is searched for in the name. Tied weights go by their first name, that of
    the embeddings. Raises ConfigError for a pattern that is none, or matches nothing, and where nothing would train.
    """
    key, patterns = ("train", method.train) if method.train else ("freeze", method.freeze)
    names = [name for name, _ in model.named_parameters()]
    matched: set[str] = set()
    for pattern in patterns:
        try:
            found = {name for name in names if re.search(pattern, name)}
        except re.error as error:
            raise ConfigError(f"method.{key}: {pattern!r} is not a regular expression: {error}") from error
        if not found:
            raise ConfigError(
                f"method.{key}: {pattern!r} is found in no parameter of this {type(model).__name__}; its names are "
                f"like {names[0]}, {names[len(names) // 2]}, {names[-1]}"
            )
        matched |= found
    if key == "freeze" and len(matched) == len(names):
        raise ConfigError("method.freeze: these patterns match every parameter, so nothing would train")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_((name in matched) == (key == "train"))
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if any(parameter.requires_grad for parameter in own):
            for parameter in own:  # one module, one dtype: not every kernel takes a weight and a bias of two
                parameter.data = parameter.data.to(master_dtype)
    return model
