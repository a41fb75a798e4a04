"""Intervals for one share alone: so many successes in so many trials.

This file knows nothing of pairs, items, models and files.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from luthier.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, both ends included."""

    low: float
    high: float
    confidence: float = 0.95


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion; (0, 1) without trials.

    Centre (p + z^2/2n) / (1 + z^2/n), half width z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n).
    Source: Wilson, Journal of the American Statistical Association 22 (1927) 209-212.
    """
    _check_counts(successes, trials, confidence)
    if trials == 0:
        return Interval(0.0, 1.0, confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / trials
    scale = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / scale
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(low, high, confidence)


def clopper_pearson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Exact interval of a proportion: never covers less than `confidence`; (0, 1) without trials.

    With a = 1 - confidence, s successes in n trials: low = Beta(a/2; s, n-s+1), high = Beta(1-a/2; s+1, n-s).
    Source: Clopper and Pearson, Biometrika 26 (1934) 404-413.
    """
    from scipy.special import betaincinv

    _check_counts(successes, trials, confidence)
    tail = (1 - confidence) / 2
    failures = trials - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures else 1.0
    return Interval(low, high, confidence)


def check_probability(name: str, value: float) -> None:
    """Raises EvaluationError where `value` is not strictly between 0 and 1."""
    if not 0 < value < 1:
        raise EvaluationError(f"{name}: expected a number between 0 and 1, found {value}")


def _check_counts(successes: int, trials: int, confidence: float) -> None:
    check_probability("confidence", confidence)
    if not 0 <= successes <= trials:
        raise EvaluationError(f"expected 0 <= successes <= trials, found {successes} of {trials}")
