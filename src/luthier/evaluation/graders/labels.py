"""classification: the answer is one label of a closed set.

The answer is the label, or holds exactly one of the labels; with none or several it has no label, which counts as
wrong and is shown. Figures: macro and weighted F1, precision, recall, worked out here, since a bootstrap asks for them
thousands of times; tables by scikit-learn: the confusion matrix, figures by label.
This file knows nothing of models and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import EvaluationError
from luthier.evaluation.graders.grader import (
    MALFORMED,
    NONSENSE,
    Figure,
    Graded,
    Grader,
    Indices,
    accuracy_figures,
    mean_figure,
)
from luthier.evaluation.graders.needs import need
from luthier.evaluation.graders.text import occurs
from luthier.evaluation.graders.verdict import Verdict, failed, passed
from luthier.evaluation.graders.words import plain
from luthier.evaluation.item import EvalItem

NO_LABEL = "(no label)"


def label_of(answer: str, labels: Sequence[str]) -> str | None:
    """The label that the answer is, or the only one that occurs in it; a longer label hides those inside it."""
    said = plain(answer)
    for label in labels:
        if said == plain(label):
            return label
    found = [label for label in labels if occurs(label, answer)]
    outer = [a for a in found if not any(a != b and occurs(a, b) for b in found)]
    return outer[0] if len(outer) == 1 else None


def classification(labels: Sequence[str]) -> Grader:
    """A grader for these labels. Raises EvaluationError with fewer than two, or two that read alike."""
    labels = tuple(labels)
    if len({plain(label) for label in labels}) != len(labels) or len(labels) < 2:
        raise EvaluationError(
            f"labels: expected two or more that differ but for case and spacing, found {len(labels)}"
        )

    def gold(item: EvalItem) -> str:
        known = [label for label in labels if plain(label) == plain(item.answer or "")]
        if not known:
            raise EvaluationError(f"field 'answer': {item.answer!r} is none of the {len(labels)} labels")
        return known[0]

    def grade(item: EvalItem, answer: str) -> Verdict:
        found, right = label_of(answer, labels), gold(item)
        what = {"gold": right, "predicted": found or NO_LABEL}
        if found is None:
            return failed("the answer names no label, or several", **what)
        return passed(found, **what) if found == right else failed(f"{found}, expected {right}", **what)

    def wrongs(item: EvalItem) -> tuple[str, ...]:
        right = gold(item)
        others = [label for label in labels if label != right]
        blank = [text for text in (*MALFORMED, *NONSENSE) if plain(text) != plain(right)]
        return (*blank, *others, " ; ".join(labels))

    return Grader(
        "classification",
        grade,
        lambda item: (gold(item),),
        wrongs,
        figures=lambda graded: _figures(graded, labels),
        tables=lambda graded: _tables(graded, labels),
    )


def _predictions(graded: Sequence[Graded]) -> tuple[NDArray[Any], NDArray[Any]]:
    details = [one.verdict.details for one in graded]
    return np.asarray([d["gold"] for d in details]), np.asarray([d["predicted"] for d in details])


def _figures(graded: Sequence[Graded], labels: Sequence[str]) -> list[Figure]:
    gold_N, predicted_N = _predictions(graded)
    names = sorted({*gold_N, *predicted_N, NO_LABEL})
    gold_codes_N, predicted_codes_N = np.searchsorted(names, gold_N), np.searchsorted(names, predicted_N)
    no_label = names.index(NO_LABEL)
    everything = tuple(range(len(graded)))

    def figure(name: str, measure: str, *, weighted: bool = False) -> Figure:
        def of(drawn: Indices) -> float:
            gold, predicted = gold_codes_N[drawn], predicted_codes_N[drawn]
            right_L = np.bincount(gold[gold == predicted], minlength=len(names))
            is_L, said_L = (np.bincount(codes, minlength=len(names)) for codes in (gold, predicted))
            among_L = {"precision": said_L, "recall": is_L, "f1": (said_L + is_L) / 2}[measure]
            values_L = right_L / np.where(among_L > 0, among_L, 1)
            # Labels that no drawn item has are left out: their F1 is not 0, there is none.
            present_L = is_L + said_L > 0
            present_L[no_label] = False
            return float(np.average(values_L[present_L], weights=is_L[present_L] if weighted else None))

        return Figure(name, of, everything)

    return [
        *accuracy_figures(graded),
        figure("macro_f1", "f1"),
        figure("weighted_f1", "f1", weighted=True),
        figure("macro_precision", "precision"),
        figure("macro_recall", "recall"),
        *mean_figure("no_label", [float(found == NO_LABEL) for found in predicted_N]),
    ]


def _tables(graded: Sequence[Graded], labels: Sequence[str]) -> Mapping[str, Any]:
    metrics = need("sklearn.metrics", "metrics")
    gold_N, predicted_N = _predictions(graded)
    present = sorted(set(gold_N) | set(predicted_N))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        gold_N, predicted_N, labels=present, zero_division=0.0
    )
    # Of a single label scikit-learn would warn that it cannot know the others.
    matrix = (
        metrics.confusion_matrix(gold_N, predicted_N, labels=present).tolist()
        if len(present) > 1
        else [[len(graded)]]
    )
    return {
        "confusion": {"labels": present, "gold_by_predicted": matrix},
        "by_label": {
            label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for label, p, r, f, n in zip(present, precision, recall, f1, support, strict=True)
            if label in labels
        },
    }
