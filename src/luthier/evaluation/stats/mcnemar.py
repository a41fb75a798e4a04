"""McNemar's exact test: right-or-wrong answers of two models to the same items.

This file knows nothing of items, models and files.
"""

import functools

from luthier.errors import EvaluationError
from luthier.evaluation.stats.intervals import check_probability


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
    check_probability("alpha", alpha)
    high = losses + 1
    while mcnemar_exact(high, losses) >= alpha:
        high = losses + 2 * (high - losses)
    low = losses
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if mcnemar_exact(middle, losses) >= alpha else (low, middle)
    return high
