"""Distinct counts against exact ones, and the laws of merging."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.shingles import mix
from luthier.data.sketch import DistinctCount


def sketch_of(values: list[int]) -> DistinctCount:
    found = DistinctCount()
    found.add(np.array(values, np.uint64))
    return found


@pytest.mark.parametrize("number", [0, 1, 10, 500, 20_000, 100_000, 1_000_000])
def test_it_counts_within_its_error(number: int) -> None:
    estimates = []
    for start in range(4):
        sketch = DistinctCount()
        hashes = mix(np.arange(start * 10**7, start * 10**7 + number, dtype=np.uint64))
        sketch.add(hashes)
        sketch.add(hashes[::2])
        estimates.append(sketch.estimate())
    assert abs(np.mean(estimates) - number) <= 0.012 * number
    assert max(abs(one - number) for one in estimates) <= 0.03 * number


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=20), min_size=3, max_size=3))
def test_merging_is_exact_in_any_grouping(parts: list[list[int]]) -> None:
    whole = pickle.dumps(sketch_of([value for part in parts for value in part]))
    a, b, c = map(sketch_of, parts)
    a.merge(b)
    a.merge(c)
    assert pickle.dumps(a) == whole
    a, b, c = map(sketch_of, parts)
    c.merge(b)
    c.merge(a)
    assert pickle.dumps(c) == whole


def test_extreme_hashes() -> None:
    assert sketch_of([0, 2**64 - 1, 1]).estimate() in (2, 3)
