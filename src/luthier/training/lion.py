"""Lion: steps of one size along an interpolated momentum (Chen et al. 2023, arXiv:2302.06675, algorithm 2).

One state tensor for each weight, half of AdamW's. This file knows nothing of models.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer


class Lion(Optimizer):
    """weight <- weight (1 - lr decay) - lr sign(beta1 m + (1 - beta1) g); m <- beta2 m + (1 - beta2) g."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        assert closure is None, "the loop computes the loss itself"
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(torch.sign(torch.lerp(weight.grad, momentum, beta1)), alpha=-group["lr"])
                momentum.lerp_(weight.grad, 1 - beta2)
