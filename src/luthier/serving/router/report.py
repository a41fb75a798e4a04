"""How well a router routes: on questions whose owner is known, and, where every specialist was asked, what it costs.

Accuracy and recalls with Wilson intervals; the share answered and how much of it is right at every threshold; how well
a specialist's question is told from any other (AUROC); how far the probabilities are from what happens (expected
calibration error, Guo et al. 2017). Regret: the score of the best specialist of each item minus that of the chosen one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from luthier.errors import ServingError
from luthier.serving.router.decision import Word
from luthier.serving.router.router import GENERAL, Router

_BINS = 10


@dataclass(frozen=True)
class RouterReport:
    """`accuracy`: of specialists' questions, the likeliest specialist is the owner. `answered_right`: of those handed
    to a specialist, the owner got it. `curve`: (share answered, share of them right), surest first."""

    num_questions: int
    num_general: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    recall: dict[str, float]
    answered: float
    answered_right: float
    general_kept: float | None
    auroc: float | None
    calibration_error: float
    curve: tuple[tuple[float, float], ...]
    confused: tuple[tuple[str, str, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def evaluate_router(
    router: Router, questions: Mapping[str, Sequence[str]], general: Sequence[str] = ()
) -> RouterReport:
    """Measure on questions by owner, and on general ones that belong to nobody.

    Raises ServingError where an owner is not in the router, or there is no question.
    """
    for name in questions:
        if name not in router.specialists:
            raise ServingError(f"expected questions of {', '.join(router.specialists)}; got some of {name!r}")
    asked = [(text, name) for name, texts in questions.items() for text in texts]
    if not asked:
        raise ServingError("expected at least one question of a specialist to measure on")
    p_NC = router.probabilities([text for text, _ in asked])
    owner_N = np.array([router.specialists.index(name) for _, name in asked])
    chosen_N = p_NC[:, :-1].argmax(axis=1)
    right_N = chosen_N == owner_N
    decisions = [router.decide(p_C) for p_C in p_NC]
    handed_N = np.array([decision.specialist is not None for decision in decisions])
    general_p = router.probabilities(general) if general else np.zeros((0, p_NC.shape[1]))
    kept = [router.decide(p_C).word is Word.BASE for p_C in general_p]
    return RouterReport(
        num_questions=len(asked),
        num_general=len(general),
        accuracy=float(right_N.mean()),
        accuracy_interval=_wilson(int(right_N.sum()), len(right_N)),
        recall={name: float(right_N[owner_N == router.specialists.index(name)].mean()) for name in questions},
        answered=float(handed_N.mean()),
        answered_right=float(right_N[handed_N].mean()) if handed_N.any() else 0.0,
        general_kept=float(np.mean(kept)) if kept else None,
        auroc=auroc(1 - p_NC[:, -1], 1 - general_p[:, -1]) if len(general_p) else None,
        calibration_error=_calibration_error(p_NC, owner_N),
        curve=_curve(p_NC[:, :-1].max(axis=1), right_N),
        confused=_confused(router, owner_N, chosen_N),
    )


def auroc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """How often a random one of `inside` scores above a random one of `outside`; ties count half (Mann-Whitney)."""
    ranks = rankdata(np.concatenate([inside, outside]))
    n, m = len(inside), len(outside)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


@dataclass(frozen=True)
class Regret:
    """Means over items. `chosen`, `best`, `base`: the score of who was chosen, of the best one, of the base.
    `harm`: over items handed to a specialist who scores below the base, how much is lost against it."""

    num_items: int
    chosen: float
    best: float
    base: float
    regret: float
    harmed: int
    harm: float


def regret(router: Router, items: Sequence[str], scores: Mapping[str, Sequence[float]]) -> Regret:
    """What routing costs, from a measured matrix: scores[who][item], with `base` among them.

    Raises ServingError where somebody is missing from the matrix or was not asked every item.
    """
    expected = {*router.specialists, GENERAL}
    if set(scores) != expected or any(len(row) != len(items) for row in scores.values()) or not items:
        found = ", ".join(f"{name}: {len(row)}" for name, row in scores.items())
        raise ServingError(
            f"expected {len(items)} scores of each of {', '.join(sorted(expected))}; found {found}"
        )
    who = [router.route(text).specialist or GENERAL for text in items]
    chosen_N = np.array([scores[name][k] for k, name in enumerate(who)])
    best_N = np.max([np.asarray(row) for row in scores.values()], axis=0)
    base_N = np.asarray(scores[GENERAL])
    worse_N = chosen_N < base_N
    return Regret(
        num_items=len(items),
        chosen=float(chosen_N.mean()),
        best=float(best_N.mean()),
        base=float(base_N.mean()),
        regret=float((best_N - chosen_N).mean()),
        harmed=int(worse_N.sum()),
        harm=float((base_N - chosen_N)[worse_N].sum() / len(items)),
    )


def without_harm(before: RouterReport, after: RouterReport, margin: float = 0.01) -> list[str]:
    """What became worse for those who were there before, one sentence each; empty where adding did no harm."""
    found = [
        f"{name}: {before.recall[name]:.1%} of its questions found it before, {after.recall[name]:.1%} now"
        for name in before.recall
        if name in after.recall and after.recall[name] < before.recall[name] - margin
    ]
    kept, now = before.general_kept, after.general_kept
    if kept is not None and now is not None and now < kept - margin:
        found.append(f"of general questions {kept:.1%} stayed with the base, {now:.1%} now")
    return found


def _wilson(right: int, total: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(right, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _calibration_error(p_NC: NDArray[np.float64], owner_N: NDArray[np.int64]) -> float:
    sure_N, right_N = p_NC.max(axis=1), p_NC.argmax(axis=1) == owner_N
    bin_N = np.minimum((sure_N * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(sure_N[bin_N == k].mean() - right_N[bin_N == k].mean()) * (bin_N == k).mean()
        for k in set(bin_N.tolist())
    ]
    return float(sum(gaps))


def _curve(sure_N: NDArray[np.float64], right_N: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    order = np.argsort(-sure_N, kind="stable")
    right = right_N[order].cumsum() / np.arange(1, len(order) + 1)
    places = sorted({max(1, round(len(order) * share / 20)) for share in range(1, 21)})
    return tuple((place / len(order), float(right[place - 1])) for place in places)


def _confused(
    router: Router, owner_N: NDArray[np.int64], chosen_N: NDArray[np.int64]
) -> tuple[tuple[str, str, int], ...]:
    wrong = owner_N != chosen_N
    pairs, times = np.unique(np.stack([owner_N[wrong], chosen_N[wrong]]), axis=1, return_counts=True)
    named = [
        (router.specialists[owner], router.specialists[chosen], int(count))
        for (owner, chosen), count in zip(pairs.T.tolist(), times, strict=True)
    ]
    return tuple(sorted(named, key=lambda pair: -pair[2])[:10])
