"""Where several comparisons are made, one of them is lucky sooner or later: the correction for it.

This file knows nothing of what is compared.
"""

from collections.abc import Sequence

from luthier.errors import EvaluationError


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given: compare each with alpha as if it stood alone.

    The chance that any true "no difference" is called a difference stays below alpha, however the tests hang
    together. With p sorted ascending, adjusted_i = max over j <= i of min(1, (m - j) p_j), j from 0.
    Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    Raises EvaluationError where a value is not a probability.
    """
    for p_value in p_values:
        if not 0 <= p_value <= 1:
            raise EvaluationError(f"expected p values from 0 to 1, found {p_value}")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def holm_levels(p_values: Sequence[float], alpha: float) -> list[float]:
    """The level that each p value has to stay below to be rejected, as the others stand, in the order given.

    A value that is rejected was held to alpha / (m - rank); one that is not would have had to stay below
    alpha / (number not rejected).
    """
    adjusted = holm(p_values)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    num_rejected = sum(value < alpha for value in adjusted)
    levels = [0.0] * len(p_values)
    for rank, index in enumerate(order):
        levels[index] = alpha / (len(p_values) - min(rank, num_rejected))
    return levels
