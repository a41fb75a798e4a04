"""The forest holds every row, shares what rows begin with, and loses no weight."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.dataset import TokenDataset
from luthier.data.forest import Forest, forests, plant, sort_rows
from luthier.data.sharing import count_nodes

Rows = list[list[int]]
# Few different ids, so that rows share beginnings, repeat each other and begin each other.
ROWS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=10)


def dataset(rows: Rows, seed: int = 0) -> TokenDataset:
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    weights = np.random.default_rng(seed).choice([0, 0.5, 1], size=offsets[-1]).astype(np.float32)
    ids = np.concatenate([np.array(row, np.int32) for row in rows])
    return TokenDataset(ids, weights, offsets, [f"rows:{i + 1}" for i in range(len(rows))])


def plant_all(rows: Rows) -> tuple[TokenDataset, Forest]:
    data = dataset(rows)
    return data, plant(data, sort_rows(data, range(len(rows))))


@given(ROWS)
def test_every_row_is_a_path_from_a_root(rows: Rows) -> None:
    data, forest = plant_all(rows)
    for place, index in enumerate(forest.row_indices_B):
        nodes = forest.nodes_of_row(place)
        assert forest.token_ids_N[nodes].tolist() == rows[index]
        assert forest.parents_N[nodes].tolist() == [-1, *nodes[:-1]]
        assert forest.depths_N[nodes].tolist() == list(range(len(nodes)))
        own = data.row(index)[1].copy()
        own[0] = 0
        start = forest.row_offsets[place]
        assert np.array_equal(forest.row_weights_E[start : start + len(nodes)], own)
    assert sorted(forest.row_indices_B) == list(range(len(rows)))
    assert forest.places_B == tuple(data.places[i] for i in forest.row_indices_B)


@given(ROWS)
def test_shared_beginnings_stand_once(rows: Rows) -> None:
    _, forest = plant_all(rows)
    prefixes = {tuple(row[:length]) for row in rows for length in range(1, len(row) + 1)}
    assert forest.num_nodes == len(prefixes)
    assert forest.num_tokens == sum(map(len, rows))


@given(ROWS)
def test_weights_add_up(rows: Rows) -> None:
    _, forest = plant_all(rows)
    by_node = np.zeros(forest.num_nodes)
    np.add.at(by_node, forest.row_nodes_E, forest.row_weights_E)
    assert np.array_equal(forest.weights_N, by_node)
    assert not forest.weights_N[forest.parents_N < 0].any()
    assert forest.weight_sum == pytest.approx(by_node.sum())


@given(ROWS)
def test_segments_are_the_unbranched_stretches(rows: Rows) -> None:
    _, forest = plant_all(rows)
    segments = forest.segments
    assert segments.starts_S[0] == 0 and segments.ends_S[-1] == forest.num_nodes
    assert np.array_equal(segments.starts_S[1:], segments.ends_S[:-1])
    for segment, (start, end) in enumerate(zip(segments.starts_S, segments.ends_S, strict=True)):
        assert forest.parents_N[start + 1 : end].tolist() == list(range(start, end - 1))
        path = segments.path(segment)
        nodes = [n for s in path for n in range(segments.starts_S[s], segments.ends_S[s])]
        assert forest.depths_N[nodes].tolist() == list(range(len(nodes)))


@given(ROWS, st.integers(1, 40))
def test_cut_by_a_budget_nothing_is_lost(rows: Rows, budget: int) -> None:
    data = dataset(rows)
    cut = forests(data, range(len(rows)), budget)
    assert sorted(i for forest in cut for i in forest.row_indices_B) == list(range(len(rows)))
    assert all(forest.num_nodes <= budget or len(forest.row_indices_B) == 1 for forest in cut)
    sizes = [forest.num_nodes for forest in cut]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(f.weight_sum for f in cut) == pytest.approx(plant_all(rows)[1].weight_sum)


@given(ROWS)
def test_the_forecast_of_sharing_counts_the_same_nodes(rows: Rows) -> None:
    data, forest = plant_all(rows)
    assert count_nodes([data.row(i)[0] for i in range(len(rows))]) == forest.num_nodes
