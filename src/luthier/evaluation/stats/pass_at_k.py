"""pass@k: the chance that at least one of k tries is right, from n tries of which c were.

This file knows nothing of code, sandboxes, items and models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.errors import EvaluationError
from luthier.evaluation.stats.bootstrap import bootstrap_mean
from luthier.evaluation.stats.intervals import Interval


@dataclass(frozen=True, slots=True)
class PassAtK:
    """The mean over problems, with what it is worth.

    variance: of the mean, over problems and tries. tries_variance: the part of it that would vanish if each
    problem were tried without end; None with fewer than 2k tries, which cannot tell. `interval`: bootstrap
    over problems, so that it holds for problems like these.
    """

    k: int
    num_problems: int
    estimate: float
    interval: Interval
    variance: float | None
    tries_variance: float | None


def pass_at_k(num_tries: int, num_right: int, k: int) -> float:
    """The unbiased estimate for one problem: 1 - C(n - c, k) / C(n, k).

    (1 - (1 - c/n)^k, which suggests itself, is too low.)
    Source: Chen et al., Evaluating Large Language Models Trained on Code (2021), section 2.1.
    Raises EvaluationError where there are fewer than k tries.
    """
    _check(num_tries, num_right, k)
    return 1 - _all_wrong(num_tries, num_right, k)


def pass_at_k_of(
    num_tries: Sequence[int], num_right: Sequence[int], k: int, *, confidence: float = 0.95, seed: int = 0
) -> PassAtK:
    """The mean of `pass_at_k` over problems: tries and right ones of each problem.

    The tries' part of one problem's variance is estimated without bias by A^2 - B, with A = C(n-c, k) / C(n, k)
    and B = C(n-c, 2k) / C(n, 2k): both estimate their power of the chance to fail.
    """
    if len(num_tries) != len(num_right) or not num_tries:
        raise EvaluationError(
            f"expected tries and right ones of each problem, found {len(num_tries)} and {len(num_right)}"
        )
    scores = [pass_at_k(n, c, k) for n, c in zip(num_tries, num_right, strict=True)]
    count = len(scores)
    mean = math.fsum(scores) / count
    spread = math.fsum((score - mean) ** 2 for score in scores)
    tries_variance = None
    if min(num_tries) >= 2 * k:
        parts = [
            _all_wrong(n, c, k) ** 2 - _all_wrong(n, c, 2 * k)
            for n, c in zip(num_tries, num_right, strict=True)
        ]
        tries_variance = math.fsum(parts) / count**2
    return PassAtK(
        k=k,
        num_problems=count,
        estimate=mean,
        interval=bootstrap_mean(scores, confidence=confidence, seed=seed),
        variance=spread / (count - 1) / count if count > 1 else None,
        tries_variance=tries_variance,
    )


def _all_wrong(num_tries: int, num_right: int, k: int) -> float:
    """The chance that k of the tries, drawn without replacement, are all wrong. Whole numbers: exact."""
    return math.comb(num_tries - num_right, k) / math.comb(num_tries, k)


def _check(num_tries: int, num_right: int, k: int) -> None:
    if not 0 <= num_right <= num_tries or not 1 <= k <= num_tries:
        raise EvaluationError(
            f"expected 0 <= right <= tries and 1 <= k <= tries, found {num_right} right of {num_tries}, k {k}"
        )
