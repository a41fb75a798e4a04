"""Noise on the gradient that fades with the steps (Neelakantan et al. 2015, arXiv:1511.06807).

Step t, from 0, adds to every number of the gradient a normal one of variance eta / (1 + t)^0.55. It is drawn from a
generator of its own that follows from seed and step, so a resumed run draws what the straight one does, and dropout
draws what it would draw without noise. Knows nothing of models.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

_DECAY = 0.55  # the paper's gamma
_STRIDE = 1_000_003  # a prime: the seeds of neighbouring runs and steps do not meet


@dataclass(frozen=True)
class GradientNoise:
    """eta: the variance at the first step; the paper tries 0.01, 0.3 and 1."""

    eta: float
    seed: int

    def deviation(self, step: int) -> float:
        """The standard deviation at `step`, counted from 0."""
        return float((self.eta / (1 + step) ** _DECAY) ** 0.5)

    @torch.no_grad()
    def add(self, step: int, parameters: Iterable[nn.Parameter]) -> None:
        """Add the noise of `step` to the gradients that are there."""
        generators: dict[torch.device, torch.Generator] = {}
        for parameter in parameters:
            if parameter.grad is None:
                continue
            device = parameter.grad.device
            if device not in generators:
                generators[device] = torch.Generator(device).manual_seed((self.seed * _STRIDE + step) % 2**63)
            noise = torch.empty_like(parameter.grad).normal_(generator=generators[device])
            parameter.grad.add_(noise, alpha=self.deviation(step))
