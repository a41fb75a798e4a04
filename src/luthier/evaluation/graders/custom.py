"""custom: a function in a Python file of the user's own.

The function takes the row's question, gold answer and further fields as one dict, and the answer's text; it gives a
score from 0 to 1 (or true, false). It is held to the same proof as every grader: the gold answer has to score 1; empty,
malformed and nonsense answers 0. The file is run as part of this program: name only files that you trust.
This file knows nothing of models.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import MALFORMED, NONSENSE, Figure, Graded, Grader, mean_figure
from luthier.evaluation.graders.verdict import Verdict, scored
from luthier.evaluation.item import EvalItem

Function = Callable[[Mapping[str, Any], str], float]


def custom(file: Path, function: str, keys: tuple[str, ...] = ()) -> Grader:
    """A grader that calls `function` of `file`. Raises EvaluationError where it cannot be found."""
    score_of = _load(file, function)

    def grade(item: EvalItem, answer: str) -> Verdict:
        row = {"id": item.id, "question": item.messages[-1].content, "answer": item.answer, **item.fields}
        score = score_of(row, answer)
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise EvaluationError(f"{file}: {function} gave {score!r:.60}; expected a score from 0 to 1")
        return scored(float(score), f"{function} gave {float(score):g}")

    def golds(item: EvalItem) -> tuple[str, ...]:
        return () if item.answer is None else (item.answer,)

    def wrongs(item: EvalItem) -> tuple[str, ...]:
        return tuple(text for text in (*MALFORMED, *NONSENSE) if text != item.answer)

    return Grader("custom", grade, golds, wrongs, keys=("answer", *keys), json_answer=True, figures=_figures)


def _figures(graded: Sequence[Graded]) -> list[Figure]:
    return mean_figure("score", [one.verdict.score for one in graded])


def _load(file: Path, function: str) -> Function:
    spec = importlib.util.spec_from_file_location(f"luthier_custom_{file.stem}", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise EvaluationError(f"{file}: no such Python file; the task names it under 'file'")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise EvaluationError(f"{file}: cannot be run: {type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise EvaluationError(f"{file}: has no function {function!r}; it has: {', '.join(names) or 'none'}")
    loaded: Function = found
    return loaded
