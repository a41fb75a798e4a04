"""tool_calls: the right tools with the right arguments, and none where none is wanted.

The gold answer is a list of {"name", "arguments"}; an empty list where no tool is to be called. Calls are read from
<tool_call> ... </tool_call>, or from an answer that is JSON as a whole. Right is: the same calls, in the same order.
This file knows nothing of models and files, and runs no tool.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.chat.parts import Markup
from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import NONSENSE, Figure, Graded, Grader, mean_figure
from luthier.evaluation.graders.json_answer import field_accuracy
from luthier.evaluation.graders.json_text import read_json, spell_json
from luthier.evaluation.graders.verdict import Verdict, failed, passed
from luthier.evaluation.graders.words import is_blank
from luthier.evaluation.item import EvalItem

_BLOCK = re.compile(f"{Markup.CALL_OPEN}(.*?){Markup.CALL_CLOSE}", re.DOTALL)
_NOTHING_TO_CALL = "No tool is needed for that."

Call = tuple[str, Mapping[str, Any]]


def calls_of(value: Any) -> list[Call]:
    """The calls of a JSON value: an object or a list of them. Raises ValueError where it is something else."""
    calls = []
    for entry in value if isinstance(value, list) else [value]:
        entry = entry.get("function", entry) if isinstance(entry, Mapping) else entry
        name = entry.get("name") if isinstance(entry, Mapping) else None
        arguments = entry.get("arguments", {}) if isinstance(entry, Mapping) else None
        arguments = read_json(arguments) if isinstance(arguments, str) else arguments
        if not isinstance(name, str) or not isinstance(arguments, Mapping):
            raise ValueError(f"expected a name with arguments, found {spell_json(entry):.60}")
        calls.append((name, arguments))
    return calls


def calls_in(answer: str) -> list[Call]:
    """The calls that an answer makes; none where it is words alone. Raises ValueError where one cannot be read."""
    blocks = _BLOCK.findall(answer)
    if blocks:
        return [call for block in blocks for call in calls_of(read_json(block))]
    if Markup.CALL_OPEN in answer:
        raise ValueError("a call was begun and not ended")
    if not re.match(r"\s*(?:[\[{]|```)", answer):
        return []
    return calls_of(read_json(answer))


def spell_calls(calls: Sequence[Call]) -> str:
    """Calls in the markup that `calls_in` reads."""
    return "\n".join(
        f"{Markup.CALL_OPEN}{spell_json({'name': name, 'arguments': dict(arguments)})}{Markup.CALL_CLOSE}"
        for name, arguments in calls
    )


def _gold(item: EvalItem) -> list[Call]:
    try:
        return calls_of(read_json(item.answer or ""))
    except ValueError as error:
        raise EvaluationError(f"field 'answer': {error}") from error


def grade(item: EvalItem, answer: str) -> Verdict:
    """Passed where the calls are the gold ones, in their order."""
    gold = _gold(item)
    details: dict[str, Any] = {"wanted": bool(gold), "called": False, "names": 0.0, "arguments": 0.0}
    if is_blank(answer):
        return failed("the answer is empty", **details)
    try:
        found = calls_in(answer)
    except ValueError as error:
        return failed(f"malformed: {error}", **details)
    names = [name for name, _ in found] == [name for name, _ in gold]
    shares = [field_accuracy(a, b) for (_, a), (_, b) in zip(gold, found, strict=False)] if names else []
    details |= {
        "called": bool(found),
        "names": float(names),
        "arguments": sum(shares) / len(shares) if shares else float(names),
    }
    if names and all(share == 1.0 for share in shares):
        return passed(f"{len(gold)} calls as expected", **details)
    return failed(f"expected {spell_json(gold):.160}, found {spell_json(found):.160}", **details)


def _golds(item: EvalItem) -> tuple[str, ...]:
    gold = _gold(item)
    if not gold:
        return (_NOTHING_TO_CALL,)
    return (spell_calls(gold), spell_json([{"name": n, "arguments": dict(a)} for n, a in gold]))


def _wrongs(item: EvalItem) -> tuple[str, ...]:
    gold = _gold(item)
    malformed = ("", " \n", "...", "{[(", f"{Markup.CALL_OPEN}{{", f"{Markup.CALL_OPEN}x{Markup.CALL_CLOSE}")
    if not gold:
        return (*malformed, spell_calls([("blorptang", {})]))
    name, arguments = gold[0]
    changed = [(name, {**arguments, "blorptang": NONSENSE[0]}), *gold[1:]]
    renamed = [("blorptang", arguments), *gold[1:]]
    return (*malformed, _NOTHING_TO_CALL, *map(spell_calls, (changed, renamed, [*gold, gold[-1]])))


def _figures(graded: Sequence[Graded]) -> list[Figure]:
    details = [one.verdict.details for one in graded]
    wanted = [d["wanted"] for d in details]
    return [
        *mean_figure("accuracy", [one.verdict.score for one in graded]),
        *mean_figure("right_tools", [d["names"] if d["wanted"] else None for d in details]),
        *mean_figure("arguments", [d["arguments"] if d["wanted"] else None for d in details]),
        *mean_figure(
            "needless_calls",
            [None if yes else float(d["called"]) for yes, d in zip(wanted, details, strict=True)],
        ),
    ]


TOOL_CALLS = Grader("tool_calls", grade, _golds, _wrongs, json_answer=True, figures=_figures)
