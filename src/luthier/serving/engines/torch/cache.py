"""What rows have computed so far: the keys and values of their tokens, in every layer.

A row that still reads its prompt has a `RowCache` of its own. A row that answers lies in a `Pool` with others of about
its length, so that one call attends for all of them: pools have capacities of powers of two, and a row that outgrows
its pool moves to the next. In a pool rows lie side by side from slot 0; a row that leaves is replaced by the last one.
This file knows nothing of models, tokens or adapters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from luthier.serving.engines.torch.zeros import untouched_zeros

_SMALLEST_POOL = 128
_FIRST_SLOTS = 4


@dataclass(frozen=True)
class LayerShape:
    """Of one layer: how many key heads, and how wide keys and values are."""

    heads: int
    key_width: int
    value_width: int


@dataclass(frozen=True)
class CacheShape:
    """What all layers keep of one token, and where."""

    layers: tuple[LayerShape, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        numbers = sum(layer.heads * (layer.key_width + layer.value_width) for layer in self.layers)
        return numbers * self.dtype.itemsize

    def empty(self, *sizes: int, tokens: int) -> tuple[list[Tensor], list[Tensor]]:
        """Room for the keys and the values of each layer, of shape (*sizes, heads, tokens, width)."""
        keys = [self._zeros(*sizes, one.heads, tokens, one.key_width) for one in self.layers]
        values = [self._zeros(*sizes, one.heads, tokens, one.value_width) for one in self.layers]
        return keys, values

    def _zeros(self, *sizes: int) -> Tensor:
        # Zeros, because what was never written is multiplied by a weight of 0, and 0 times NaN is NaN.
        return untouched_zeros(*sizes, dtype=self.dtype, device=self.device)


class RowCache:
    """Keys and values of one sequence: for each layer (heads, capacity, width), the first `length` tokens filled."""

    def __init__(self, shape: CacheShape, capacity: int) -> None:
        self.shape, self.capacity, self.length = shape, capacity, 0
        self.keys, self.values = shape.empty(tokens=capacity)

    @property
    def num_bytes(self) -> int:
        return self.capacity * self.shape.bytes_per_token

    def tensors(self) -> Iterator[Tensor]:
        yield from self.keys
        yield from self.values

    def begin_with(self, other: "RowCache", length: int) -> None:
        """Take over the first `length` tokens of another sequence."""
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine[:, :length] = theirs[:, :length]
        self.length = length

    def first(self, length: int) -> "RowCache":
        """A copy of the first `length` tokens, as large as they are."""
        copy = RowCache(self.shape, length)
        copy.begin_with(self, length)
        return copy


class InPool(Protocol):
    """A row, as a pool needs to know it: how many tokens it has so far, and where it lies."""

    length: int
    slot: int


R = TypeVar("R", bound=InPool)


class Pool(Generic[R]):
    """Rows of at most `capacity` tokens: for each layer (slots, heads, capacity, width), `len(rows)` in use."""

    def __init__(self, shape: CacheShape, capacity: int) -> None:
        self.shape, self.capacity = shape, capacity
        self.rows: list[R] = []
        self.num_slots = 0
        self.keys, self.values = shape.empty(0, tokens=capacity)

    @property
    def num_bytes(self) -> int:
        return self.num_slots * self.capacity * self.shape.bytes_per_token

    def _tensors(self) -> list[Tensor]:
        return [*self.keys, *self.values]

    def add(self, row: R, tensors: Sequence[Tensor]) -> None:
        """Put a row at the end. tensors: its keys and then its values, each (heads, row.length or more, width)."""
        if len(self.rows) == self.num_slots:
            self._resize(max(_FIRST_SLOTS, self.num_slots + self.num_slots // 2))
        row.slot = len(self.rows)
        for pooled, one in zip(self._tensors(), tensors, strict=True):
            pooled[row.slot, :, : row.length] = one[:, : row.length]
        self.rows.append(row)

    def remove(self, row: R) -> None:
        """Take a row out; the last one moves to its slot."""
        last = self.rows.pop()
        if last is not row:
            for pooled in self._tensors():
                pooled[row.slot, :, : last.length] = pooled[last.slot, :, : last.length]
            self.rows[row.slot] = last
            last.slot = row.slot
        if not self.rows:
            self._resize(0)

    def tensors_of(self, row: R) -> list[Tensor]:
        return [pooled[row.slot] for pooled in self._tensors()]

    def _resize(self, num_slots: int) -> None:
        kept = len(self.rows)
        keys, values = self.shape.empty(num_slots, tokens=self.capacity)
        for new, old in zip([*keys, *values], self._tensors(), strict=True):
            new[:kept] = old[:kept]
        self.keys, self.values = keys, values
        self.num_slots = num_slots


def pool_capacity(length: int) -> int:
    """The capacity of the pool for rows of `length` tokens: a power of two."""
    return max(_SMALLEST_POOL, 1 << (length - 1).bit_length())
