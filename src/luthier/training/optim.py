"""Optimizers and learning-rate schedules.

A schedule is a pure function of the step, so it has no state to save. Weight decay touches matrices only.
`muon` orthogonalises the updates of hidden matrices (Jordan et al. 2024, torch.optim.Muon) and leaves
embeddings, norms and biases to AdamW. This file knows nothing of models beyond named parameters.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from luthier.training.recipe import OptimConfig

Schedule = Callable[[int], float]


def build_optimizers(parameters: Iterable[tuple[str, nn.Parameter]], config: OptimConfig) -> list[Optimizer]:
    """The optimizers that together own every trainable parameter once."""
    trainable = [(name, p) for name, p in parameters if p.requires_grad]
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in trainable:
        hidden = parameter.ndim == 2 and not any(part in name for part in ("embed", "lm_head", "wte", "wpe"))
        (matrices if config.name == "muon" and hidden else others).append(parameter)
    optimizers: list[Optimizer] = []
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices,
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                momentum=config.momentum,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    if others:
        decayed = [p for p in others if p.ndim >= 2]
        plain = [p for p in others if p.ndim < 2]
        groups: list[dict[str, Any]] = (
            [{"params": decayed, "weight_decay": config.weight_decay}] if decayed else []
        )
        groups += [{"params": plain, "weight_decay": 0.0}] if plain else []
        optimizers.append(
            torch.optim.AdamW(
                groups,
                lr=config.learning_rate,
                betas=(config.beta1, config.beta2),
                eps=config.epsilon,
                fused=True,
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_learning_rate"] = group["lr"]
    return optimizers


def build_schedule(config: OptimConfig, num_steps: int) -> Schedule:
    """step (0-based) -> factor on the learning rate. Warm-up is linear and never starts at 0."""
    warmup = math.ceil(config.warmup_share * num_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if config.schedule == "constant":
            return 1.0
        progress = (step - warmup) / max(1, num_steps - warmup)
        shape = 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
        return config.final_share + (1 - config.final_share) * shape

    return factor


def set_learning_rate(optimizers: Iterable[Optimizer], factor: float) -> float:
    """Scale every group's learning rate by `factor`; returns the first group's."""
    first = math.nan
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_learning_rate"] * factor
            first = group["lr"] if math.isnan(first) else first
    return first
