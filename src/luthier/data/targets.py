"""Whose the targets of a batch are: the rows that each predicted token belongs to, and its place in the dataset.

A batch predicts M tokens, in the order in which a learner gives them: row by row where rows are padded, node by node in
a forest, where rows may share one. Knows nothing of torch, models and losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from luthier.data.batches import Batch, Cut, MicroBatch
from luthier.data.dataset import TokenDataset


@dataclass(frozen=True)
class Entries:
    """D entries, one for each supervised token of each row.

    index_D: its place among the M targets. row_D: its row in the batch. weights_D: how much it counts there.
    position_D: its place in its row, 0 the first token.
    """

    index_D: NDArray[np.int64]
    row_D: NDArray[np.int64]
    weights_D: NDArray[np.float32]
    position_D: NDArray[np.int64]


def entries(batch: Batch) -> Entries:
    """The supervised tokens of the rows of a batch."""
    if isinstance(batch, MicroBatch):
        row_D, before_D = np.nonzero(batch.weights_BT)
        weights_D = batch.weights_BT[row_D, before_D]
        return Entries(np.arange(len(row_D)), row_D, weights_D, before_D + 1)
    chosen = np.flatnonzero(batch.weights_N)
    supervised = np.flatnonzero(batch.row_weights_E)
    row_D = np.repeat(np.arange(len(batch.row_indices_B)), np.diff(batch.row_offsets))[supervised]
    # `chosen` is sorted, and holds every node that a row supervises.
    index_D = np.searchsorted(chosen, batch.row_nodes_E[supervised])
    return Entries(
        index_D, row_D, batch.row_weights_E[supervised], supervised - batch.row_offsets[:-1][row_D]
    )


def target_tokens(batch: Batch, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of the M targets stands in its dataset's flat arrays; of one that rows share, in one of the rows."""
    of = entries(batch)
    tokens_M = np.empty(int(of.index_D.max(initial=-1)) + 1, np.int64)
    tokens_M[of.index_D] = offsets[batch.row_indices_B[of.row_D]] + of.position_D
    return tokens_M


def supervised_tokens(dataset: TokenDataset) -> NDArray[np.int64]:
    """The places of the tokens that are predicted, in the dataset's flat arrays: never the first of a row."""
    counts = dataset.weights != 0
    counts[dataset.offsets[:-1]] = False
    return np.flatnonzero(counts)


def with_soft_labels(cut: Cut) -> Cut:
    """A cut whose batches bring the soft labels of their dataset, where it has some."""

    def labelled(
        dataset: TokenDataset, indices: Sequence[int], tokens_per_microbatch: int
    ) -> Sequence[Batch]:
        batches = cut(dataset, indices, tokens_per_microbatch)
        soft = dataset.soft
        if soft is None:
            return batches
        return [replace(batch, soft=soft.at(target_tokens(batch, dataset.offsets))) for batch in batches]

    return labelled
