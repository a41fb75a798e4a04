"""Scores that were given k times, by a judge or at a temperature above 0: whose spread is it?

A mean over judged items is uncertain for two reasons: other items would score otherwise, and the judge would say
something else tomorrow. The second part shrinks with repeats, the first with items alone.
This file knows nothing of judges, items and models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.errors import EvaluationError
from luthier.evaluation.stats.intervals import Interval, check_probability


@dataclass(frozen=True, slots=True)
class RepeatedScores:
    """A mean (or mean difference), with its interval and where the uncertainty comes from.

    item_variance, judge_variance: of one score, between items and between repeats of one item.
    judge_share: the judge's part of the variance of the mean; more repeats can take away no more than that.
    reliability: how far the mean of the k repeats tells items apart, from 0 to 1 (ICC(1, k)).
    """

    mean: float
    interval: Interval
    num_items: int
    num_repeats: int
    item_variance: float
    judge_variance: float
    judge_share: float
    reliability: float


def repeated_mean(scores: Sequence[Sequence[float]], confidence: float = 0.95) -> RepeatedScores:
    """The mean of scores[item][repeat]. The interval holds for other items and other repeats alike.

    One-way random effects: with the mean squares between (MB) and within items (MW), judge_variance = MW,
    item_variance = max(0, (MB - MW) / k), and the mean has variance MB / (n k) with n - 1 degrees of freedom.
    Source: Searle, Casella and McCulloch, Variance Components (1992), chapter 3; Shrout and Fleiss, Psychological
    Bulletin 86 (1979) 420-428, for the ICC.
    Raises EvaluationError with fewer than two items or repeats, or unequal numbers of repeats.
    """
    scores_NK = _table(scores)
    num_items, num_repeats = scores_NK.shape
    between = num_repeats * float(scores_NK.mean(axis=1).var(ddof=1))
    within = float(scores_NK.var(axis=1, ddof=1).mean())
    return _folded(scores_NK.mean(), between, within, num_items, num_repeats, confidence)


def repeated_difference(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], confidence: float = 0.95
) -> RepeatedScores:
    """mean(second) - mean(first) over the same items, each judged k times on both sides.

    Repeats of the two sides do not belong together, so the judge's noise of both is in the difference. The
    variances are those of a difference of two single scores.
    Raises EvaluationError as `repeated_mean`, and where the sides have not the same shape.
    """
    first_NK, second_NK = _table(first), _table(second)
    if first_NK.shape != second_NK.shape:
        raise EvaluationError(
            f"expected two tables of one shape, found {first_NK.shape} and {second_NK.shape}"
        )
    num_items, num_repeats = first_NK.shape
    gaps_N = second_NK.mean(axis=1) - first_NK.mean(axis=1)
    within = float((first_NK.var(axis=1, ddof=1) + second_NK.var(axis=1, ddof=1)).mean())
    between = num_repeats * float(gaps_N.var(ddof=1))
    return _folded(gaps_N.mean(), between, within, num_items, num_repeats, confidence)


def _folded(
    mean: float, between: float, within: float, num_items: int, num_repeats: int, confidence: float
) -> RepeatedScores:
    from scipy.stats import t

    check_probability("confidence", confidence)
    half = float(t.ppf((1 + confidence) / 2, num_items - 1)) * math.sqrt(between / (num_items * num_repeats))
    return RepeatedScores(
        mean=float(mean),
        interval=Interval(float(mean) - half, float(mean) + half, confidence),
        num_items=num_items,
        num_repeats=num_repeats,
        item_variance=max(0.0, (between - within) / num_repeats),
        judge_variance=within,
        judge_share=min(1.0, within / between) if between > 0 else 0.0,
        reliability=max(0.0, 1 - within / between) if between > 0 else 0.0,
    )


def _table(scores: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    lengths = {len(row) for row in scores}
    if len(scores) < 2 or len(lengths) != 1 or min(lengths) < 2:
        raise EvaluationError(
            f"expected two items or more with an equal number of repeats, two or more; found {len(scores)} items "
            f"with {sorted(lengths)} repeats"
        )
    scores_NK = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(scores_NK).all():
        raise EvaluationError("expected scores that are finite numbers, found one that is not")
    return scores_NK
