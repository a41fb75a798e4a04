"""Repeated scores: twins in scipy and statsmodels, a published table, simulated coverage."""

import warnings

import numpy as np
import pytest
from scipy.stats import f_oneway
from statsmodels.regression.mixed_linear_model import MixedLM

from luthier.errors import EvaluationError
from luthier.evaluation import stats


def judged(
    generator: np.random.Generator, num_items: int, num_repeats: int, truth: float = 3.0
) -> np.ndarray:
    items = generator.normal(truth, 0.8, (num_items, 1))
    return items + generator.normal(0, 0.5, (num_items, num_repeats))


def test_variance_components_equal_their_twins() -> None:
    scores_NK = judged(np.random.default_rng(1), 40, 3)
    found = stats.repeated_mean(scores_NK.tolist())
    groups = np.repeat(np.arange(40), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = MixedLM(scores_NK.ravel(), np.ones(120), groups).fit(reml=True)
    assert found.mean == pytest.approx(float(twin.params[0]))
    assert found.judge_variance == pytest.approx(float(twin.scale), rel=1e-3)
    assert found.item_variance == pytest.approx(float(twin.cov_re[0, 0]), rel=1e-3)
    ratio = f_oneway(*scores_NK).statistic
    assert found.judge_share == pytest.approx(1 / ratio)
    assert found.reliability == pytest.approx(1 - 1 / ratio)


def test_reliability_published_values() -> None:
    # Shrout and Fleiss (1979), table 2: six targets, four judges; ICC(1,1) = 0.17 and ICC(1,4) = 0.44.
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = stats.repeated_mean(table)
    assert found.reliability == pytest.approx(0.44, abs=0.005)
    single = found.item_variance / (found.item_variance + found.judge_variance)
    assert single == pytest.approx(0.17, abs=0.005)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(600):
        interval = stats.repeated_mean(judged(generator, 15, 3).tolist()).interval
        hits += interval.low <= 3.0 <= interval.high
    assert hits / 600 == pytest.approx(0.95, abs=0.03)


def test_the_noise_of_both_sides_is_in_a_difference() -> None:
    generator = np.random.default_rng(7)
    hits, shares = 0, []
    for _ in range(400):
        common = generator.normal(3, 1.5, (20, 1))
        first = common + generator.normal(0, 0.5, (20, 4))
        second = common + 0.3 + generator.normal(0, 0.5, (20, 4))
        found = stats.repeated_difference(first.tolist(), second.tolist())
        hits += found.interval.low <= 0.3 <= found.interval.high
        shares.append(found.judge_variance)
    assert hits / 400 == pytest.approx(0.95, abs=0.035)
    assert np.mean(shares) == pytest.approx(0.5, rel=0.05)  # 0.25 of either side


def test_a_judge_that_never_wavers_has_no_share() -> None:
    found = stats.repeated_mean([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    assert (found.judge_variance, found.judge_share, found.reliability) == (0.0, 0.0, 1.0)
    same = stats.repeated_mean([[1.0, 1.0], [1.0, 1.0]])
    assert (same.interval.low, same.interval.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.repeated_mean([[1.0, 2.0]]),
        lambda: stats.repeated_mean([[1.0], [2.0]]),
        lambda: stats.repeated_mean([[1.0, 2.0], [2.0]]),
        lambda: stats.repeated_mean([[1.0, 2.0], [2.0, float("inf")]]),
        lambda: stats.repeated_difference([[1.0, 2.0]] * 2, [[1.0, 2.0]] * 3),
    ],
)
def test_impossible_arguments_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(EvaluationError, match="expected"):
        call()
