"""What a micro-batch computes: products by their shape, attention, what everything else moves, numbers drawn, calls.

Counted as operations pass, from shapes alone. Knows nothing of how fast anything is.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

ProductShape = tuple[int, int, int, int]
AttentionShape = tuple[int, int, int, int]
_RANDOM = ("bernoulli", "normal_", "uniform_", "native_dropout", "rand")


@dataclass(frozen=True)
class Work:
    """FLOPs are multiply-adds times two.

    products: FLOPs by (batch, rows, inner, columns). attention: FLOPs by (heads, queries, keys, head size), nothing
    taken off for causality. moved_bytes: read and written by every other operation. random_numbers: drawn.
    num_calls: operations, views left out.
    """

    products: Mapping[ProductShape, float]
    attention: Mapping[AttentionShape, float]
    moved_bytes: float
    random_numbers: float
    num_calls: float

    @property
    def flops(self) -> float:
        """Of all products, those of attention too."""
        return sum(self.products.values()) + sum(self.attention.values())

    def line(self, other: "Work", times: float) -> "Work":
        """The work `times` as far from this as `other` is."""

        def numbers(here: float, there: float) -> float:
            return here + (there - here) * times

        def shapes(here: Mapping[Any, float], there: Mapping[Any, float]) -> dict[Any, float]:
            return {key: numbers(here.get(key, 0.0), there.get(key, 0.0)) for key in {**here, **there}}

        return Work(
            shapes(self.products, other.products),
            shapes(self.attention, other.attention),
            numbers(self.moved_bytes, other.moved_bytes),
            numbers(self.random_numbers, other.random_numbers),
            numbers(self.num_calls, other.num_calls),
        )


NO_WORK = Work({}, {}, 0.0, 0.0, 0.0)


class Tally:
    """Adds up operations as they pass."""

    def __init__(self) -> None:
        self._products: dict[ProductShape, float] = defaultdict(float)
        self._attention: dict[AttentionShape, float] = defaultdict(float)
        self._moved = self._random = self._calls = 0.0

    def add(self, func: Any, args: Any, kwargs: Mapping[str, Any], out: Any) -> None:
        """One operation of torch with what it was given and what it gave."""
        if func.is_view or not _touches(out):
            return
        self._calls += 1
        name = func._overloadpacket.__name__
        flops: Callable[..., Any] | None = flop_registry.get(func._overloadpacket)
        if "scaled_dot_product" in name:
            shape, count = _attention(name, args)
            self._attention[shape] += count
        elif name == "gemm_4bit":  # of bitsandbytes: inputs, packed weights, (outputs, inputs)
            outputs, inputs = args[2]
            rows = args[0].numel() // inputs
            self._products[1, rows, inputs, outputs] += 2.0 * rows * inputs * outputs
        elif flops is not None and (product := _product_shape(args)) is not None:
            self._products[product] += float(flops(*args, **kwargs, out_val=out))
        elif name.startswith(_RANDOM):
            self._random += sum(one.numel() for one in tree_iter(out) if isinstance(one, Tensor))
        elif not name.startswith(("empty", "new_empty")):
            tensors = [one for one in tree_iter((args, kwargs, out)) if isinstance(one, Tensor)]
            self._moved += sum(one.numel() * one.element_size() for one in tensors)

    def work(self) -> Work:
        """All that passed."""
        return Work(dict(self._products), dict(self._attention), self._moved, self._random, self._calls)


def _touches(out: Any) -> bool:
    return any(isinstance(one, Tensor) for one in tree_iter(out))


def _product_shape(args: Any) -> ProductShape | None:
    """Of mm, addmm, bmm, baddbmm: the last two tensors are the factors."""
    factors = [one for one in args if isinstance(one, torch.Tensor)][-2:]
    if len(factors) < 2 or factors[0].ndim not in (2, 3) or factors[0].ndim != factors[1].ndim:
        return None
    left, right = factors
    batch = left.shape[0] if left.ndim == 3 else 1
    return (batch, left.shape[-2], left.shape[-1], right.shape[-1])


def _attention(name: str, args: Any) -> tuple[AttentionShape, float]:
    """Of fused attention, whose kernel for the CPU torch's own table leaves out."""
    backward = "backward" in name
    query, key = (args[1], args[2]) if backward else (args[0], args[1])
    heads, queries, size = query.shape[0] * query.shape[1], query.shape[2], query.shape[3]
    products = float(heads) * queries * key.shape[2] * size
    return (heads, queries, key.shape[2], size), products * 2 * (5 if backward else 2)
