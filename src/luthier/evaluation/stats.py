"""Exact tests and intervals for right-or-wrong answers, alone and in pairs.

Every function names the source of its formula and has a twin in the tests.
This file knows nothing of items, models and files.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from luthier.errors import EvaluationError

NUM_RESAMPLES = 10_000
_MAX_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, both ends included."""

    low: float
    high: float
    confidence: float = 0.95


@functools.lru_cache(maxsize=4096)
def mcnemar_exact(wins: int, losses: int) -> float:
    """Two-sided p value of McNemar's exact test, from the counts of discordant pairs.

    `wins`: pairs that only the second one has right; `losses`: pairs that only the first one has right.
    Under the null hypothesis each discordant pair goes either way with probability 1/2:
    p = min(1, 2 P(X <= min(wins, losses))), X ~ Binomial(wins + losses, 1/2).
    Source: McNemar, Psychometrika 12 (1947), in its exact binomial form; Fagerland, Lydersen and Laake,
    BMC Medical Research Methodology 13:91 (2013), the exact conditional test.
    Raises EvaluationError on a negative count.
    """
    if wins < 0 or losses < 0:
        raise EvaluationError(f"expected counts of at least 0, found {wins} wins and {losses} losses")
    num_discordant = wins + losses
    ways = tail = 1
    for k in range(min(wins, losses)):
        ways = ways * (num_discordant - k) // (k + 1)
        tail += ways
    probability: float = 2 * tail / (1 << num_discordant)
    return min(1.0, probability)


def wins_needed(losses: int, alpha: float = 0.05) -> int:
    """The fewest wins that make `mcnemar_exact(wins, losses)` smaller than `alpha`, for so many losses."""
    _check_probability("alpha", alpha)
    high = losses + 1
    while mcnemar_exact(high, losses) >= alpha:
        high = losses + 2 * (high - losses)
    low = losses
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if mcnemar_exact(middle, losses) >= alpha else (low, middle)
    return high


def bootstrap_difference(
    first: Sequence[float],
    second: Sequence[float],
    *,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of mean(second) - mean(first) over resampled pairs, of two aligned score lists.

    Drawing n pairs with replacement is drawing how often each distinct difference occurs, from a
    multinomial distribution; that is what is done, in pieces of bounded memory. Swapping the lists mirrors
    the interval exactly.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    Raises EvaluationError where the lists are empty or not of one length.
    """
    _check_probability("confidence", confidence)
    if len(first) != len(second) or not first:
        raise EvaluationError(f"expected pairs of scores, found {len(first)} and {len(second)}")
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    values, counts = np.unique(differences, return_counts=True)
    # Drawn from one of the two orders of the lists, so that swapping them mirrors the interval exactly.
    is_mirrored = (values.tolist(), counts.tolist()) < ((-values[::-1]).tolist(), counts[::-1].tolist())
    if is_mirrored:
        values, counts = -values[::-1], counts[::-1]
    generator = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    step = max(1, _MAX_CELLS // len(values))
    for start in range(0, num_resamples, step):
        stop = min(start + step, num_resamples)
        drawn = generator.multinomial(len(differences), counts / len(differences), size=stop - start)
        means[start:stop] = drawn @ values / len(differences)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    if is_mirrored:
        low, high = 0.0 - high, 0.0 - low
    return Interval(float(low) + 0.0, float(high) + 0.0, confidence)


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
    half = z * float(np.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))) / scale
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


def _check_probability(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise EvaluationError(f"{name}: expected a number between 0 and 1, found {value}")


def _check_counts(successes: int, trials: int, confidence: float) -> None:
    _check_probability("confidence", confidence)
    if not 0 <= successes <= trials:
        raise EvaluationError(f"expected 0 <= successes <= trials, found {successes} of {trials}")
