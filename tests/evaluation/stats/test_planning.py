"""Power and numbers of items: twins by brute force, by simulation, and by the normal approximation."""

from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import NormalIndPower

from luthier.errors import EvaluationError
from luthier.evaluation import stats


def brute_power(num_items: int, gap: float, discordance: float, alpha: float) -> float:
    """Every number of wins and losses with its multinomial probability."""
    won, lost = (discordance + gap) / 2, (discordance - gap) / 2
    total = 0.0
    for wins in range(num_items + 1):
        for losses in range(num_items + 1 - wins):
            if wins > losses and stats.mcnemar_exact(wins, losses) < alpha:
                ways = comb(num_items, wins) * comb(num_items - wins, losses)
                total += ways * won**wins * lost**losses * (1 - discordance) ** (num_items - wins - losses)
    return total


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 45), st.floats(0.02, 1), st.floats(0.02, 1), st.sampled_from([0.05, 0.1, 0.01]))
def test_power_equals_brute_force(num_items: int, one: float, other: float, alpha: float) -> None:
    gap, discordance = min(one, other), max(one, other)
    power = stats.mcnemar_power(num_items, gap, discordance, alpha)
    assert power == pytest.approx(brute_power(num_items, gap, discordance, alpha), abs=1e-9)


def test_power_equals_simulation() -> None:
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(168, [0.15, 0.05, 0.8], size=4000)
    seen = np.mean([w > lo and stats.mcnemar_exact(int(w), int(lo)) < 0.05 for w, lo, _ in drawn])
    assert stats.mcnemar_power(168, 0.1, 0.2) == pytest.approx(seen, abs=0.025)


def test_fifty_items_do_not_suffice_for_ten_points() -> None:
    # At best: nothing is lost. Six or more wins of fifty, each with probability 1/10.
    at_least_six = 1 - sum(comb(50, k) * 0.1**k * 0.9 ** (50 - k) for k in range(6))
    assert stats.mcnemar_power(50, 0.1, 0.1) == pytest.approx(at_least_six, abs=1e-12)
    assert at_least_six == pytest.approx(0.3839, abs=1e-4)
    assert stats.items_needed(0.1, 0.1) == 78
    assert stats.items_needed(0.1, 0.2) == 168
    assert stats.items_needed(0.1, 0.5) == 408


@pytest.mark.parametrize(("gap", "discordance"), [(0.1, 0.2), (0.05, 0.2), (0.02, 0.1), (0.1, 0.5)])
def test_items_needed_lie_near_the_normal_approximation(gap: float, discordance: float) -> None:
    # The test of discordant pairs as a one-sample z test of the share of wins against 1/2.
    effect = gap / sqrt(discordance - gap**2)
    twin = NormalIndPower(ddof=0).solve_power(effect, power=0.8, alpha=0.05, ratio=0)
    found = stats.items_needed(gap, discordance)
    assert 0.97 * twin < found < 1.15 * twin


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_the_number_suffices_and_goes_on_to_suffice(power: float) -> None:
    needed = stats.items_needed(0.15, 0.3, power)
    assert stats.mcnemar_power(needed - 1, 0.15, 0.3) < power
    for more in range(100):
        assert stats.mcnemar_power(needed + more, 0.15, 0.3) >= power


def test_the_smallest_gap_is_the_one_whose_items_are_needed() -> None:
    gap = stats.smallest_gap(200, 0.3)
    assert gap is not None
    assert stats.mcnemar_power(200, gap, 0.3) >= 0.8 > stats.mcnemar_power(200, gap - 2e-4, 0.3)
    assert stats.smallest_gap(50, 0.1) is None
    assert stats.smallest_gap(5, 1.0) is None  # five wins of five are p = 0.0625


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.mcnemar_power(0, 0.1, 0.2),
        lambda: stats.mcnemar_power(10, 0.0, 0.2),
        lambda: stats.mcnemar_power(10, 0.3, 0.2),
        lambda: stats.mcnemar_power(10, 0.3, 1.2),
        lambda: stats.items_needed(0.1, 0.2, power=1.0),
        lambda: stats.items_needed(0.1, 0.2, alpha=0.0),
        lambda: stats.smallest_gap(10, 0.0),
    ],
)
def test_impossible_arguments_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(EvaluationError, match="expected"):
        call()


def test_a_gap_beyond_a_million_items_is_said() -> None:
    with pytest.raises(EvaluationError, match="needs more than 1,000,000 items"):
        stats.items_needed(0.001, 0.5)
