"""The rows of a step as a prefix tree: tokens that rows share stand in it, and are computed, once.

Exactly the rows that the step takes anyway, so the gradient is the ordinary one. Sorted rows are merged into a tree
that is laid out depth first: a node is a token, its parent the token before it, and a node's loss is predicted from
its parent's hidden state. Rows with different first tokens give several trees; with nothing shared, the rows lie end
to end. This file knows nothing of torch, models or losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from luthier.data.dataset import TokenDataset
from luthier.data.sharing import common_prefix
from luthier.data.soft_labels import SoftTargets
from luthier.data.units import Members


@dataclass(frozen=True)
class Forest:
    """Rows that go through the model together. N nodes, B rows, S segments, E tokens of all rows (shared ones again).

    token_ids_N: int64. parents_N: the node before, -1 at a root; always smaller than the node's own index.
    depths_N: tokens before the node on its path, which is its position in every row that holds it.
    weights_N: float32, how much the prediction of this node counts, summed over the rows that hold it; 0 at roots.
    row_nodes_E, row_offsets: the nodes of row b are `row_nodes_E[row_offsets[b]:row_offsets[b + 1]]`.
    row_weights_E: float32, each row's own weight of the prediction of its token; 0 at the row's first.
    row_indices_B: which rows of the dataset these are; places_B: the `file:line` that each came from.
    members: the rows as units, where they belong together. beside: the rows that are measured before the step, and not
    learnt from (see TokenDataset). soft: what a teacher says at each target, where one was asked.
    """

    token_ids_N: NDArray[np.int64]
    parents_N: NDArray[np.int64]
    depths_N: NDArray[np.int64]
    weights_N: NDArray[np.float32]
    row_nodes_E: NDArray[np.int64]
    row_weights_E: NDArray[np.float32]
    row_offsets: NDArray[np.int64]
    row_indices_B: NDArray[np.int64]
    places_B: tuple[str, ...] = ()
    members: Members | None = None
    beside: "Forest | None" = None
    soft: SoftTargets | None = None

    @property
    def num_nodes(self) -> int:
        return len(self.token_ids_N)

    @property
    def num_tokens(self) -> int:
        """The tokens of the rows, shared ones counted for every row."""
        return len(self.row_nodes_E)

    @property
    def weight_sum(self) -> float:
        """What the loss of a step is divided by: the weight of its tokens, or the number of its units."""
        if self.members is not None:
            return float(self.members.num_units)
        return float(self.row_weights_E.sum(dtype=np.float64))

    @property
    def num_supervised(self) -> int:
        """The tokens of the rows that count, shared ones for every row."""
        return int(np.count_nonzero(self.row_weights_E))

    def nodes_of_row(self, row: int) -> NDArray[np.int64]:
        """The nodes of row `row` (its place in this forest), in their order."""
        return self.row_nodes_E[self.row_offsets[row] : self.row_offsets[row + 1]]

    @cached_property
    def segments(self) -> "Segments":
        """The unbranched stretches of the tree."""
        return _segments(self.parents_N)


@dataclass(frozen=True)
class Segments:
    """Unbranched stretches, depth first. Segment s is the nodes `starts_S[s]:ends_S[s]`; parents_S: -1 at a root."""

    starts_S: NDArray[np.int64]
    ends_S: NDArray[np.int64]
    parents_S: NDArray[np.int64]

    def path(self, segment: int) -> list[int]:
        """The segments from the root to `segment`, itself the last."""
        path = [segment]
        while (parent := int(self.parents_S[path[-1]])) >= 0:
            path.append(parent)
        return path[::-1]


def _segments(parents_N: NDArray[np.int64]) -> Segments:
    index = np.arange(len(parents_N))
    num_children = np.bincount(parents_N[parents_N >= 0], minlength=len(parents_N))
    begins = (parents_N != index - 1) | (parents_N < 0) | (num_children[parents_N] > 1)
    starts = np.flatnonzero(begins)
    segment_of = np.cumsum(begins) - 1
    above = parents_N[starts]
    return Segments(
        starts, np.append(starts[1:], len(parents_N)), np.where(above >= 0, segment_of[above], -1)
    )


def sort_rows(dataset: TokenDataset, indices: Sequence[int]) -> list[int]:
    """The rows in the order of their tokens, so that rows with a common prefix stand together."""
    # Big-endian bytes compare as the ids do.
    return sorted(indices, key=lambda index: (dataset.row(index)[0].astype(">i4").tobytes(), index))


def plant(dataset: TokenDataset, ordered: Sequence[int]) -> Forest:
    """The forest of some rows, which `sort_rows` has put in order."""
    ids, parents, depths = [], [], []
    row_nodes: list[NDArray[np.int64]] = []
    num_nodes = 0
    previous_ids, path = np.empty(0, np.int32), np.empty(0, np.int64)
    for index in ordered:
        row_ids, _ = dataset.row(index)
        shared = common_prefix(previous_ids, row_ids)
        new = np.arange(num_nodes, num_nodes + len(row_ids) - shared)
        num_nodes += len(new)
        path = np.concatenate([path[:shared], new])
        ids.append(row_ids[shared:])
        parents.append(np.concatenate([[-1], path])[shared : len(path)])
        depths.append(np.arange(shared, len(row_ids)))
        row_nodes.append(path)
        previous_ids = row_ids
    nodes = np.concatenate(row_nodes)
    row_weights = np.concatenate([dataset.row(index)[1] for index in ordered]).astype(np.float32)
    lengths = [len(path) for path in row_nodes]
    row_offsets = np.concatenate([[0], np.cumsum(lengths)])
    row_weights[row_offsets[:-1]] = 0.0
    return Forest(
        np.concatenate(ids).astype(np.int64),
        np.concatenate(parents),
        np.concatenate(depths),
        np.bincount(nodes, weights=row_weights, minlength=num_nodes).astype(np.float32),
        nodes,
        row_weights,
        row_offsets,
        np.asarray(ordered, dtype=np.int64),
        tuple(dataset.places[index] for index in ordered),
        dataset.members(ordered),
    )


def forests(dataset: TokenDataset, indices: Sequence[int], nodes_per_microbatch: int) -> list[Forest]:
    """Cut the rows into forests of at most `nodes_per_microbatch` nodes each, the largest first.

    Rows with common prefixes stay together where the budget allows, the rows of a unit always; a single row, or unit,
    longer than the budget is a forest of its own. The largest comes first, so that a lack of memory shows at once.
    """
    groups: list[list[int]] = []
    size = 0
    previous: list[NDArray[np.int32]] = []
    for unit in dict.fromkeys(dataset.units_of_rows(sort_rows(dataset, indices))):
        unit_rows = dataset.rows_of_units([unit])
        ids = [dataset.row(index)[0] for index in unit_rows]
        new = _new_nodes(ids, previous)
        if not groups or size + new > nodes_per_microbatch:
            groups.append([])
            size, new = 0, _new_nodes(ids, [])
        groups[-1] += unit_rows
        size += new
        previous = ids
    planted = [_plant_group(dataset, group) for group in groups]
    return sorted(planted, key=lambda forest: (-forest.num_nodes, int(forest.row_indices_B[0])))


def _new_nodes(rows: Sequence[NDArray[np.int32]], before: Sequence[NDArray[np.int32]]) -> int:
    """How many nodes rows add at most to a tree that holds the rows `before`."""
    known = list(before)
    count = 0
    for row in rows:
        count += len(row) - max((common_prefix(one, row) for one in known), default=0)
        known.append(row)
    return count


def _plant_group(dataset: TokenDataset, group: Sequence[int]) -> Forest:
    forest = plant(dataset, sort_rows(dataset, group))
    if dataset.beside is None or forest.members is None:
        return forest
    rows = dataset.beside.rows_of_units(forest.members.unit_indices_U.tolist())
    return replace(forest, beside=plant(dataset.beside, sort_rows(dataset.beside, rows)))
