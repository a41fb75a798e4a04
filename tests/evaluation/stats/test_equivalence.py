"""Not worse, and as good as: published values, twins in statsmodels and scipy, simulated false alarms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from statsmodels.stats.weightstats import ttost_paired

from luthier.errors import EvaluationError
from luthier.evaluation import stats
from luthier.evaluation.stats.equivalence import tango_z


def test_published_values() -> None:
    # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850-2875: airway hyper-responsiveness,
    # 1 and 7 discordant pairs of 21, Tango's 95% interval.
    found = stats.equivalence_of_pairs(1, 7, 21, margin=0.1, alpha=0.025)
    assert (found.interval.low, found.interval.high) == (
        pytest.approx(-0.517, abs=5e-4),
        pytest.approx(-0.026, abs=5e-4),
    )


@settings(max_examples=60)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 30), st.floats(-0.9, 0.9))
def test_the_score_equals_one_whose_nuisance_is_searched(
    wins: int, losses: int, ties: int, difference: float
) -> None:
    """q by maximising the likelihood, instead of by the formula."""
    num_pairs = wins + losses + ties

    def minus_log_likelihood(lost: float) -> float:
        won = lost + difference
        shares = ((wins, won), (losses, lost), (ties, 1 - won - lost))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in shares if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    lost = minimize_scalar(
        minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x
    variance = num_pairs * (2 * lost + difference - difference**2)
    if variance > 1e-3:
        twin = (wins - losses - num_pairs * difference) / math.sqrt(variance)
        assert tango_z(wins, losses, num_pairs, difference) == pytest.approx(twin, rel=1e-3, abs=1e-3)


def test_the_score_at_no_difference_is_mcnemars() -> None:
    assert tango_z(9, 4, 50, 0.0) == pytest.approx((9 - 4) / math.sqrt(13))
    assert tango_z(0, 0, 50, 0.0) == 0.0


@settings(max_examples=60)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 200), st.floats(0.01, 0.5))
def test_the_interval_and_the_p_values_say_the_same(wins: int, losses: int, ties: int, margin: float) -> None:
    found = stats.equivalence_of_pairs(wins, losses, wins + losses + ties, margin)
    assert -1 <= found.interval.low <= found.difference <= found.interval.high <= 1
    if abs(found.interval.low + margin) > 1e-9:
        assert (found.p_not_worse < 0.05) == (found.interval.low > -margin)
    if abs(found.interval.high - margin) > 1e-9:
        assert (found.p_not_better < 0.05) == (found.interval.high < margin)
    back = stats.equivalence_of_pairs(losses, wins, wins + losses + ties, margin)
    assert back.p_not_worse == found.p_not_better
    assert back.interval.low == pytest.approx(-found.interval.high, abs=1e-9)


def test_an_identical_copy_needs_items_too() -> None:
    few, many = (stats.equivalence_of_pairs(0, 0, n, margin=0.05) for n in (40, 60))
    assert few.p_not_worse > 0.05 > many.p_not_worse
    assert stats.equivalence_of_scores([0.3] * 60, [0.3] * 60, margin=0.05) == many


@pytest.mark.parametrize(("wins", "losses"), [(0, 30), (30, 0)])
def test_all_items_on_one_side(wins: int, losses: int) -> None:
    found = stats.equivalence_of_pairs(wins, losses, 30, margin=0.05)
    assert (found.interval.high == 1.0) == (wins == 30)
    assert (found.interval.low == -1.0) == (losses == 30)
    assert found.p_equivalent > 0.99


def test_one_worse_by_the_margin_is_rarely_called_not_worse() -> None:
    generator = np.random.default_rng(6)
    won, lost = 0.05, 0.15  # worse by exactly the margin of 0.1
    drawn = generator.multinomial(200, [won, lost, 0.8], size=3000)
    alarms = [stats.equivalence_of_pairs(int(w), int(lo), 200, 0.1).p_not_worse < 0.05 for w, lo, _ in drawn]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.02)


def test_scores_equal_their_twin() -> None:
    generator = np.random.default_rng(9)
    first = generator.uniform(0.2, 0.7, 50)
    second = first + generator.normal(0.01, 0.05, 50)
    found = stats.equivalence_of_scores(first.tolist(), second.tolist(), margin=0.03)
    p_value, (_, p_lower, _), (_, p_upper, _) = ttost_paired(second, first, -0.03, 0.03)
    assert found.p_equivalent == pytest.approx(p_value)
    assert (found.p_not_worse, found.p_not_better) == (pytest.approx(p_lower), pytest.approx(p_upper))
    assert (found.p_not_worse < 0.05) == (found.interval.low > -0.03)
    assert found.interval.confidence == pytest.approx(0.9)


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.equivalence_of_pairs(-1, 0, 5, 0.1),
        lambda: stats.equivalence_of_pairs(3, 3, 5, 0.1),
        lambda: stats.equivalence_of_pairs(1, 1, 5, 0.0),
        lambda: stats.equivalence_of_pairs(1, 1, 5, 1.0),
        lambda: stats.equivalence_of_pairs(1, 1, 5, 0.1, alpha=0.5),
        lambda: stats.equivalence_of_scores([0.5], [0.6], 0.1),
        lambda: stats.equivalence_of_scores([0.5, 0.5], [0.75, 0.75], 0.1),
        lambda: stats.equivalence_of_scores([5.0, 3.0], [4.0, 4.0], 0.1),
    ],
)
def test_impossible_arguments_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(EvaluationError, match="expected"):
        call()
