"""Results on the same items as a record of a specialist: accuracies with intervals, pairs, some answers side by side.

The last result is the specialist's own, those before it are what it is held against: the base, the champion.
Knows nothing of how the answers came to be.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluation.compare import compare
from luthier.evaluation.graders import VerdictWord
from luthier.evaluation.runner import EvalResult, ItemResult

EVALUATION = "evaluation"
"""The kind of the record."""

FORMAT = 1
_MAX_SAMPLES = 12
_MAX_TEXT = 2000


def evaluation_record(name: str, results: Sequence[EvalResult], **said: Any) -> dict[str, Any]:
    """`{format, name, comparison, samples}` and what else is `said`, as JSON values.

    Raises EvaluationError with fewer than two results, or where they are not on the same items.
    """
    return {
        "format": FORMAT,
        "name": name,
        **said,
        "comparison": compare(results).to_dict(),
        "samples": list(_samples(results)),
    }


def _samples(results: Sequence[EvalResult]) -> list[dict[str, Any]]:
    """Up to twelve items, spread over the file: at most a third won and a third lost against the first, the rest alike.

    Chosen by these counts alone, never by how an answer reads.
    """
    first, last = results[0], results[-1]
    before = {item.id: item for item in first.items}
    groups: dict[str, list[ItemResult]] = {"won": [], "lost": [], "alike": []}
    for item in last.items:
        groups[_outcome(before[item.id], item)].append(item)
    third = _MAX_SAMPLES // 3
    won, lost = _spread(groups["won"], third), _spread(groups["lost"], third)
    alike = _spread(groups["alike"], _MAX_SAMPLES - len(won) - len(lost))
    answers = [{item.id: item for item in result.items} for result in results]
    return [
        {
            "id": item.id,
            "outcome": outcome,
            "prompt": _cut(item.prompt),
            "answers": [_answer(one[item.id]) for one in answers],
        }
        for outcome, chosen in (("won", won), ("lost", lost), ("alike", alike))
        for item in chosen
    ]


def _outcome(before: ItemResult, after: ItemResult) -> str:
    passed = [one.verdict is VerdictWord.PASSED for one in (before, after)]
    graded = VerdictWord.UNGRADABLE not in (before.verdict, after.verdict)
    if not graded or passed[0] == passed[1]:
        return "alike"
    return "won" if passed[1] else "lost"


def _spread(items: Sequence[ItemResult], most: int) -> list[ItemResult]:
    step = max(1, len(items) // most) if most else 1
    return list(items[::step][:most])


def _answer(item: ItemResult) -> Mapping[str, Any]:
    return {"text": _cut(item.answer), "verdict": item.verdict.value, "reason": _cut(item.reason)}


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} … ({len(text):,} characters)"
