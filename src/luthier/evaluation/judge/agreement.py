"""How far raters agree beyond chance: Cohen's kappa for two, Krippendorff's alpha for any number with gaps.

This file knows nothing of judges and labels.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.errors import EvaluationError

_NUM_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Kappa:
    """Kappa with a percentile bootstrap interval over the pairs (95%)."""

    value: float
    low: float
    high: float
    num_pairs: int


def cohen_kappa(
    first: Sequence[Hashable], second: Sequence[Hashable], categories: Sequence[Hashable], *, is_ordinal: bool
) -> Kappa:
    """Cohen's kappa of two raters; for ordered categories with quadratic weights.

    kappa = 1 - sum(w o) / sum(w e), with o the observed and e the expected share of each pair of categories and w its
    weight: 1 off the diagonal, or the squared distance of ranks. Where both raters only ever gave one and the same
    category it is not defined; then 0 is given, because nothing was shown.
    Source: Cohen, Educational and Psychological Measurement 20 (1960) 37-46; weights, Psychological Bulletin 70 (1968)
    213-220. Raises EvaluationError on lists that are empty or not of one length, and on an unknown category.
    """
    if len(first) != len(second) or not first:
        raise EvaluationError(f"expected pairs of ratings, found {len(first)} and {len(second)}")
    unknown = [value for value in (*first, *second) if value not in categories]
    if unknown:
        raise EvaluationError(f"expected ratings among {list(categories)}, found {unknown[0]!r}")
    places = {category: place for place, category in enumerate(categories)}
    size = len(categories)
    cells = [places[one] * size + places[other] for one, other in zip(first, second, strict=True)]
    counts_CC = np.bincount(cells, minlength=size * size).astype(np.float64)
    ranks = np.arange(size)
    weights_CC = np.square(ranks[:, None] - ranks[None, :]).astype(np.float64)
    if not is_ordinal:
        weights_CC = 1.0 - np.eye(size)
    value = _kappas(counts_CC[None, :], weights_CC)[0]
    drawn = np.random.default_rng(0).multinomial(len(cells), counts_CC / len(cells), size=_NUM_RESAMPLES)
    low, high = np.quantile(_kappas(drawn.astype(np.float64), weights_CC), [0.025, 0.975])
    return Kappa(float(value), float(low), float(high), len(cells))


def _kappas(counts_NCC: NDArray[np.float64], weights_CC: NDArray[np.float64]) -> NDArray[np.float64]:
    """The kappa of each of N tables of counts, which come flat."""
    size = len(weights_CC)
    shares_NCC = counts_NCC.reshape(-1, size, size) / counts_NCC.sum(axis=1)[:, None, None]
    expected_NCC = shares_NCC.sum(axis=2)[:, :, None] * shares_NCC.sum(axis=1)[:, None, :]
    observed_N = (weights_CC * shares_NCC).sum(axis=(1, 2))
    by_chance_N = (weights_CC * expected_NCC).sum(axis=(1, 2))
    is_defined_N = by_chance_N > 0
    return np.where(is_defined_N, 1 - observed_N / np.where(is_defined_N, by_chance_N, 1.0), 0.0)


def krippendorff_alpha(
    units: Sequence[Sequence[Hashable]], categories: Sequence[Hashable], *, is_ordinal: bool
) -> float:
    """Krippendorff's alpha over units, each with the ratings that it got (missing ones left out).

    alpha = 1 - D_o / D_e from the table of coincidences; the difference of two categories is 1 (nominal), or for
    ordered ones the squared number of ratings between them, counting their own by half. Units with one rating say
    nothing.
    Where all ratings are equal it is not defined; then 0 is given, because nothing was shown.
    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).
    Raises EvaluationError where no unit has two ratings, and on an unknown category.
    """
    places = {category: place for place, category in enumerate(categories)}
    size = len(categories)
    coincidences_CC = np.zeros((size, size))
    for ratings in units:
        unknown = [rating for rating in ratings if rating not in places]
        if unknown:
            raise EvaluationError(f"expected ratings among {list(categories)}, found {unknown[0]!r}")
        if len(ratings) < 2:
            continue
        counts_C = np.bincount([places[one] for one in ratings], minlength=size).astype(np.float64)
        pairs_CC = np.outer(counts_C, counts_C) - np.diag(counts_C)
        coincidences_CC += pairs_CC / (len(ratings) - 1)
    totals_C = coincidences_CC.sum(axis=1)
    num_ratings = totals_C.sum()
    if num_ratings == 0:
        raise EvaluationError("expected at least one unit with two ratings, found none")
    distance: Callable[[NDArray[np.float64]], NDArray[np.float64]] = _ordinal if is_ordinal else _nominal
    distances_CC = distance(totals_C)
    expected = (np.outer(totals_C, totals_C) * distances_CC).sum() / (num_ratings - 1)
    if expected == 0:
        return 0.0
    return float(1 - (coincidences_CC * distances_CC).sum() / expected)


def _nominal(totals_C: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 - np.eye(len(totals_C))


def _ordinal(totals_C: NDArray[np.float64]) -> NDArray[np.float64]:
    middles_C = np.cumsum(totals_C) - totals_C / 2
    return (middles_C[:, None] - middles_C[None, :]) ** 2.0
