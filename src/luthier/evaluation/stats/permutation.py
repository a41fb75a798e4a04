"""The permutation test of paired scores: if neither model is better, each difference could have had either sign.

This file knows nothing of items, models and files.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from luthier.evaluation.stats.units import Floats, differences, units

NUM_PERMUTATIONS = 100_000
_MAX_EXACT = 1 << 20
_MAX_CELLS = 4_000_000
# Sums of the same numbers in another order may differ in their last digits, and have to count as equal.
_TOLERANCE = 1e-9


class Counting(StrEnum):
    """Whether all ways were counted, or some were drawn."""

    EXACT = "exact"
    SAMPLED = "sampled"


@dataclass(frozen=True, slots=True)
class PairedTest:
    """`difference`: mean(second) - mean(first). `p_value`: two-sided."""

    difference: float
    p_value: float
    counting: Counting


def permutation_test(
    first: Sequence[float],
    second: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    num_permutations: int = NUM_PERMUTATIONS,
    seed: int = 0,
) -> PairedTest:
    """Two-sided test of whether two aligned score lists differ in their mean, by flipping signs of differences.

    `clusters` names the source of each item; then a source's differences are flipped together. All ways are
    counted where that is at most a million sums (differences of equal size are told apart by how many of them
    flip, so right-or-wrong scores of any number are exact, and give McNemar's exact test); else ways are drawn,
    and p = (1 + ways at least as extreme) / (1 + ways drawn), which is never too small.
    Source: Fisher, The Design of Experiments (1935), section 21; Phipson and Smyth, Statistical Applications in
    Genetics and Molecular Biology 9:39 (2010), for the added one.
    Raises EvaluationError where the lists are empty or not of one length.
    """
    differences_N = differences(first, second)
    totals_U = units(differences_N, clusters).totals_U
    sizes, counts = _distinct_sizes(totals_U)
    observed = abs(float(totals_U.sum()))
    threshold = observed - _TOLERANCE * max(1.0, float(np.abs(totals_U).sum()))
    if math.prod((counts + 1).tolist()) <= _MAX_EXACT:
        p_value, counting = _exact(sizes, counts, threshold), Counting.EXACT
    else:
        p_value, counting = _sampled(sizes, counts, threshold, num_permutations, seed), Counting.SAMPLED
    return PairedTest(float(differences_N.mean()), p_value, counting)


def _distinct_sizes(totals_U: Floats) -> tuple[Floats, Floats]:
    """The distinct absolute values above 0 and how often each occurs. Rounded, so that 0.3 is 0.1 + 0.2."""
    scale = float(np.abs(totals_U).max()) or 1.0
    rounded = np.round(np.abs(totals_U) / scale, 12) * scale
    sizes, counts = np.unique(rounded[rounded > 0], return_counts=True)
    return sizes, counts.astype(np.float64)


def _exact(sizes: Floats, counts: Floats, threshold: float) -> float:
    """The share of all ways whose sum is at least as far from 0: one binomial per distinct size."""
    from scipy.stats import binom

    sums, weights = np.zeros(1), np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        num_positive = np.arange(count + 1)
        sums = np.add.outer(sums, size * (2 * num_positive - count)).ravel()
        weights = np.multiply.outer(weights, binom.pmf(num_positive, count, 0.5)).ravel()
    return min(1.0, float(weights[np.abs(sums) >= threshold].sum()))


def _sampled(sizes: Floats, counts: Floats, threshold: float, num_permutations: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    num_extreme = 0
    step = max(1, _MAX_CELLS // len(sizes))
    for start in range(0, num_permutations, step):
        rows = min(step, num_permutations - start)
        num_positive = generator.binomial(counts.astype(np.int64), 0.5, size=(rows, len(sizes)))
        sums = (2 * num_positive - counts) @ sizes
        num_extreme += int((np.abs(sums) >= threshold).sum())
    return (1 + num_extreme) / (1 + num_permutations)
