"""A grader proves itself on an item: the gold answer scores 1; empty, malformed and wrong answers score 0.

This file knows nothing of any one family, of models and files.
"""

from __future__ import annotations

from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import Grader
from luthier.evaluation.graders.verdict import Verdict, VerdictWord
from luthier.evaluation.item import EvalItem


def prove_with(grader: Grader, item: EvalItem) -> None:
    """Show that the grader tells right from wrong on this item. Raises EvaluationError naming the item."""
    who = f"item {item.id!r}"
    if "must" not in grader.keys and (item.must or item.must_not):
        raise EvaluationError(
            f"{who}: the grader '{grader.name}' reads only 'answer' and would ignore 'must' and 'must_not'; "
            "remove them, or use 'contains'"
        )
    golds = _made(grader, item, "gold")
    if not golds:
        raise EvaluationError(f"{who}: no gold answer can be built; give one in 'answer'")
    for text in golds:
        verdict = _graded(grader, item, text)
        if verdict.word is not VerdictWord.PASSED or verdict.score != 1.0:
            raise EvaluationError(
                f"{who}: its gold answer {_short(text)} does not pass its own grader '{grader.name}': "
                f"{verdict.reason}; correct the answer or the criteria"
            )
    for text in _made(grader, item, "wrong"):
        verdict = _graded(grader, item, text)
        if verdict.word is VerdictWord.PASSED or verdict.score != 0.0:
            raise EvaluationError(
                f"{who}: the grader '{grader.name}' passes the wrong answer {_short(text)} "
                f"({verdict.reason}); the criteria let anything through"
            )


def _made(grader: Grader, item: EvalItem, which: str) -> tuple[str, ...]:
    """The answers to be tried. An item that lacks what they are made of is told in the family's own words."""
    try:
        return grader.golds(item) if which == "gold" else grader.wrongs(item)
    except EvaluationError as error:
        raise EvaluationError(f"item {item.id!r}: {error}") from error


def _graded(grader: Grader, item: EvalItem, text: str) -> Verdict:
    try:
        return grader.grade(item, text)
    except Exception as error:
        raise EvaluationError(
            f"item {item.id!r}: the grader '{grader.name}' failed on {_short(text)}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
