"""extraction: entities as JSON, whole and in part.

The gold answer, and an answer, is a list of {"text", "label"} objects, or an object of lists of texts by label.
Exact: text (but for case and spacing) and label are equal. Partial: with equal labels, the share of words that two
texts have in common counts, in the best assignment of found to gold entities.
This file knows nothing of models and files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import (
    MALFORMED,
    NONSENSE,
    Figure,
    Graded,
    Grader,
    Indices,
    mean_figure,
)
from luthier.evaluation.graders.json_text import read_json, spell_json
from luthier.evaluation.graders.verdict import Verdict, failed, scored
from luthier.evaluation.graders.words import fold
from luthier.evaluation.item import EvalItem

Entity = tuple[str, str]  # (folded text, label)


def entities(value: Any) -> list[Entity]:
    """The entities of a JSON value. Raises ValueError where it has neither of the two shapes."""
    if isinstance(value, Mapping):
        value = [
            {"text": text, "label": label}
            for label, texts in value.items()
            for text in (texts if isinstance(texts, list) else [texts])
        ]
    if not isinstance(value, list):
        raise ValueError('expected a list of {"text", "label"} or an object of texts by label')
    found = []
    for entry in value:
        text, label = (entry.get("text"), entry.get("label")) if isinstance(entry, Mapping) else (None, None)
        if not isinstance(text, str) or not isinstance(label, str) or not text.strip():
            raise ValueError(f"an entity is not a text with a label: {spell_json(entry):.60}")
        found.append((fold(text), label.strip()))
    return found


def _gold(item: EvalItem) -> list[Entity]:
    try:
        return entities(read_json(item.answer or ""))
    except ValueError as error:
        raise EvaluationError(f"field 'answer': {error}") from error


def grade(item: EvalItem, answer: str) -> Verdict:
    """Scored by the exact F1 of this item; 1 where nothing was to be found and nothing was."""
    gold = _gold(item)
    try:
        found = entities(read_json(answer))
    except ValueError as error:
        missed = {label: [0, 0, count] for label, count in Counter(label for _, label in gold).items()}
        return failed(f"malformed: {error}", malformed=True, counts=missed, overlap=0.0)
    counts: dict[str, list[int]] = {}
    for label in sorted({label for _, label in (*gold, *found)}):
        wanted, given = (Counter(text for text, one in side if one == label) for side in (gold, found))
        hits = (wanted & given).total()
        counts[label] = [hits, given.total() - hits, wanted.total() - hits]
    hits = sum(count[0] for count in counts.values())
    score = 2 * hits / (len(gold) + len(found)) if gold or found else 1.0
    what = f"{hits} of {len(gold)} found, {len(found) - hits} wrong"
    return scored(score, what, malformed=False, counts=counts, overlap=_overlap(gold, found))


def _overlap(gold: Sequence[Entity], found: Sequence[Entity]) -> float:
    """The sum of word overlaps (Dice) of the best assignment of found to gold entities with the same label."""
    from scipy.optimize import linear_sum_assignment

    if not gold or not found:
        return 0.0
    shares = np.array([[_dice(a, b) if x == y else 0.0 for b, y in found] for a, x in gold])
    rows, columns = linear_sum_assignment(shares, maximize=True)
    return float(shares[rows, columns].sum())


def _dice(first: str, second: str) -> float:
    one, other = Counter(first.split()), Counter(second.split())
    return 2 * (one & other).total() / (one.total() + other.total())


def _figures(graded: Sequence[Graded]) -> list[Figure]:
    details = [one.verdict.details for one in graded]
    totals = np.asarray([np.sum([*d["counts"].values(), [0, 0, 0]], axis=0) for d in details], dtype=float)
    overlaps = np.asarray([d["overlap"] for d in details])
    everything = tuple(range(len(graded)))

    def figure(name: str, weight_of_false: int, weight_of_missed: int) -> Figure:
        """hits / (hits + the weighted mean of false and missed ones)."""

        def of(drawn: Indices) -> float:
            hits, false, missed = totals[drawn].sum(axis=0)
            if not hits and false + missed:
                return 0.0
            return _ratio(2 * hits, 2 * hits + weight_of_false * false + weight_of_missed * missed)

        return Figure(name, of, everything)

    def partial_f1(drawn: Indices) -> float:
        hits, false, missed = totals[drawn].sum(axis=0)
        return _ratio(2 * float(overlaps[drawn].sum()), 2 * hits + false + missed)

    return [
        figure("exact_f1", 1, 1),
        figure("exact_precision", 2, 0),
        figure("exact_recall", 0, 2),
        Figure("partial_f1", partial_f1, everything),
        *mean_figure("malformed", [float(d["malformed"]) for d in details]),
    ]


def _ratio(top: float, bottom: float) -> float:
    """1 where nothing was to be found and nothing was."""
    return float(top / bottom) if bottom else 1.0


def _tables(graded: Sequence[Graded]) -> Mapping[str, Any]:
    by_label: dict[str, list[int]] = {}
    for one in graded:
        for label, counts in one.verdict.details["counts"].items():
            by_label[label] = [a + b for a, b in zip(by_label.get(label, [0, 0, 0]), counts, strict=True)]
    return {
        "by_label": {
            label: {
                "hits": hits,
                "wrong": false,
                "missed": missed,
                "f1": _ratio(2 * hits, 2 * hits + false + missed),
            }
            for label, (hits, false, missed) in sorted(by_label.items())
        }
    }


def _golds(item: EvalItem) -> tuple[str, ...]:
    _gold(item)
    return (item.answer or "", f"```json\n{item.answer}\n```")


def _wrongs(item: EvalItem) -> tuple[str, ...]:
    label = _gold(item)[0][1] if _gold(item) else "label"
    wrong = [spell_json([{"text": text, "label": label}]) for text in NONSENSE]
    empty = ["[]", "{}"] if _gold(item) else []
    return (*MALFORMED, *NONSENSE, "null", '[{"text": 1}]', *wrong, *empty)


EXTRACTION = Grader("extraction", grade, _golds, _wrongs, json_answer=True, figures=_figures, tables=_tables)
