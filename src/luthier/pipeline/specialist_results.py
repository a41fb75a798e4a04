"""Results on the same items as a record of a specialist: accuracies with intervals, pairs, some answers side by side.

The last result is the specialist's own, those before it are what it is held against: the base, the champion.
Knows nothing of how the answers came to be.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.errors import EvaluationError
from luthier.evaluation.compare import compare
from luthier.evaluation.gate.evidence import AskedSet
from luthier.evaluation.graders import VerdictWord
from luthier.evaluation.runner import EvalResult, ItemResult
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import SpecialistStore

EVALUATION = "evaluation"
"""The kind of the record."""

FORMAT = 1
_MAX_SAMPLES = 12
_MAX_TEXT = 2000


def evaluation_record(name: str, results: Sequence[EvalResult], **said: Any) -> dict[str, Any]:
    """`{format, name, word, told, comparison, samples}` and what else is `said`, as JSON values.

    `word` is the verdict of the last pair, `told` its numbers in a line.

    Raises EvaluationError with fewer than two results, or where they are not on the same items.
    """
    comparison = compare(results)
    own, pair = comparison.entries[-1], comparison.pairs[-1]
    against = f"{100 * pair.difference:+.1f} points against {pair.first}"
    told = f"{own.tally.accuracy:.1%} of {own.tally.num_graded}, {against}"
    return {
        "format": FORMAT,
        "name": name,
        "word": pair.verdict.value,
        "told": told,
        **said,
        "comparison": comparison.to_dict(),
        "samples": list(_samples(results)),
    }


def keep_gate_results(store: SpecialistStore, one: Specialist, sets: Iterable[AskedSet]) -> None:
    """Keep what a gate measured on each set that both sides were asked; the champion (or the base) comes first.

    A set on which no item could be graded on both sides is left to the verdict's reasons.
    """
    for asked in sets:
        if asked.against is None:
            continue
        try:
            record = evaluation_record(asked.name, (asked.against, asked.candidate), role=asked.role)
        except EvaluationError:
            continue
        store.attach(one, EVALUATION, record)


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
