"""Statistics: published values, twins in scipy and statsmodels, and properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

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


def test_bootstrap_equals_its_twin() -> None:
    generator = np.random.default_rng(7)
    first = (generator.random(120) < 0.4).astype(float)
    second = (generator.random(120) < 0.6).astype(float)
    ours = stats.bootstrap_difference(first.tolist(), second.tolist(), num_resamples=50_000)
    twin = bootstrap(
        (second - first,), np.mean, n_resamples=50_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (ours.low, ours.high) == (pytest.approx(twin.low, abs=0.01), pytest.approx(twin.high, abs=0.01))


def test_bootstrap_of_graded_scores_equals_resampling_by_index() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.random(80), generator.random(80)
    ours = stats.bootstrap_difference(first.tolist(), second.tolist(), num_resamples=40_000)
    drawn = (second - first)[generator.integers(0, 80, (40_000, 80))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (ours.low, ours.high) == (pytest.approx(low, abs=0.005), pytest.approx(high, abs=0.005))


pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=40)
@given(pairs)
def test_bootstrap_is_repeatable_bounded_and_symmetric(answers: list[tuple[bool, bool]]) -> None:
    first, second = [float(a) for a, _ in answers], [float(b) for _, b in answers]
    there = stats.bootstrap_difference(first, second, num_resamples=2000)
    back = stats.bootstrap_difference(second, first, num_resamples=2000)
    assert there == stats.bootstrap_difference(first, second, num_resamples=2000)
    assert -1 <= there.low <= there.high <= 1
    assert (there.low, there.high) == (-back.high, -back.low)


def test_bootstrap_in_pieces_keeps_memory_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_MAX_CELLS", 100)
    interval = stats.bootstrap_difference([0.0, 1.0, 0.5] * 10, [1.0, 1.0, 0.25] * 10, num_resamples=999)
    assert interval.low < (1 + 0 - 0.25) / 3 < interval.high


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.mcnemar_exact(-1, 2),
        lambda: stats.wilson_interval(3, 2),
        lambda: stats.clopper_pearson_interval(1, 2, 1.5),
        lambda: stats.bootstrap_difference([], []),
        lambda: stats.bootstrap_difference([1.0], [1.0, 0.0]),
        lambda: stats.wins_needed(0, 0),
    ],
)
def test_impossible_arguments_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(EvaluationError, match=r"expected"):
        call()
