"""The average of the trained weights over the steps (an exponential moving average).

average <- decay average + (1 - decay) weights, after every step; it starts as the weights before the first step, and
`decay` grows as (1 + step) / (10 + step) until it reaches what was asked for, so that a short run is not held at its
start. It is kept as the state of an optimizer that moves nothing, so that checkpoints hold it. Knows nothing of losses.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn
from torch.optim import Optimizer


class WeightAverage(Optimizer):
    """`step` takes the present weights into the average; `in_place` lays it into the model for a while."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        super().__init__(list(parameters), {"decay": decay, "steps": 0})
        for group in self.param_groups:
            for weight in group["params"]:
                self.state[weight]["average"] = weight.detach().clone()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take the weights of this step in."""
        assert closure is None, "there is no loss here"
        for group in self.param_groups:
            group["steps"] += 1
            decay = min(group["decay"], (1 + group["steps"]) / (10 + group["steps"]))
            for weight in group["params"]:
                self.state[weight]["average"].lerp_(weight, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Averages into the model, the model's weights into the state; a second call undoes it, bit for bit."""
        for group in self.param_groups:
            for weight in group["params"]:
                held = self.state[weight]["average"].clone()
                self.state[weight]["average"].copy_(weight)
                weight.copy_(held)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model holds the averages."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
