"""The low-rank matrices of all mounted adapters, one below the other, so that rows of many adapters share a product.

    change = ((x A^T) * own) B          A (ranks, in) and B (ranks, out) of several adapters, stacked

`own` (rows, ranks) is 1 where a rank belongs to the adapter of the row and 0 elsewhere: each row gets the change of its
own adapter, and each matrix is read once, in place. A block holds a number of ranks for every site of the model; what
no adapter wrote takes no memory (the system hands out zeroed pages as they are written).
This file knows nothing of files or rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from luthier.serving.engines.torch.zeros import untouched_zeros

_BLOCK_RANKS = 128


@dataclass(frozen=True)
class Factors:
    """A low-rank change of one linear layer: a_RI (ranks, in) and b_RO (ranks, out), scaled already."""

    a_RI: Tensor
    b_RO: Tensor


@dataclass
class Block:
    """Room for `num_ranks` ranks at every site. holes: the (start, end) that are free, in order."""

    num_ranks: int
    dtype: torch.dtype
    device: torch.device
    a: dict[str, Tensor] = field(default_factory=dict)
    b: dict[str, Tensor] = field(default_factory=dict)
    holes: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.holes = [(0, self.num_ranks)]

    def take(self, num_ranks: int) -> int | None:
        """Where so many free ranks begin, which are taken now; None where there is no such hole."""
        for index, (start, end) in enumerate(self.holes):
            if end - start >= num_ranks:
                self.holes[index : index + 1] = [(start + num_ranks, end)] if end > start + num_ranks else []
                return start
        return None

    def write(self, site: str, start: int, factors: Factors) -> None:
        if site not in self.a:
            for held, one in ((self.a, factors.a_RI), (self.b, factors.b_RO)):
                shape = (self.num_ranks, one.shape[1])
                held[site] = untouched_zeros(*shape, dtype=self.dtype, device=self.device)
        end = start + len(factors.a_RI)
        self.a[site][start:end] = factors.a_RI
        self.b[site][start:end] = factors.b_RO

    def free(self, start: int, end: int) -> None:
        """What stood there no longer counts; zeros, since whoever comes next may not have all of these sites."""
        for tensors in (self.a, self.b):
            for tensor in tensors.values():
                tensor[start:end] = 0
        holes: list[tuple[int, int]] = []
        for hole in sorted([*self.holes, (start, end)]):
            if holes and holes[-1][1] == hole[0]:
                holes[-1] = (holes[-1][0], hole[1])
            else:
                holes.append(hole)
        self.holes = holes

    @property
    def is_free(self) -> bool:
        return self.holes == [(0, self.num_ranks)]


@dataclass(frozen=True)
class Place:
    """Which ranks of which block are an adapter's."""

    block: Block
    start: int
    end: int


class Stacks:
    """The blocks of one base."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.blocks: list[Block] = []

    def put(self, factors: Mapping[str, Factors]) -> Place:
        """Keep an adapter's matrices, by the name of the layer that they change."""
        num_ranks = max(len(one.a_RI) for one in factors.values())
        for block in self.blocks:
            start = block.take(num_ranks)
            if start is not None:
                break
        else:
            block = Block(max(_BLOCK_RANKS, num_ranks), self.dtype, self.device)
            self.blocks.append(block)
            start = block.take(num_ranks)
        assert start is not None
        for site, one in factors.items():
            block.write(site, start, one)
        return Place(block, start, start + num_ranks)

    def remove(self, place: Place) -> None:
        place.block.free(place.start, place.end)
        self.blocks = [block for block in self.blocks if not block.is_free]
