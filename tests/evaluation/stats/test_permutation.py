"""The paired permutation test: twins in scipy and by hand, McNemar's test as its special case, whole sources."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from luthier.errors import EvaluationError
from luthier.evaluation import stats
from luthier.evaluation.stats.permutation import Counting

tenths = st.integers(0, 10).map(lambda tenth: tenth / 10)


@settings(max_examples=60)
@given(st.lists(st.tuples(tenths, tenths), min_size=1, max_size=10))
def test_equals_all_ways_counted_by_hand(pairs: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = stats.permutation_test(first, second)
    tens = [round(10 * (b - a)) for a, b in pairs]
    ways = [
        abs(sum(sign * ten for sign, ten in zip(signs, tens, strict=True)))
        for signs in product((-1, 1), repeat=len(tens))
    ]
    assert found.counting is Counting.EXACT
    assert found.p_value == pytest.approx(sum(way >= abs(sum(tens)) for way in ways) / len(ways), rel=1e-9)
    assert found.p_value == pytest.approx(stats.permutation_test(second, first).p_value, rel=1e-9)


def test_equals_its_twin() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.random(12), generator.random(12) + 0.15
    twin = permutation_test(
        (second, first), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert stats.permutation_test(first.tolist(), second.tolist()).p_value == pytest.approx(twin.pvalue)


@settings(max_examples=60)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 50))
def test_of_right_or_wrong_answers_is_mcnemars_test(wins: int, losses: int, ties: int) -> None:
    first = [0.0] * wins + [1.0] * losses + [1.0] * (ties + 1)
    second = [1.0] * wins + [0.0] * losses + [1.0] * (ties + 1)
    found = stats.permutation_test(first, second)
    assert found.counting is Counting.EXACT
    assert found.p_value == pytest.approx(stats.mcnemar_exact(wins, losses), rel=1e-9)
    assert found.difference == pytest.approx((wins - losses) / len(first))


def test_five_of_fifty_without_a_loss() -> None:
    assert stats.permutation_test([0.0] * 50, [1.0] * 5 + [0.0] * 45).p_value == pytest.approx(0.0625)


def test_drawn_ways_come_near_to_counted_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(8)
    first, second = generator.random(16).tolist(), (generator.random(16) + 0.1).tolist()
    exact = stats.permutation_test(first, second)
    monkeypatch.setattr("luthier.evaluation.stats.permutation._MAX_EXACT", 1)
    monkeypatch.setattr("luthier.evaluation.stats.permutation._MAX_CELLS", 1000)
    sampled = stats.permutation_test(first, second)
    assert (exact.counting, sampled.counting) == (Counting.EXACT, Counting.SAMPLED)
    assert sampled.p_value == pytest.approx(exact.p_value, abs=0.006)
    assert sampled == stats.permutation_test(first, second)
    far = stats.permutation_test([0.0] * 200, [0.5 + i / 1000 for i in range(200)], num_permutations=999)
    assert far.p_value == 1 / 1000  # never 0


def test_a_source_counts_once_however_many_items_it_has() -> None:
    first, second = [0.0] * 30, [1.0] * 30
    sources = [index // 10 for index in range(30)]
    assert stats.permutation_test(first, second).p_value < 1e-8
    assert stats.permutation_test(first, second, clusters=sources).p_value == pytest.approx(0.25)


def test_false_alarms_stay_at_their_rate_where_items_share_sources() -> None:
    generator = np.random.default_rng(21)
    sources = [index // 8 for index in range(96)]
    alarms = {"items": 0, "sources": 0}
    for _ in range(200):
        gaps = np.repeat(generator.normal(0, 0.3, 12), 8) + generator.normal(0, 0.1, 96)
        first, second = [0.0] * 96, gaps.tolist()
        alarms["items"] += stats.permutation_test(first, second, num_permutations=500).p_value < 0.05
        alarms["sources"] += stats.permutation_test(first, second, clusters=sources).p_value < 0.05
    assert alarms["sources"] / 200 < 0.10
    assert alarms["items"] / 200 > 0.3


def test_impossible_arguments_are_refused() -> None:
    for first, second, sources in (([], [], None), ([1.0], [], None), ([1.0], [0.0], ["a", "b"])):
        with pytest.raises(EvaluationError, match="expected"):
            stats.permutation_test(first, second, clusters=sources)
