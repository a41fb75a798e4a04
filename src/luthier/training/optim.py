"""Optimizers: who moves which weight, with which rate and which decay.

Weight decay touches matrices only, and no embeddings: no norm, no bias, no DoRA magnitude, and no IA3 factor (whose
neutral value is 1). `muon` orthogonalises the updates of hidden matrices (Jordan et al. 2024, torch.optim.Muon) and
leaves embeddings, norms and biases to AdamW. With LoRA+ the B matrices of adapters have a rate of their own (Hayou et
al. 2024, arXiv:2402.12354). This file knows nothing of models beyond named parameters.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from luthier.training.lion import Lion
from luthier.training.recipe import OptimConfig
from luthier.training.schedules import Schedule, build_schedule
from luthier.training.small_state import small_state_adamw

__all__ = ["Schedule", "build_optimizers", "build_schedule", "set_learning_rate"]

Named = tuple[str, nn.Parameter]
_LORA_B = (".lora_B.", ".lora_embedding_B.")
_IA3 = ".ia3_l."
_EMBEDDINGS = ("embed", "wte", "wpe")  # also those of trained prompts and prefixes


def build_optimizers(parameters: Iterable[Named], config: OptimConfig) -> list[Optimizer]:
    """The optimizers that together own every trainable parameter once."""
    trainable = [(name, p) for name, p in parameters if p.requires_grad]
    hidden = [
        named for named in trainable if config.name == "muon" and is_hidden_matrix(named[0], named[1].ndim)
    ]
    names = {name for name, _ in hidden}
    others = [named for named in trainable if named[0] not in names]
    optimizers = [_muon(_groups(hidden, config), config)] if hidden else []
    if others:
        optimizers.append(_MAKE[config.name](_groups(others, config), config))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_learning_rate"] = group["lr"]
    return optimizers


def is_hidden_matrix(name: str, ndim: int) -> bool:
    """Whether Muon orthogonalises the updates of this parameter."""
    return ndim == 2 and not any(part in name for part in (*_EMBEDDINGS, "lm_head"))


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and not any(part in name for part in (_IA3, *_EMBEDDINGS))


def _groups(named: list[Named], config: OptimConfig) -> list[dict[str, Any]]:
    """Parameters with the same decay and the same rate, those of the plain rate first."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in named:
        faster = config.lora_plus_ratio is not None and any(part in name for part in _LORA_B)
        groups.setdefault((faster, not _decays(name, parameter)), []).append(parameter)
    ratio = config.lora_plus_ratio or 1.0
    return [
        {
            "params": members,
            "weight_decay": 0.0 if plain else config.weight_decay,
            "lr": config.learning_rate * (ratio if faster else 1.0),
        }
        for (faster, plain), members in sorted(groups.items(), key=lambda item: item[0])
    ]


def _muon(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    return torch.optim.Muon(
        groups, lr=config.learning_rate, momentum=config.momentum, adjust_lr_fn="match_rms_adamw"
    )


def _adamw(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon, fused=True)


def _small_state(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    betas = (config.beta1, config.beta2)
    return small_state_adamw(config.name, groups, lr=config.learning_rate, betas=betas, eps=config.epsilon)


def _lion(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    return Lion(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2))


def _adafactor(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    """transformers' own, with our schedule instead of its relative steps (Shazeer and Stern 2018, arXiv:1804.04235).

    Steps are not scaled by the size of the weights: an adapter that starts at 0 would stay there.
    """
    from transformers.optimization import Adafactor

    adafactor: Optimizer = Adafactor(
        groups, lr=config.learning_rate, scale_parameter=False, relative_step=False
    )
    return adafactor


_MAKE: Mapping[str, Callable[[list[dict[str, Any]], OptimConfig], Optimizer]] = {
    "adamw": _adamw,
    "muon": _adamw,  # what is no hidden matrix
    "adamw_8bit": _small_state,
    "paged_adamw": _small_state,
    "lion": _lion,
    "adafactor": _adafactor,
}


def set_learning_rate(optimizers: Iterable[Optimizer], factor: float) -> float:
    """Scale every group's learning rate by `factor`; returns the first group's."""
    first = math.nan
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_learning_rate"] * factor
            first = group["lr"] if math.isnan(first) else first
    return first
