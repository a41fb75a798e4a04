"""Kappa against scikit-learn, alpha against published values and a plain definition."""

import math
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.errors import EvaluationError
from luthier.evaluation.judge.agreement import cohen_kappa, krippendorff_alpha
from luthier.evaluation.judge.asking import entropy_bits

SCALE = (1, 2, 3, 4, 5)
# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: four observers, twelve units, gaps.
PUBLISHED = [
    *([1, 1, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4]),
    *([4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [5, 5, 5], [1, 1], [3]),
]


@given(st.lists(st.tuples(st.sampled_from(SCALE), st.sampled_from(SCALE)), min_size=2, max_size=40))
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    first, second = zip(*pairs, strict=True)
    if len({*first, *second}) == 1:
        return  # not defined: nan there, 0 here
    for is_ordinal, weights in ((False, None), (True, "quadratic")):
        ours = cohen_kappa(first, second, SCALE, is_ordinal=is_ordinal)
        theirs = cohen_kappa_score(first, second, labels=SCALE, weights=weights)
        assert ours.value == pytest.approx(theirs, abs=1e-12)


def test_kappa_has_an_interval_and_shows_nothing_without_spread() -> None:
    people, judge = [True] * 30 + [False] * 30, [True] * 27 + [False] * 33
    kappa = cohen_kappa(people, judge, (False, True), is_ordinal=False)
    assert kappa.low < kappa.value < kappa.high <= 1 and kappa.num_pairs == 60
    assert cohen_kappa([True] * 9, [True] * 9, (False, True), is_ordinal=False).value == 0.0


def test_alpha_is_the_published_one() -> None:
    assert krippendorff_alpha(PUBLISHED, SCALE, is_ordinal=False) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(PUBLISHED, SCALE, is_ordinal=True) == pytest.approx(0.815, abs=5e-4)


def plain_alpha(units: list[list[int]], is_ordinal: bool) -> float:
    """From the definition, pair by pair, without a matrix."""
    kept = [unit for unit in units if len(unit) > 1]
    everything = [rating for unit in kept for rating in unit]
    counts = {rating: everything.count(rating) for rating in SCALE}

    def distance(one: int, other: int) -> float:
        if not is_ordinal:
            return float(one != other)
        low, high = sorted((one, other))
        between = sum(counts[rating] for rating in range(low, high + 1)) - (counts[low] + counts[high]) / 2
        return between**2 if low != high else 0.0

    observed = sum(
        sum(distance(one, other) for one, other in permutations(unit, 2)) / (len(unit) - 1) for unit in kept
    ) / len(everything)
    expected = sum(distance(one, other) for one, other in permutations(everything, 2))
    expected /= len(everything) * (len(everything) - 1)
    return 1 - observed / expected if expected else 0.0


@given(st.lists(st.lists(st.sampled_from(SCALE), min_size=1, max_size=4), min_size=1, max_size=12))
def test_alpha_is_its_definition(units: list[list[int]]) -> None:
    if all(len(unit) < 2 for unit in units):
        with pytest.raises(EvaluationError, match="two ratings"):
            krippendorff_alpha(units, SCALE, is_ordinal=True)
        return
    for is_ordinal in (False, True):
        ours = krippendorff_alpha(units, SCALE, is_ordinal=is_ordinal)
        assert ours == pytest.approx(plain_alpha(units, is_ordinal), abs=1e-9)


def test_unknown_ratings_and_unequal_lists_are_refused() -> None:
    with pytest.raises(EvaluationError, match="found 6"):
        cohen_kappa([6], [1], SCALE, is_ordinal=True)
    with pytest.raises(EvaluationError, match="found 2 and 1"):
        cohen_kappa([1, 2], [1], SCALE, is_ordinal=True)
    with pytest.raises(EvaluationError, match="found 0"):
        krippendorff_alpha([[0, 1]], SCALE, is_ordinal=True)


def test_entropy() -> None:
    from scipy.stats import entropy

    assert entropy_bits(["a"] * 5) == 0.0
    assert entropy_bits(["a", "b", "c", "d"]) == 2.0
    assert entropy_bits([1, 1, 2]) == pytest.approx(entropy([2, 1], base=2))
    assert math.isclose(entropy_bits([(1, 2), (1, 2), (2, 1), (2, 1)]), 1.0)
