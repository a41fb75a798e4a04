"""Was the header of a table read as its first row?

A header without its rights becomes an example: a class called "label", a question "question". Only the first row of a
file is ever suspected. Knows nothing of how tables are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self

from luthier.data.checks.check import Check, Context, Tally, Totals
from luthier.data.checks.finding import SPLITS, Finding, RowKey, SplitName, rows_word
from luthier.data.checks.row import CheckedRow

# What the columns of labels are called; no class is called so in a file where other rows have other classes.
_LABEL_WORDS = frozenset(
    ["label", "labels", "category", "categories", "class", "intent", "target", "sentiment", "tag"]
)
_WORDS = _LABEL_WORDS | frozenset(
    [
        "text",
        "texts",
        "sentence",
        "sms",
        "message",
        "content",
        "title",
        "document",
        "review",
        "comment",
        "query",
        "question",
        "questions",
        "prompt",
        "instruction",
        "input",
        "context",
        "passage",
        "answer",
        "answers",
        "response",
        "completion",
        "output",
        "reply",
        "id",
        "index",
        "source",
        "chosen",
        "rejected",
        "utterance",
        "tweet",
        "summary",
    ]
)
_LONGEST_NAME = 40


class _First(NamedTuple):
    """The first row of a file, and whether all of it reads like a header or its label alone."""

    key: RowKey
    split: SplitName
    is_header: bool
    label: str | None
    tally: Tally


class HeaderRow(Check):
    """The first row of a file, where it says what the columns are called."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.first: dict[int, _First] = {}
        self.labels: dict[tuple[int, str], int] = {}

    def see(self, row: CheckedRow) -> None:
        index = row.key.file
        label = _label_word(row)
        if label is not None:
            self.labels[index, label] = self.labels.get((index, label), 0) + 1
        if index not in self.first:
            tally = Tally()
            if row.example is not None:
                tally.add(row)
            self.first[index] = _First(row.key, row.split, _is_header(row), label, tally)

    def merge(self, later: Self) -> None:
        self.first = {**later.first, **self.first}
        for key, count in later.labels.items():
            self.labels[key] = self.labels.get(key, 0) + count

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            found = Tally()
            for index, first in sorted(self.first.items()):
                alone = first.label is not None and self.labels[index, first.label] == 1
                if first.split == split and (first.is_header or (alone and totals.rows[split] > 1)):
                    found.merge(first.tally)
            if found.count:
                yield found.finding(
                    "header_row_as_data",
                    "error",
                    split,
                    totals,
                    f"{found.count} of {rows_word(totals.rows[split])} is the header of its table, read as data"
                    if found.count == 1
                    else f"{found.count} of {rows_word(totals.rows[split])} are headers of tables, read as data",
                    "Read the file with its header, or remove the row.",
                )


def _label_word(row: CheckedRow) -> str | None:
    """The row's class, where it is a word that columns of classes are called by."""
    if row.example is None or row.example.label is None:
        return None
    low = row.example.label.strip().lower()
    return low if low in _LABEL_WORDS else None


def _is_header(row: CheckedRow) -> bool:
    """Is every text of the row the name of a column?"""
    if row.example is None:
        return False
    fields = [(key, value) for key, value in row.value.items() if value is not None]
    if any(not isinstance(value, str) or len(value) > _LONGEST_NAME for _, value in fields):
        return False
    named = [(key.strip().lower(), value.strip().lower()) for key, value in fields if value.strip()]
    if not named:
        return False
    if all(key == value for key, value in named):
        return True
    return len(named) > 1 and all(value == key or value in _WORDS for key, value in named)
