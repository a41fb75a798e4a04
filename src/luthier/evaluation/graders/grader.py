"""The shape of a grader: what every family makes, and what the proof, the runner and the reports ask of it.

A grader reads an item and the text of an answer. It also names answers that must pass and answers that must not, so
that it can be proved on each item before a model is asked, and the figures of the whole set that it stands for.
A family that runs something (code in a sandbox, a judge) makes a `Grader` as well: its function closes over what it
needs.
This file knows nothing of any one family, of models and files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.evaluation.graders.verdict import Verdict
from luthier.evaluation.item import EvalItem

MALFORMED = ("", " \n", "...", "\ufffd\ufffd", "{[(")
NONSENSE = ("qwxv zkj", "blorptang")

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Graded:
    """One item with the answer it got and the verdict on it."""

    item: EvalItem
    answer: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Figure:
    """One number about the whole set, as a function of drawn items, so that the bootstrap can draw them again.

    `of` takes indices into `over`, which are the positions of the items that the figure is about. `values`: where
    the figure is no more than a mean of numbers from 0 to 1, those numbers.
    """

    name: str
    of: Callable[[Indices], float]
    over: tuple[int, ...]
    values: tuple[float, ...] | None = None


def mean_figure(name: str, values: Sequence[float | None]) -> list[Figure]:
    """The mean of the values (from 0 to 1) that are not None; no figure where there are none."""
    over = tuple(index for index, value in enumerate(values) if value is not None)
    present = tuple(float(value) for value in values if value is not None)
    column = np.asarray(present)
    return [Figure(name, lambda drawn: float(column[drawn].mean()), over, present)] if over else []


def accuracy_figures(graded: Sequence[Graded]) -> list[Figure]:
    """The share of answers that passed: the figure of graders that know only right and wrong."""
    return mean_figure("accuracy", [float(one.verdict.score == 1.0) for one in graded])


def no_tables(graded: Sequence[Graded]) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Grader:
    """`grade` judges; `golds` and `wrongs` are answers to an item that have to score 1 and 0.

    keys: what it reads of a row beside the question; json_answer: the key `answer` may be an object or a list, and
    is kept as its JSON text; prompt: how a row becomes a user turn; figures, tables: about the whole set.
    """

    name: str
    grade: Callable[[EvalItem, str], Verdict]
    golds: Callable[[EvalItem], tuple[str, ...]]
    wrongs: Callable[[EvalItem], tuple[str, ...]]
    keys: tuple[str, ...] = ("answer",)
    json_answer: bool = False
    prompt: str = "{question}"
    figures: Callable[[Sequence[Graded]], list[Figure]] = accuracy_figures
    tables: Callable[[Sequence[Graded]], Mapping[str, Any]] = no_tables

    def __call__(self, item: EvalItem, text: str) -> Verdict:
        return self.grade(item, text)
