"""Bootstrap intervals: the items (or the sources that they share) are drawn again, with replacement.

This file knows nothing of items, models and files.
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from luthier.errors import EvaluationError
from luthier.evaluation.stats.intervals import Interval, check_probability, clopper_pearson_interval
from luthier.evaluation.stats.units import Floats, Units, differences, units

NUM_RESAMPLES = 10_000
_MAX_CELLS = 4_000_000


def bootstrap_difference(
    first: Sequence[float],
    second: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of mean(second) - mean(first) over resampled pairs, of two aligned score lists.

    `clusters` names the source of each item; then whole sources are drawn, and the mean is over their items.
    Swapping the lists mirrors the interval exactly.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3; for clusters, Davison
    and Hinkley, Bootstrap Methods and their Application (1997), section 3.8.
    Raises EvaluationError where the lists are empty or not of one length.
    """
    drawn = units(differences(first, second), clusters)
    return _percentile_interval(drawn, num_resamples, confidence, seed)


def bootstrap_mean(
    scores: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean of scores from 0 to 1.

    Where all scores are 0, or all 1, drawing them again shows nothing. Then a mean of m would need at least a
    share m of other scores, so Clopper-Pearson's interval of "0 of n units are other" holds, and is given.
    Raises EvaluationError without scores, or with one outside 0 to 1.
    """
    drawn = units(scores, clusters)
    if min(scores) < 0 or max(scores) > 1:
        raise EvaluationError(f"expected scores from 0 to 1, found {min(scores)} to {max(scores)}")
    for constant in (0.0, 1.0):
        if min(scores) == max(scores) == constant:
            num_units = len(drawn.sizes_U)
            return clopper_pearson_interval(int(constant) * num_units, num_units, confidence)
    return _percentile_interval(drawn, num_resamples, confidence, seed)


def bootstrap_metric(
    metric: Callable[[NDArray[np.int64]], float],
    num_items: int,
    *,
    clusters: Sequence[Hashable] | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a figure of the whole set, such as F1 or BLEU, that is no mean of item scores.

    metric: indices of the drawn items, with repetitions -> the figure. Raises EvaluationError without items.
    """
    check_probability("confidence", confidence)
    members = _members(num_items, clusters)
    generator = np.random.default_rng(seed)
    figures = np.empty(num_resamples)
    for index in range(num_resamples):
        drawn = generator.integers(0, len(members), len(members))
        figures[index] = metric(np.concatenate([members[unit] for unit in drawn]))
    tail = (1 - confidence) / 2
    low, high = np.quantile(figures, [tail, 1 - tail])
    return Interval(float(low), float(high), confidence)


def _members(num_items: int, clusters: Sequence[Hashable] | None) -> list[NDArray[np.int64]]:
    """The items of each unit that is drawn as a whole."""
    if num_items < 1 or (clusters is not None and len(clusters) != num_items):
        found = "no clusters" if clusters is None else f"{len(clusters)} clusters"
        raise EvaluationError(
            f"expected items, and a cluster for each or none, found {num_items} and {found}"
        )
    by_cluster: dict[Hashable, list[int]] = {}
    for index in range(num_items):
        by_cluster.setdefault(index if clusters is None else clusters[index], []).append(index)
    return [np.asarray(indices, dtype=np.int64) for indices in by_cluster.values()]


def _percentile_interval(drawn: Units, num_resamples: int, confidence: float, seed: int) -> Interval:
    """Drawing n units with replacement is drawing how often each distinct unit occurs, from a multinomial."""
    check_probability("confidence", confidence)
    here = _distinct(drawn)
    mirrored = _distinct(Units(-drawn.totals_U, drawn.sizes_U))
    # Drawn from one of the two signs only, so that swapping the lists mirrors the interval exactly.
    sign = -1.0 if _order(mirrored) < _order(here) else 1.0
    means = _resampled_means(*(mirrored if sign < 0 else here), num_resamples, seed)
    tail = (1 - confidence) / 2
    if _order(mirrored) == _order(here):
        # Scores that are their own mirror image have an interval that is: each mean stands for its opposite.
        high = float(np.quantile(np.concatenate([means, -means]), 1 - tail))
        return Interval(0.0 - high, high, confidence)
    low, high = (sign * float(end) for end in np.quantile(means, [tail, 1 - tail]))
    return Interval(min(low, high) + 0.0, max(low, high) + 0.0, confidence)


def _distinct(drawn: Units) -> tuple[Floats, Floats, Floats]:
    """The totals, sizes and counts of the distinct units, in rising order."""
    pairs, counts = np.unique(
        np.stack([drawn.totals_U + 0.0, drawn.sizes_U], axis=1), axis=0, return_counts=True
    )
    return pairs[:, 0], pairs[:, 1], counts.astype(np.float64)


def _order(distinct: tuple[Floats, Floats, Floats]) -> list[list[float]]:
    return [column.tolist() for column in distinct]


def _resampled_means(
    totals_V: Floats, sizes_V: Floats, counts_V: Floats, num_resamples: int, seed: int
) -> Floats:
    """The means of `num_resamples` draws, worked out in pieces of bounded memory."""
    generator = np.random.default_rng(seed)
    num_units = int(counts_V.sum())
    means = np.empty(num_resamples)
    step = max(1, _MAX_CELLS // len(totals_V))
    for start in range(0, num_resamples, step):
        stop = min(start + step, num_resamples)
        times_RV = generator.multinomial(num_units, counts_V / num_units, size=stop - start)
        means[start:stop] = (times_RV @ totals_V) / (times_RV @ sizes_V)
    return means
