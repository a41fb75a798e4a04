"""code: the answer's program is run with the item's tests, behind the wall of the sandbox.

The program is the first fenced block (one marked as Python comes before others), or the whole answer where there is
none. It shares a namespace with the tests, which are Python: assertions as a rule. The reason says what became of it,
and the level of the wall that stood.
This file knows nothing of models, and of how the wall is built.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import MALFORMED, Graded, Grader
from luthier.evaluation.graders.verdict import Verdict, failed, passed
from luthier.evaluation.item import EvalItem
from luthier.sandbox.candidate import run_tests
from luthier.sandbox.execute import required_level
from luthier.sandbox.words import Limits, Outcome

PROMPT = "{question}\n\nAnswer with a Python program in one code block."
_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = ("python", "py", "python3")
_NO_CODE = "no_code"


def code(timeout_seconds: float, max_memory_bytes: int, *, unsafe: bool = False) -> Grader:
    """A grader that runs answers. Raises SandboxError where no wall holds here and `unsafe` is not given."""
    level = required_level(unsafe=unsafe)
    limits = Limits(timeout_seconds=timeout_seconds, max_memory_bytes=max_memory_bytes)

    def grade(item: EvalItem, answer: str) -> Verdict:
        program = program_of(answer)
        if not program.strip():
            return failed("the answer holds no program", outcome=_NO_CODE)
        done = run_tests(program, _tests_of(item), limits=limits, level=level)
        if done.outcome is Outcome.PASSED:
            return passed(f"wall: {done.level}", outcome=done.outcome.value, level=done.level.value)
        last = done.stderr.strip().splitlines()[-1:] or [done.reason]
        how = "" if done.outcome is Outcome.FAILED else f"{done.outcome}: "
        told = f"{how}{last[0][:200]} (wall: {done.level})"
        return failed(told, outcome=done.outcome.value, level=done.level.value)

    return Grader("code", grade, _golds, _wrongs, keys=("answer", "tests"), prompt=PROMPT, tables=_tables)


def program_of(answer: str) -> str:
    """The program in an answer; an unclosed fence runs to the end, as where an answer was cut."""
    blocks = [(match[1].lower(), match[2]) for match in _FENCE.finditer(answer)]
    marked = [text for language, text in blocks if language in _PYTHON]
    return (marked or [text for _, text in blocks] or [answer])[0]


def _tests_of(item: EvalItem) -> str:
    tests = item.fields.get("tests")
    if not isinstance(tests, str) or not tests.strip():
        raise EvaluationError("field 'tests': expected a Python program that fails where the answer is wrong")
    return tests


def _golds(item: EvalItem) -> tuple[str, ...]:
    _tests_of(item)
    return () if item.answer is None else (item.answer,)


def _wrongs(item: EvalItem) -> tuple[str, ...]:
    # What is no program is failed without a run; "..." is one that does nothing, and tests that pass it test nothing.
    return tuple(text for text in MALFORMED if not text.strip() or text == "...")


def _tables(graded: Sequence[Graded]) -> Mapping[str, Any]:
    outcomes = Counter(str(one.verdict.details["outcome"]) for one in graded)
    levels = Counter(str(one.verdict.details["level"]) for one in graded if "level" in one.verdict.details)
    return {"outcomes": dict(sorted(outcomes.items())), "walls": dict(sorted(levels.items()))}
