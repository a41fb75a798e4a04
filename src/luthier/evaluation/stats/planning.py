"""Before the measurement: how likely a gap would be seen, how small a gap can be seen, how many items it takes.

Two numbers describe paired right-or-wrong answers: the gap (accuracy of the second - accuracy of the first) and
the discordance, the share of items that exactly one of the two has right. The second wins a share
(discordance + gap) / 2 of all items and loses (discordance - gap) / 2. With nothing lost the discordance is the gap.
This file knows nothing of items, models and files.
"""

import functools

import numpy as np

from luthier.errors import EvaluationError
from luthier.evaluation.stats.intervals import check_probability

MAX_ITEMS = 1_000_000
_LOOK_AHEAD = 100


def mcnemar_power(num_items: int, gap: float, discordance: float, alpha: float = 0.05) -> float:
    """The chance that McNemar's exact test calls the second model better, p < alpha two-sided.

    The number of discordant items is Binomial(num_items, discordance); the wins among them are Binomial with
    probability (discordance + gap) / (2 discordance); the power is summed over both, so it is exact. The chance
    of calling the worse model better is not part of it.
    Source: Lachin, Statistics in Medicine 11 (1992) 1239-1251, unconditional power of the conditional test.
    Raises EvaluationError where gap, discordance or alpha cannot be.
    """
    from scipy.stats import binom

    _check(gap, discordance, alpha)
    if num_items < 1:
        raise EvaluationError(f"expected at least 1 item, found {num_items}")
    low, high = (int(binom.ppf(share, num_items, discordance)) for share in (1e-13, 1 - 1e-13))
    discordant_D = np.arange(low, high + 1)
    # The most losses that a significant result may have: the largest k with 2 P(X <= k) < alpha.
    losses_D = binom.ppf(alpha / 2, discordant_D, 0.5) - 1
    weight_D = binom.pmf(discordant_D, num_items, discordance)
    lost = (discordance - gap) / (2 * discordance)
    return float(min(1.0, (weight_D * binom.cdf(losses_D, discordant_D, lost)).sum()))


def items_needed(gap: float, discordance: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """The fewest items with which a true gap is seen with at least this chance.

    The power is a little uneven in the number of items, for a test of counts has steps; the number given is one
    after which the power stays above what was asked for the next hundred items as well.
    Raises EvaluationError where an argument cannot be, or a million items would not do.
    """
    check_probability("power", power)

    @functools.cache
    def suffices(num_items: int) -> bool:
        return mcnemar_power(num_items, gap, discordance, alpha) >= power

    high = 8
    while not suffices(high):
        high *= 2
        if high > MAX_ITEMS:
            raise EvaluationError(
                f"a gap of {gap:g} at a discordance of {discordance:g} needs more than {MAX_ITEMS:,} items"
            )
    low = high // 2 if high > 8 else 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    last_failure = next((n for n in range(high + _LOOK_AHEAD, high, -1) if not suffices(n)), high - 1)
    return last_failure + 1


def smallest_gap(num_items: int, discordance: float, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """The minimum detectable effect: the smallest true gap that is seen with at least this chance.

    To one part in ten thousand. None where even a gap as large as the discordance (nothing lost) would not be.
    """
    check_probability("power", power)
    if mcnemar_power(num_items, discordance, discordance, alpha) < power:
        return None
    low, high = 0.0, discordance
    while high - low > 1e-4:
        middle = (low + high) / 2
        seen = mcnemar_power(num_items, middle, discordance, alpha) >= power
        low, high = (low, middle) if seen else (middle, high)
    return high


def _check(gap: float, discordance: float, alpha: float) -> None:
    check_probability("alpha", alpha)
    if not 0 < gap <= 1:
        raise EvaluationError(f"gap: expected a share above 0 and up to 1 (0.1 for ten points), found {gap}")
    if not gap <= discordance <= 1:
        raise EvaluationError(
            f"discordance: expected a share from the gap ({gap:g}) to 1, found {discordance}; a gap of "
            f"{gap:g} means that at least that share of the items changes sides"
        )
