"""Are there enough rows for what is to be learnt?

A guide, not a law: rules of thumb of practice. What can be cited: 50 to 100 well-made examples showed improvements,
and 50 are what to begin with ("Supervised fine-tuning", OpenAI's developer guide); 1,000 curated examples taught a
65B model to answer in a chat (LIMA, Zhou et al. 2023, arXiv:2305.11206). The other numbers follow from experience
with small models. Counts distinct rows, since a copy teaches nothing new. Knows nothing of what the rows say.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from luthier.data.checks.check import Check, Context, Totals
from luthier.data.checks.finding import Finding
from luthier.data.checks.ledger import KINDS, Ledger, starts
from luthier.errors import ConfigError

_MIN_ROWS_PER_CLASS = 5
_MAX_CLASSES = 500
_NEARLY = 0.9  # 999 rows are a thousand


@dataclass(frozen=True)
class Guide:
    """How many distinct rows a kind of task begins to work with, and when it is on safe ground, in words."""

    what: str
    few: int
    good: str


GUIDES: dict[str, Guide] = {
    "style": Guide("a style or a format", 100, "200 are better"),
    "task": Guide("a task", 500, "1,000 are better"),
    "domain": Guide("a domain", 1000, "more are better"),
    "classification": Guide(
        "each class", 50, "200 are better, and 1,000 where classes are hard to tell apart"
    ),
    "preference": Guide("preferences", 500, "5,000 are better"),
}
_BY_KIND = {
    "chat": "task",
    "text": "domain",
    "preference": "preference",
    "feedback": "preference",
    "classification": "classification",
    "extraction": "task",
    "retrieval": "task",
}


class Size(Check):
    """Fewer distinct training rows than the kind of task begins to work with. An unknown task is a ConfigError."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if context.task is not None and context.task not in GUIDES:
            raise ConfigError(f"the task {context.task!r} is not known: expected one of {', '.join(GUIDES)}")

    def findings(self, totals: Totals) -> Iterable[Finding]:
        rows, kind = _distinct_rows(totals.ledger)
        if not rows:
            return
        labels = _num_labels(totals.ledger)
        task = self.context.task or ("classification" if labels and kind == "chat" else _BY_KIND[kind])
        guide = GUIDES[task]
        factor = max(labels, 1) if task == "classification" else 1
        if rows >= _NEARLY * guide.few * factor:
            return
        have = f"{rows:,} distinct training row{'' if rows == 1 else 's'}"
        if factor > 1:
            have += f" for {labels:,} classes"
        yield Finding(
            "few_rows",
            "note",
            "train",
            f"{have}: as a guide, {guide.few:,} at least for {guide.what}; {guide.good}",
            "A rule of thumb, not a law: train, measure, and add rows of the kind that goes wrong. If the rows are for "
            "something else, say so with --task.",
            rows,
            1.0,
            examples=(),
        )


def _distinct_rows(ledger: Ledger) -> tuple[int, str]:
    """(distinct training rows, the kind that most of them are of)."""
    counts = np.zeros(len(KINDS), np.int64)
    for records in ledger.sorted_by("content", ["train"]):
        first = starts(records["content"])
        counts += np.bincount(records["kind"][first], minlength=len(KINDS))
    return int(counts.sum()), KINDS[int(counts.argmax())]


def _num_labels(ledger: Ledger) -> int:
    """How many classes the answers are, if they look like classes: short, few, each several times; else 0."""
    rows, distinct, short = 0, 0, 0
    for records in ledger.sorted_by("answer", ["train"]):
        first = starts(records["answer"])
        rows += len(records)
        distinct += len(first)
        short += int(records["labelish"][first].sum())
    few = distinct <= min(_MAX_CLASSES, rows // _MIN_ROWS_PER_CLASS)
    return distinct if few and distinct > 1 and short == distinct else 0
