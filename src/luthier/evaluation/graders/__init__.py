"""Graders: an item and the text of an answer -> a verdict. One family per file.

text           exact, contains
numeric        the last number
choice         one of several choices, by letter or by words
labels         classification, with F1, precision, recall and the confusion matrix
extraction     entities, exact and in part
json_answer    JSON: valid, by its schema, field by field
similarity     BLEU, chrF, ROUGE: weak evidence
retrieval      questions on a context: exact match, token F1, faithfulness, abstention
rules          instructions that a program can check
tool_calls     the right tool with the right arguments
refusal        refuses what it must, and nothing else
code           a program, run with tests behind the wall of the sandbox
custom         a function in a file of your own

grader         the shape that all of them have
proof          every grader proves itself on every item
families       their names and settings

A grader knows nothing of models and of how an answer came to be.
"""

from luthier.errors import EvaluationError
from luthier.evaluation.graders.choice import CHOICE
from luthier.evaluation.graders.extraction import EXTRACTION
from luthier.evaluation.graders.grader import Grader
from luthier.evaluation.graders.json_answer import JSON_ANSWER
from luthier.evaluation.graders.numbers import FINAL_ANSWER, final_number, numbers_in, whole_number
from luthier.evaluation.graders.numeric import NUMERIC, numeric, numeric_within
from luthier.evaluation.graders.proof import prove_with
from luthier.evaluation.graders.refusal import REFUSAL
from luthier.evaluation.graders.retrieval import RETRIEVAL
from luthier.evaluation.graders.rules import RULES
from luthier.evaluation.graders.text import (
    CONTAINS,
    EXACT,
    contains,
    exact,
    gold_answers,
    occurs,
    wrong_answers,
)
from luthier.evaluation.graders.tool_calls import TOOL_CALLS
from luthier.evaluation.graders.verdict import Verdict, VerdictWord, failed, passed, scored, ungradable
from luthier.evaluation.graders.words import fold
from luthier.evaluation.item import EvalItem

# What needs no settings, by the name that a row may give. Families with settings: graders.families.
GRADERS: dict[str, Grader] = {
    grader.name: grader
    for grader in (
        EXACT,
        CONTAINS,
        NUMERIC,
        CHOICE,
        EXTRACTION,
        JSON_ANSWER,
        RETRIEVAL,
        RULES,
        TOOL_CALLS,
        REFUSAL,
    )
}


def default_grader(
    answer: str | None, must: tuple[tuple[str, ...], ...] = (), must_not: tuple[str, ...] = ()
) -> str:
    """`contains` where there are criteria, `numeric` where the answer is a number, else `exact`."""
    if must or must_not:
        return "contains"
    if answer is None:
        return "exact"
    bare = answer.strip().removesuffix("%").lstrip("$€£¥")
    is_number = whole_number(bare) is not None
    has_final = FINAL_ANSWER in answer and final_number(answer) is not None
    return "numeric" if is_number or has_final else "exact"


def prove(item: EvalItem) -> None:
    """Show that the grader that the item names tells right from wrong on it. Raises EvaluationError naming it."""
    who = f"item {item.id!r}"
    if item.grader not in GRADERS:
        raise EvaluationError(f"{who}: no grader is called {item.grader!r}; known: {', '.join(GRADERS)}")
    prove_with(GRADERS[item.grader], item)


__all__ = [
    "GRADERS",
    "Grader",
    "Verdict",
    "VerdictWord",
    "contains",
    "default_grader",
    "exact",
    "failed",
    "final_number",
    "fold",
    "gold_answers",
    "numbers_in",
    "numeric",
    "numeric_within",
    "occurs",
    "passed",
    "prove",
    "scored",
    "ungradable",
    "whole_number",
    "wrong_answers",
]
