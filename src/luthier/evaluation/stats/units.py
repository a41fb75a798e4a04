"""Paired scores as units that are independent of each other: items, or the sources that items share.

Ten questions on one document are not ten witnesses: where that document suits a model, they all do. So it is the
sources that are drawn or flipped, each with all its items.
This file knows nothing of tests and intervals, of items, models and files.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.errors import EvaluationError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Units:
    """`totals_U`: the sum of the scores (or differences) of each unit; `sizes_U`: how many items it has."""

    totals_U: Floats
    sizes_U: Floats

    @property
    def mean(self) -> float:
        """Over items, not over units."""
        return float(self.totals_U.sum() / self.sizes_U.sum())


def differences(first: Sequence[float], second: Sequence[float]) -> Floats:
    """second - first, item by item. Raises EvaluationError where the lists are empty, ragged or not finite."""
    if len(first) != len(second) or not len(first):
        raise EvaluationError(f"expected pairs of scores, found {len(first)} and {len(second)}")
    return _finite(np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64))


def units(scores: Sequence[float] | Floats, clusters: Sequence[Hashable] | None = None) -> Units:
    """One unit per item, or one per distinct value of `clusters`, in the order of their first items.

    Raises EvaluationError without scores, or where `clusters` does not name one for each.
    """
    scores_N = _finite(np.asarray(scores, dtype=np.float64))
    if not len(scores_N):
        raise EvaluationError("expected scores, found none")
    if clusters is None:
        return Units(scores_N, np.ones(len(scores_N)))
    if len(clusters) != len(scores_N):
        raise EvaluationError(f"expected a cluster for each score, found {len(clusters)} for {len(scores_N)}")
    place: dict[Hashable, int] = {}
    index_N = np.asarray([place.setdefault(cluster, len(place)) for cluster in clusters])
    totals_U = np.bincount(index_N, weights=scores_N).astype(np.float64)
    return Units(totals_U, np.bincount(index_N).astype(np.float64))


def _finite(scores: Floats) -> Floats:
    if not np.isfinite(scores).all():
        raise EvaluationError("expected scores that are finite numbers, found one that is not")
    return scores
