"""Tokens of a step, against the plain way to count them."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.sharing import count_nodes, packed_tokens, padded_tokens


def trie_nodes(rows: list[list[int]]) -> int:
    root: dict[int, Any] = {}
    count = 0
    for row in rows:
        node = root
        for token_id in row:
            count += token_id not in node
            node = node.setdefault(token_id, {})
    return count


@given(st.lists(st.lists(st.sampled_from([0, 1, 2, 300, 70_000]), max_size=12), max_size=12))
def test_nodes_are_those_of_a_trie(rows: list[list[int]]) -> None:
    assert count_nodes(np.array(row, dtype=np.int32) for row in rows) == trie_nodes(rows)


def best_fit_decreasing(lengths: list[int], bin_size: int) -> int:
    free: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [space for space in free if space >= length]
        if fitting:
            free.remove(min(fitting))
        free.append(min(fitting, default=bin_size) - length)
    return len(free) * bin_size


@given(
    st.integers(5, 30).flatmap(
        lambda size: st.tuples(st.just(size), st.lists(st.integers(1, size), max_size=40))
    )
)
def test_packing_is_best_fit_decreasing(case: tuple[int, list[int]]) -> None:
    bin_size, rows = case
    lengths = [(length, rows.count(length)) for length in set(rows)]
    assert packed_tokens(lengths, bin_size) == best_fit_decreasing(rows, bin_size)


def test_packing_a_million_rows_costs_what_its_lengths_cost() -> None:
    tokens = packed_tokens([(length, 10_000) for length in range(1, 101)], 1000)
    assert 50_500_000 * 10 <= tokens * 10 <= 50_500_000 * 10.1


@settings(max_examples=20)
@given(st.lists(st.integers(1, 50), min_size=4, max_size=30), st.integers(1, 4))
def test_padding_is_the_mean_over_random_batches(rows: list[int], batch_size: int) -> None:
    lengths = [(length, rows.count(length)) for length in set(rows)]
    drawn = np.random.default_rng(0).choice(rows, (20_000, batch_size))
    simulated = drawn.max(axis=1).mean() * len(rows)
    assert abs(padded_tokens(lengths, batch_size) - simulated) <= 0.03 * simulated
    assert padded_tokens(lengths, 1) == sum(rows) or abs(padded_tokens(lengths, 1) - sum(rows)) < 1e-6
