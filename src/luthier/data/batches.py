"""From rows to what one optimizer step computes.

A step takes `batch_size` rows (or units of rows that belong together), whatever their lengths; its micro-batches are
only a way to compute it in pieces, so the result does not depend on how they are cut. The order of an epoch follows
from (seed, epoch) alone: step n is known without having seen steps 0..n-1, and that is all the data cursor a resume
needs. Rows are padded at the right: under causal attention no real token sees a pad, so no mask is needed.
This file knows nothing of torch, models or losses.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from luthier.data.dataset import TokenDataset
from luthier.data.forest import Forest
from luthier.data.soft_labels import SoftTargets
from luthier.data.units import Members
from luthier.errors import ConfigError

_LENGTH_MULTIPLE = 8  # micro-batches of few distinct shapes let the allocator reuse its blocks


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together. B rows, T the longest row's length rounded up.

    token_ids_BT: int64, right-padded with 0. targets_BT: the id that position t must predict.
    weights_BT: float32, how much that prediction counts; 0 at pads and wherever nothing is learnt.
    row_indices_B: which rows of the dataset these are; places_B: the `file:line` that each came from.
    num_tokens: the tokens that are not pads; lengths_B: those of each row. members: the rows as units, where they
    belong together. beside: the rows that are measured before the step, and not learnt from (see TokenDataset).
    soft: what a teacher says at each target, where one was asked.
    """

    token_ids_BT: NDArray[np.int64]
    targets_BT: NDArray[np.int64]
    weights_BT: NDArray[np.float32]
    row_indices_B: NDArray[np.int64]
    num_tokens: int
    places_B: tuple[str, ...] = ()
    lengths_B: tuple[int, ...] = ()
    members: Members | None = None
    beside: "MicroBatch | None" = None
    soft: SoftTargets | None = None

    @property
    def weight_sum(self) -> float:
        """What the loss of a step is divided by: the weight of its tokens, or the number of its units."""
        if self.members is not None:
            return float(self.members.num_units)
        return float(self.weights_BT.sum(dtype=np.float64))

    @property
    def num_supervised(self) -> int:
        """The tokens that count."""
        return int(np.count_nonzero(self.weights_BT))


def _padded(length: int) -> int:
    return -(-length // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE


def pad_rows(dataset: TokenDataset, indices: Sequence[int]) -> MicroBatch:
    """Lay the rows `indices` under each other."""
    longest = max(int(dataset.offsets[i + 1] - dataset.offsets[i]) for i in indices)
    width = _padded(longest)
    token_ids = np.zeros((len(indices), width), dtype=np.int64)
    targets = np.zeros_like(token_ids)
    weights = np.zeros((len(indices), width), dtype=np.float32)
    num_tokens = 0
    for line, index in enumerate(indices):
        ids, row_weights = dataset.row(index)
        length = len(ids)
        token_ids[line, :length] = ids
        targets[line, : length - 1] = ids[1:]
        weights[line, : length - 1] = row_weights[1:]
        num_tokens += length
    places = tuple(dataset.places[index] for index in indices)
    row_indices = np.asarray(indices, dtype=np.int64)
    lengths = tuple(int(dataset.offsets[i + 1] - dataset.offsets[i]) for i in indices)
    return MicroBatch(
        token_ids, targets, weights, row_indices, num_tokens, places, lengths, dataset.members(indices)
    )


def microbatches(
    dataset: TokenDataset, indices: Sequence[int], tokens_per_microbatch: int
) -> list[MicroBatch]:
    """Cut the rows `indices` into micro-batches of at most `tokens_per_microbatch` padded tokens each.

    Rows of like length go together, longest first, so that a lack of memory shows at the first step. A
    single row longer than the budget, or a unit that is, is a micro-batch of its own.
    """
    lengths = dataset.lengths()
    ordered = sorted(indices, key=lambda i: (-int(lengths[i]), i))
    batches: list[MicroBatch] = []
    group: list[int] = []
    for unit in dict.fromkeys(dataset.units_of_rows(ordered)):  # in the order of their longest rows
        rows = dataset.rows_of_units([unit])
        if group and (len(group) + len(rows)) * _padded(int(lengths[group[0]])) > tokens_per_microbatch:
            batches.append(_with_beside(dataset, group))
            group = []
        group += sorted(rows, key=lambda i: (-int(lengths[i]), i))
    batches.append(_with_beside(dataset, group))
    return batches


def alone(dataset: TokenDataset, indices: Sequence[int], tokens_per_microbatch: int) -> list[MicroBatch]:
    """Each row a micro-batch of its own, without padding, longest first; whatever the budget.

    Raises ConfigError where rows belong together: they would have to share a micro-batch.
    """
    if dataset.units is not None:
        raise ConfigError(
            "rows that are compared share a micro-batch, and this model takes one row at a time"
        )
    lengths = dataset.lengths()
    batches = []
    for index in sorted(indices, key=lambda i: (-int(lengths[i]), i)):
        batch, length = pad_rows(dataset, [index]), int(lengths[index])
        batches.append(
            replace(
                batch,
                token_ids_BT=batch.token_ids_BT[:, :length],
                targets_BT=batch.targets_BT[:, :length],
                weights_BT=batch.weights_BT[:, :length],
            )
        )
    return batches


def _with_beside(dataset: TokenDataset, group: Sequence[int]) -> MicroBatch:
    batch = pad_rows(dataset, group)
    if dataset.beside is None or batch.members is None:
        return batch
    rows = dataset.beside.rows_of_units(batch.members.unit_indices_U.tolist())
    return replace(batch, beside=pad_rows(dataset.beside, rows))


Batch = Forest | MicroBatch
Cut = Callable[[TokenDataset, Sequence[int], int], Sequence[Batch]]


@functools.lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_units: int) -> NDArray[np.int64]:
    """Kept for the epoch in progress: shuffling a million rows anew at every step would be felt."""
    order = np.random.default_rng([seed, epoch]).permutation(num_units)
    order.flags.writeable = False
    return order


@dataclass(frozen=True)
class BatchPlan:
    """Which rows each optimizer step takes, for any number of epochs.

    A step takes `batch_size` rows, or units where rows belong together. The last step of an epoch takes those that are
    left, so every row is seen once an epoch. `cut` makes the
    micro-batches of a step: `forests`, or `microbatches` (padded) for models that cannot take a forest.
    """

    dataset: TokenDataset
    batch_size: int
    tokens_per_microbatch: int
    seed: int
    cut: Cut = microbatches

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.dataset.num_units // self.batch_size)

    def rows_of_step(self, step: int) -> list[int]:
        """The row indices of optimizer step `step` (0-based)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _epoch_order(self.seed, epoch, self.dataset.num_units)
        start = place * self.batch_size
        return self.dataset.rows_of_units([int(i) for i in order[start : start + self.batch_size]])

    def step(self, step: int) -> Sequence[Batch]:
        """The micro-batches of optimizer step `step` (0-based)."""
        return self.cut(self.dataset, self.rows_of_step(step), self.tokens_per_microbatch)
