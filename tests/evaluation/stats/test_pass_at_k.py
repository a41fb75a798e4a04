"""pass@k: the published formula, all draws by hand, and simulation of its variance."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.errors import EvaluationError
from luthier.evaluation import stats


@given(st.integers(1, 9), st.data())
def test_equals_all_draws_counted_by_hand(num_tries: int, data: st.DataObject) -> None:
    num_right, k = data.draw(st.integers(0, num_tries)), data.draw(st.integers(1, num_tries))
    draws = list(combinations([True] * num_right + [False] * (num_tries - num_right), k))
    assert stats.pass_at_k(num_tries, num_right, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@given(st.integers(1, 300), st.data())
def test_equals_the_published_program(num_tries: int, data: st.DataObject) -> None:
    num_right, k = data.draw(st.integers(0, num_tries)), data.draw(st.integers(1, num_tries))
    if num_tries - num_right < k:
        twin = 1.0
    else:
        twin = 1.0 - np.prod(1.0 - k / np.arange(num_tries - num_right + 1, num_tries + 1))
    assert stats.pass_at_k(num_tries, num_right, k) == pytest.approx(twin, rel=1e-9, abs=1e-12)


def test_mean_and_variance_equal_simulation() -> None:
    generator = np.random.default_rng(3)
    chances = generator.beta(1, 3, 25)  # the same 25 problems, tried again and again
    right = generator.binomial(10, chances, size=(3000, 25))
    results = [stats.pass_at_k_of([10] * 25, row.tolist(), 3) for row in right[:200]]
    truth = (1 - (1 - chances) ** 3).mean()
    estimates = np.array([[stats.pass_at_k(10, int(c), 3) for c in row] for row in right]).mean(axis=1)
    assert estimates.mean() == pytest.approx(truth, abs=0.003)
    assert np.mean([r.tries_variance for r in results]) == pytest.approx(estimates.var(), rel=0.1)
    assert np.mean([r.interval.low <= truth <= r.interval.high for r in results]) > 0.95
    assert all(r.variance is not None and r.variance > (r.tries_variance or 0) for r in results)


def test_what_cannot_be_told_is_none() -> None:
    one = stats.pass_at_k_of([4], [2], 3)
    assert (one.variance, one.tries_variance, one.estimate) == (None, None, 1.0)
    solved = stats.pass_at_k_of([1] * 30, [1] * 30, 1)
    assert solved.interval == stats.clopper_pearson_interval(30, 30)


def test_of_single_tries_is_the_accuracy() -> None:
    found = stats.pass_at_k_of([1] * 8, [1, 0, 0, 1, 1, 0, 1, 1], 1)
    assert found.estimate == 5 / 8
    assert found.interval == stats.bootstrap_mean([1, 0, 0, 1, 1, 0, 1, 1])


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.pass_at_k(3, 4, 1),
        lambda: stats.pass_at_k(3, 1, 4),
        lambda: stats.pass_at_k(3, 1, 0),
        lambda: stats.pass_at_k_of([], [], 1),
        lambda: stats.pass_at_k_of([3], [1, 2], 1),
    ],
)
def test_impossible_arguments_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(EvaluationError, match="expected"):
        call()
