"""Lengths, counted: exact where they are short, near where they are long, and the same in any two parts."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.histogram import PERCENTILES, Histogram

LENGTHS = st.lists(st.one_of(st.integers(0, 5000), st.integers(0, 10**9)), min_size=1, max_size=60)


def histogram(lengths: list[int]) -> Histogram:
    made = Histogram()
    for length in lengths:
        made.add(length)
    return made


@given(LENGTHS)
def test_percentiles_are_the_nearest_rank_within_their_error(lengths: list[int]) -> None:
    made = histogram(lengths)
    for percent in PERCENTILES:
        exact = int(np.percentile(lengths, percent, method="inverted_cdf"))
        found = made.percentile(percent)
        assert found == exact if exact < 4096 else 0 <= exact - found <= exact * 0.0005
    assert (made.total, made.longest, made.num_rows) == (sum(lengths), max(lengths), len(lengths))


@given(LENGTHS, st.integers(0, 60))
def test_two_parts_add_up(lengths: list[int], at: int) -> None:
    whole = histogram(lengths[:at])
    whole.merge(histogram(lengths[at:]))
    assert whole == histogram(lengths)


@given(LENGTHS)
def test_bins_hold_every_row(lengths: list[int]) -> None:
    bins = histogram(lengths).bins()
    assert 0 < len(bins) <= 20 and sum(one["count"] or 0 for one in bins) == len(lengths)
    assert all(one["to"] == after["from"] for one, after in pairwise(bins))
    for one in bins[:-1]:
        inside = [length for length in lengths if (one["from"] or 0) <= length < (one["to"] or 0)]
        assert abs(len(inside) - (one["count"] or 0)) <= sum(length >= 4096 for length in lengths)
    last = bins[-1]["to"]
    assert last is None or max(lengths) < last


def test_nothing_has_no_length() -> None:
    assert Histogram().percentile(50) == 0 and Histogram().bins() == [] and Histogram().mean == 0
