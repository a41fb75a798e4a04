"""McNemar's exact test: published values, twins in scipy and statsmodels, properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar

from luthier.errors import EvaluationError
from luthier.evaluation import stats

counts = st.integers(0, 60)


def test_mcnemar_published_values() -> None:
    # Five net wins of fifty without a regression: not significant, whatever the rule of thumb says.
    assert stats.mcnemar_exact(5, 0) == 0.0625
    assert stats.mcnemar_exact(6, 0) == 0.03125
    # Fagerland, Lydersen and Laake (2013), airway hyper-responsiveness: 1 against 7 discordant pairs.
    assert stats.mcnemar_exact(7, 1) == pytest.approx(0.0703, abs=5e-5)
    assert stats.mcnemar_exact(0, 0) == 1.0


@given(counts, counts)
def test_mcnemar_equals_its_twins_and_is_symmetric(wins: int, losses: int) -> None:
    p_value = stats.mcnemar_exact(wins, losses)
    assert 0 < p_value <= 1
    assert p_value == stats.mcnemar_exact(losses, wins)
    if wins + losses:
        assert p_value == pytest.approx(binomtest(wins, wins + losses, 0.5).pvalue, rel=1e-9)
        table = [[10, losses], [wins, 10]]
        assert p_value == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-9)


def test_mcnemar_with_many_pairs() -> None:
    assert stats.mcnemar_exact(5200, 4800) == pytest.approx(binomtest(5200, 10_000, 0.5).pvalue, rel=1e-9)


@given(st.integers(0, 200), st.sampled_from([0.1, 0.05, 0.01]))
def test_wins_needed_is_the_smallest_number_that_suffices(losses: int, alpha: float) -> None:
    wins = stats.wins_needed(losses, alpha)
    assert stats.mcnemar_exact(wins, losses) < alpha <= stats.mcnemar_exact(wins - 1, losses)


def test_wins_needed_without_losses() -> None:
    assert stats.wins_needed(0) == 6


@pytest.mark.parametrize("call", [lambda: stats.mcnemar_exact(-1, 2), lambda: stats.wins_needed(0, 0)])
def test_impossible_arguments_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(EvaluationError, match=r"expected"):
        call()
