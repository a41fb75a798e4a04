"""Why a form's logits differ: each known mistake is made to the trained model, and the one that reproduces them is it.

The mistakes: the adapter left out, laid on with another scale, query and key rows permuted (GGUF keeps them in another
order for some architectures: once too often or not at all). A cause is named when the trained model with that mistake
is far nearer to the form than without. Knows nothing of words and verdicts.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from luthier.export.certificate.forms import Trained
from luthier.export.certificate.measure import distance

Sequences = Sequence[tuple[Sequence[int], Tensor]]
"""Token ids, and what the form's logits are on them, shape (T, vocabulary)."""

_SHARE_LEFT = 0.25
_AT_MOST_LEFT = 0.5
"""Even where rounding may leave more: else a slightly other strength, fitted to noise, would pass for a cause."""
_STRENGTHS = (0.0625, 0.125, 0.25, 0.5, 2.0, 4.0, 8.0, 16.0)
_GOLDEN = 0.6180339887


@dataclass(frozen=True, slots=True)
class Found:
    """A cause, and how it was seen."""

    cause: str
    detail: str


def reproduce(trained: Trained, sequences: Sequences, tolerance: float) -> Found | None:
    """The mistake that explains how far off the form is (relative, see measure.Distance); None where no known one does.

    `tolerance`: what rounding may leave.
    """

    def left(mistake: Callable[[Any], contextlib.AbstractContextManager[None]]) -> float:
        with mistake(trained.loaded.model):
            return distance((_cut(trained.logits(ids), have), have) for ids, have in sequences).relative

    here = left(lambda _: contextlib.nullcontext())  # these few sequences may differ less than all do
    if here <= tolerance:
        return None
    enough = min(max(tolerance, _SHARE_LEFT * here), _AT_MOST_LEFT * here)
    if has_adapter(trained) and left(adapter_off) <= enough:
        return Found("adapter not applied", "the logits are those of the base")
    for permute, said in ((_interleaved, "interleaved once more"), (_separated, "left interleaved")):
        if _projections(trained.loaded.model) and left(partial(_heads, order=permute)) <= enough:
            return Found("permuted heads", f"the rows of queries and keys are {said} within each head")
    if scaled_layers(trained.loaded.model):
        strength, remaining = _best_strength(
            lambda strength: left(lambda model: adapter_scaled(model, strength))
        )
        if remaining <= enough:
            return Found("scale", f"the adapter acts at {strength:.3g} times its strength")
    return None


def _cut(want: Tensor, have: Tensor) -> Tensor:
    return want[-len(have) :, : have.shape[1]]


def _best_strength(left: Callable[[float], float]) -> tuple[float, float]:
    """The strength with the least difference: a coarse grid, then a golden section around its best point."""
    tried = {strength: left(strength) for strength in _STRENGTHS}
    best = min(tried, key=lambda strength: tried[strength])
    low, high = best / 2, best * 2
    for _ in range(12):
        inner, outer = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        for strength in (inner, outer):
            tried.setdefault(strength, left(strength))
        low, high = (low, outer) if tried[inner] <= tried[outer] else (inner, high)
    best = min(tried, key=lambda strength: tried[strength])
    return best, tried[best]


def has_adapter(trained: Trained) -> bool:
    """Whether a PEFT adapter lies over the trained model, which can be switched off."""
    return hasattr(trained.loaded.model, "disable_adapter")


@contextlib.contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    with model.disable_adapter():
        yield


def scaled_layers(model: Any) -> list[Any]:
    """The low-rank layers, which have a scale."""
    return [module for module in model.modules() if isinstance(getattr(module, "scaling", None), dict)]


@contextlib.contextmanager
def adapter_scaled(model: Any, strength: float) -> Iterator[None]:
    """Inside, the low-rank part acts `strength` times as strongly."""
    layers = scaled_layers(model)
    before = [dict(layer.scaling) for layer in layers]
    for layer in layers:
        layer.scaling.update({name: value * strength for name, value in layer.scaling.items()})
    try:
        yield
    finally:
        for layer, scaling in zip(layers, before, strict=True):
            layer.scaling.update(scaling)


Order = Callable[[Tensor], Tensor]
"""The channels of all heads, shape (heads, channels), in another order."""


def _interleaved(channels_HC: Tensor) -> Tensor:
    """llama.cpp's order: the halves of a head, which rotate together, side by side."""
    return channels_HC.reshape(len(channels_HC), 2, -1).transpose(1, 2).flatten(1)


def _separated(channels_HC: Tensor) -> Tensor:
    return channels_HC.reshape(len(channels_HC), -1, 2).transpose(1, 2).flatten(1)


def _projections(model: Any) -> list[tuple[Any, int]]:
    """Query and key projections with their numbers of heads; none where an architecture fuses them."""
    config = model.config
    heads = getattr(config, "num_attention_heads", None)
    if not heads:
        return []
    counts = {"q_proj": heads, "k_proj": getattr(config, "num_key_value_heads", None) or heads}
    found = []
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        if last in counts and not name.endswith("base_layer"):
            found.append((module, counts[last]))
    return found


@contextlib.contextmanager
def _heads(model: Any, order: Order) -> Iterator[None]:
    def hook(num_heads: int) -> Callable[..., Tensor]:
        def permuted(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
            channels = torch.arange(output.shape[-1], device=output.device).view(num_heads, -1)
            return output[..., order(channels).flatten()]

        return permuted

    handles = [module.register_forward_hook(hook(heads)) for module, heads in _projections(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
