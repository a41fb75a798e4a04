"""Figures of the whole set, with bootstrap intervals: what every grader of a task says of kept answers.

Figures come from the answers, not from the run, so that a saved result can be scored again with other graders.
This file knows nothing of models and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import Figure, Graded, Grader
from luthier.evaluation.graders.verdict import VerdictWord
from luthier.evaluation.item import EvalItem
from luthier.evaluation.runner import EvalResult, grade_safely
from luthier.evaluation.stats import Interval, bootstrap_mean, bootstrap_metric

NUM_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure. `num_items`: those that it is about."""

    name: str
    value: float
    interval: Interval
    num_items: int


@dataclass(frozen=True, slots=True)
class GraderScores:
    """What one grader says of all answers. `tables`: the confusion matrix and the like, as JSON values."""

    grader: str
    figures: tuple[Measured, ...]
    num_ungradable: int
    tables: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "tables": dict(self.tables)}


def score(
    items: Sequence[EvalItem],
    graders: Sequence[Grader],
    result: EvalResult,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[GraderScores, ...]:
    """Grade the kept answers with every grader and work out its figures.

    num_resamples: for figures that are no means. Where items share a source, whole sources are drawn.
    Raises EvaluationError where the answers are not to these items.
    """
    answers = {one.id: one.answer for one in result.items}
    if set(answers) != {item.id for item in items}:
        raise EvaluationError(
            f"{result.label}: expected answers to these {len(items)} items, found {len(answers)} to others"
        )
    found = []
    for grader in graders:
        verdicts = [
            Graded(item, answers[item.id], grade_safely(grader, item, answers[item.id])) for item in items
        ]
        graded = [one for one in verdicts if one.verdict.word is not VerdictWord.UNGRADABLE]
        figures = grader.figures(graded) if graded else []
        measured = tuple(_measured(figure, graded, num_resamples, seed) for figure in figures)
        tables = grader.tables(graded) if graded else {}
        found.append(GraderScores(grader.name, measured, len(verdicts) - len(graded), tables))
    return tuple(found)


def _measured(figure: Figure, graded: Sequence[Graded], num_resamples: int, seed: int) -> Measured:
    count = len(figure.over)
    clusters = [_cluster(graded[place].item) for place in figure.over]
    if figure.values is not None:
        interval = bootstrap_mean(figure.values, clusters=clusters, seed=seed)
    else:
        interval = bootstrap_metric(
            figure.of, count, clusters=clusters, num_resamples=num_resamples, seed=seed
        )
    return Measured(figure.name, figure.of(np.arange(count)), interval, count)


def _cluster(item: EvalItem) -> tuple[str, str]:
    return ("source", item.source) if item.source is not None else ("item", item.id)
