"""Not worse, and as good as, within a margin that was chosen before.

A test that finds no difference has not shown that there is none: with few items it finds nothing ever. Here the
burden is turned round. "Not worse" is shown where the data speak against "worse by the margin or more"; "equivalent"
where they also speak against "better by the margin or more" (two one-sided tests, TOST: Schuirmann, Journal of
Pharmacokinetics and Biopharmaceutics 15 (1987) 657-680). Either is shown at alpha when its p value is below alpha,
which is when the interval, of confidence 1 - 2 alpha, lies above -margin, or within the margins.
This file knows nothing of items, models and files.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from luthier.errors import EvaluationError
from luthier.evaluation.stats.intervals import Interval, check_probability
from luthier.evaluation.stats.units import differences

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Equivalence:
    """`difference`: second - first. `interval`: of confidence 1 - 2 alpha.

    p_not_worse: one-sided p value against "the second is worse by the margin or more"; p_not_better: against
    "better by the margin or more"; p_equivalent: the larger of the two.
    """

    difference: float
    margin: float
    interval: Interval
    p_not_worse: float
    p_not_better: float

    @property
    def p_equivalent(self) -> float:
        return max(self.p_not_worse, self.p_not_better)


def equivalence_of_pairs(
    wins: int, losses: int, num_pairs: int, margin: float, alpha: float = 0.05
) -> Equivalence:
    """For right-or-wrong answers, by Tango's score test, which holds where nothing or little is lost as well.

    z = (wins - losses - n d) / sqrt(n (2 q + d (1 - d))) at a difference of d, with q the most likely share of
    losses if d is the difference. Source: Tango, Statistics in Medicine 17 (1998) 891-908.
    Raises EvaluationError where the counts or the margin cannot be.
    """
    _check_margin(margin, alpha)
    if wins < 0 or losses < 0 or num_pairs < max(1, wins + losses):
        raise EvaluationError(
            f"expected 0 <= wins + losses <= pairs, found {wins} wins, {losses} losses, {num_pairs} pairs"
        )
    if margin >= 1:
        raise EvaluationError(f"margin: expected a share below 1, found {margin}")
    z = _NORMAL.inv_cdf(1 - alpha)
    low = _crossing(wins, losses, num_pairs, z)
    high = 0.0 - _crossing(losses, wins, num_pairs, z)
    return Equivalence(
        difference=(wins - losses) / num_pairs,
        margin=margin,
        interval=Interval(low, high, 1 - 2 * alpha),
        p_not_worse=_NORMAL.cdf(-tango_z(wins, losses, num_pairs, -margin)),
        p_not_better=_NORMAL.cdf(-tango_z(losses, wins, num_pairs, -margin)),
    )


def tango_z(wins: int, losses: int, num_pairs: int, difference: float) -> float:
    """Tango's score statistic against a true difference of so much, from -1 to 1, both excluded."""
    n, d = num_pairs, difference
    linear = -wins - losses + (2 * n - wins + losses) * d
    constant = -losses * d * (1 - d)
    lost = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * lost + d * (1 - d))
    surplus = wins - losses - n * d
    if variance <= 0:
        return math.copysign(math.inf, surplus) if surplus else 0.0
    return surplus / math.sqrt(variance)


def _crossing(wins: int, losses: int, num_pairs: int, z: float) -> float:
    """The lowest difference that is not refused at z: there the statistic, which falls with it, equals z."""
    from scipy.optimize import brentq

    estimate = (wins - losses) / num_pairs
    if estimate == -1:
        return -1.0
    edge = -1 + 1e-12
    root: float = brentq(lambda d: tango_z(wins, losses, num_pairs, d) - z, edge, min(estimate, 1 - 1e-12))
    return root


def equivalence_of_scores(
    first: Sequence[float], second: Sequence[float], margin: float, alpha: float = 0.05
) -> Equivalence:
    """For scores from 0 to 1, by paired t tests (exact for normal differences, good from some thirty items on).

    Where every difference is 0 there is no spread to judge by. A mean below -margin would then need at least a
    share `margin` of items that changed, so Tango's test of "none of n changed" holds, and is given.
    Raises EvaluationError with fewer than two pairs, or where all differ by one and the same amount.
    """
    from scipy.stats import t, ttest_1samp

    _check_margin(margin, alpha)
    gaps_N = differences(first, second)
    if min(*first, *second) < 0 or max(*first, *second) > 1:
        raise EvaluationError("expected scores from 0 to 1, found one outside; scale them first")
    num_pairs = len(gaps_N)
    if not gaps_N.any():
        return equivalence_of_pairs(0, 0, num_pairs, margin, alpha)
    if num_pairs < 2 or float(gaps_N.std()) == 0.0:
        raise EvaluationError(
            f"expected at least two pairs whose differences differ, found {num_pairs} pair(s) without spread"
        )
    mean = float(gaps_N.mean())
    half = float(t.ppf(1 - alpha, num_pairs - 1)) * float(gaps_N.std(ddof=1)) / math.sqrt(num_pairs)
    return Equivalence(
        difference=mean,
        margin=margin,
        interval=Interval(mean - half, mean + half, 1 - 2 * alpha),
        p_not_worse=float(ttest_1samp(gaps_N, -margin, alternative="greater").pvalue),
        p_not_better=float(ttest_1samp(gaps_N, margin, alternative="less").pvalue),
    )


def _check_margin(margin: float, alpha: float) -> None:
    check_probability("2 alpha", 2 * alpha)
    if not 0 < margin < math.inf:
        raise EvaluationError(f"margin: expected a number above 0, found {margin}")
