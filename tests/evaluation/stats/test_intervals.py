"""Intervals of one share: published values and twins in statsmodels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from luthier.errors import EvaluationError
from luthier.evaluation import stats


def test_intervals_published_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857-872: 81 of 263 and 15 of 148.
    for successes, trials, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
        wilson = stats.wilson_interval(successes, trials)
        assert (wilson.low, wilson.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    for successes, trials, low, high in ((81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617)):
        exact = stats.clopper_pearson_interval(successes, trials)
        assert (exact.low, exact.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 300), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_intervals_equal_their_twins_and_hold_the_rate(
    trials: int, data: st.DataObject, level: float
) -> None:
    successes = data.draw(st.integers(0, trials))
    for interval, method in (
        (stats.wilson_interval(successes, trials, level), "wilson"),
        (stats.clopper_pearson_interval(successes, trials, level), "beta"),
    ):
        low, high = proportion_confint(successes, trials, alpha=1 - level, method=method)
        assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
        assert 0 <= interval.low <= successes / trials <= interval.high <= 1


def test_intervals_without_trials_say_nothing() -> None:
    for interval in (stats.wilson_interval(0, 0), stats.clopper_pearson_interval(0, 0)):
        assert (interval.low, interval.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    "call", [lambda: stats.wilson_interval(3, 2), lambda: stats.clopper_pearson_interval(1, 2, 1.5)]
)
def test_impossible_arguments_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(EvaluationError, match=r"expected"):
        call()
