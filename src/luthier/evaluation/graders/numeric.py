"""numeric: the last number of the answer is the gold number.

This file knows nothing of models, files and statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from luthier.evaluation.graders.grader import Grader
from luthier.evaluation.graders.numbers import final_number
from luthier.evaluation.graders.text import gold_answers, wrong_answers
from luthier.evaluation.graders.verdict import Verdict, failed, passed, ungradable
from luthier.evaluation.item import EvalItem

RELATIVE_TOLERANCE = Fraction(1, 1_000_000)


def numeric_within(
    relative: Fraction | float, absolute: Fraction | float = 0
) -> Callable[[EvalItem, str], Verdict]:
    """Passed where |answer - gold| <= max(absolute, relative x |gold|)."""
    relative_tolerance, absolute_tolerance = Fraction(relative), Fraction(absolute)

    def grade(item: EvalItem, answer: str) -> Verdict:
        gold = final_number(item.answer) if item.answer is not None else None
        if gold is None:
            return ungradable(f"numeric needs a number in 'answer', found {item.answer!r}")
        found = final_number(answer)
        if found is None:
            return failed("the answer has no number where one is expected")
        tolerance = max(absolute_tolerance, relative_tolerance * abs(gold))
        what = f"{_spell_number(found)}, expected {_spell_number(gold)}"
        return passed(what) if abs(found - gold) <= tolerance else failed(what)

    return grade


def _spell_number(value: Fraction) -> str:
    try:
        return f"{float(value):.12g}"
    except OverflowError:
        return "a number beyond 1e308"


numeric = numeric_within(RELATIVE_TOLERANCE)
NUMERIC = Grader("numeric", numeric, gold_answers, wrong_answers)
