"""The decoder layers of a backbone: where they are, which train, and running only some of them.

Any transformers architecture that keeps its layers in one ModuleList can be run in spans, without code of its own:
the layers outside the span are replaced, for the time of one forward pass, by stand-ins that compute nothing. So
embeddings, rotary angles, masks and whatever else an architecture hands to a layer are its own. Whether the spans of a
model add up to the model has to be shown on it (see training.trunk). This file knows nothing of data or files.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


def decoder_layers(backbone: nn.Module) -> nn.ModuleList | None:
    """The list of layers of a backbone (`model.model`, `model.transformer`, ...), None where there is none."""
    return next((module for module in backbone.children() if isinstance(module, nn.ModuleList)), None)


def name_of_layers(backbone: nn.Module) -> str:
    """What a backbone calls its list of layers: `layers`, `h`, ..."""
    return next(name for name, module in backbone.named_children() if isinstance(module, nn.ModuleList))


def lowest_trained(layers: nn.ModuleList) -> int:
    """The index of the lowest layer that holds a parameter that trains; the number of layers where none does."""
    trains = (index for index, layer in enumerate(layers) if any(p.requires_grad for p in layer.parameters()))
    return next(trains, len(layers))


@dataclass
class Reached:
    """What the last layer of a span gave, of shape (B, T, channels)."""

    states_BTC: Tensor = field(default_factory=lambda: torch.empty(0))


class _Passes(nn.Module):
    """A layer that changes nothing."""

    def forward(self, hidden: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        return hidden


class _Enters(nn.Module):
    """A layer whose output is known already."""

    def __init__(self, states_BTC: Tensor) -> None:
        super().__init__()
        self.states_BTC = states_BTC

    def forward(self, _hidden: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        return self.states_BTC


@contextlib.contextmanager
def only_span(
    layers: nn.ModuleList, first: int, end: int, states_BTC: Tensor | None = None
) -> Iterator[Reached]:
    """Inside, a forward pass runs the layers `first` to `end` - 1 alone.

    They begin with `states_BTC`, the output of the layer before `first` (not needed with `first` 0). What the last of
    them gives is in the `Reached` that is yielded, and goes on, past the layers above, into what follows them.
    """
    real, reached = list(layers), Reached()

    def note(_layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        reached.states_BTC = output

    for index in [*range(first), *range(end, len(real))]:
        layers[index] = _Passes()
    if first:
        assert states_BTC is not None, (
            "a span that does not begin at the embeddings needs the states before it"
        )
        layers[first - 1] = _Enters(states_BTC)
    hook = layers[end - 1].register_forward_hook(note)
    try:
        yield reached
    finally:
        hook.remove()
        for index, layer in enumerate(real):
            layers[index] = layer
