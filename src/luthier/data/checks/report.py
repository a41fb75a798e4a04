"""What was read and what was found, as a value and as JSON.

Knows nothing of single checks and of how a report is shown.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from luthier.data.checks.finding import (
    MAX_EXAMPLES,
    Finding,
    ReportedFinding,
    RowKey,
    Severity,
    Shown,
    SplitName,
    distinct,
    shorten,
)
from luthier.data.checks.ledger import Column, Ledger
from luthier.data.checks.row import CheckedRow
from luthier.data.checks.worst import WorstRow, find_worst
from luthier.private import mask

Word = Literal["clean", "warnings", "errors"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class FileSummary:
    """One file as it was read.

    shapes: how many rows have each recognised format (`unknown`: none). read_as: what kind of file, and from what
    that was seen. recognised: from what its format was seen.
    """

    path: str
    split: SplitName
    num_rows: int
    num_distinct_rows: int
    num_distinct_prompts: int
    num_distinct_answers: int
    shapes: dict[str, int]
    read_as: str = ""
    recognised: str = ""

    @property
    def shape_words(self) -> str:
        """`messages`; `messages 90, unknown 10` where rows differ."""
        if len(self.shapes) == 1:
            return next(iter(self.shapes))
        return ", ".join(f"{shape} {count:,}" for shape, count in self.shapes.items())

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values."""
        return {
            "path": self.path,
            "split": self.split,
            "rows": self.num_rows,
            "distinct_rows": self.num_distinct_rows,
            "distinct_prompts": self.num_distinct_prompts,
            "distinct_answers": self.num_distinct_answers,
            "shapes": self.shapes,
            "read_as": self.read_as,
            "recognised": self.recognised,
        }


@dataclass(frozen=True)
class Report:
    """Everything the checks said. `word`: `errors` if any, else `warnings` if any, else `clean`.

    worst: the rows that stand in the most findings.
    figures: numbers that are no finding, from the checks' `figures`: lengths, classes, languages, ...
    """

    files: tuple[FileSummary, ...]
    findings: tuple[ReportedFinding, ...]
    worst: tuple[WorstRow, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)

    def count(self, severity: Severity) -> int:
        """How many findings have this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def word(self) -> Word:
        if self.count("error"):
            return "errors"
        return "warnings" if self.count("warning") else "clean"

    def exit_code(self, strict: bool = False) -> int:
        """0 clean (warnings too, unless strict), 1 warnings, 2 errors."""
        return {"clean": 0, "warnings": int(strict), "errors": 2}[self.word]

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values."""
        return {
            "word": self.word,
            "files": [file.to_dict() for file in self.files],
            "findings": [finding.to_dict() for finding in self.findings],
            "worst_rows": [row.to_dict() for row in self.worst],
            "figures": dict(self.figures),
        }


def verdict(report: Report) -> str:
    """What the report says in one line: `2 errors, 1 note.`"""
    if not report.findings:
        return "Clean: no check has anything to say."
    counts = [(severity, report.count(severity)) for severity in SEVERITIES if report.count(severity)]
    said = ", ".join(f"{count} {severity}{'s' if count > 1 else ''}" for severity, count in counts)
    return f"Clean, with {said}." if report.word == "clean" else f"{said}."


def sort_findings(findings: Sequence[ReportedFinding]) -> tuple[ReportedFinding, ...]:
    """Errors first; within a severity the order in which the checks spoke."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def rows_to_read(found: Sequence[Finding]) -> set[RowKey]:
    """The rows that a report tells something of, beyond their place."""
    return {key for finding in found for one in _shown(finding) for key in one.rows} | find_worst(
        found
    ).keys()


def name_rows(
    found: Sequence[Finding],
    place: Callable[[RowKey], str],
    rows: Mapping[RowKey, CheckedRow],
    paths: Collection[str] = (),
) -> list[ReportedFinding]:
    """Give the rows of findings their places, and tell the examples that are told from rows.

    Secrets are masked; `paths`, the files' own names, are none, however much they look like one.
    """
    reported = []
    for finding in found:
        some = _shown(finding)
        told = [
            one.words.format(*(rows[key] for key in one.rows)) for one in some if rows.keys() >= set(one.rows)
        ]
        examples = told if finding.examples is None else finding.examples
        reported.append(
            ReportedFinding(
                name=finding.name,
                severity=finding.severity,
                split=finding.split,
                message=_masked(finding.message, paths),
                count=finding.count,
                share=finding.share,
                rows=tuple(key.number for key in finding.rows),
                places=tuple(place(key) for key in finding.rows),
                examples=tuple(shorten(_masked(example, paths)) for example in distinct(examples)),
                advice=finding.advice,
            )
        )
    return reported


def name_worst(
    found: Sequence[Finding],
    place: Callable[[RowKey], str],
    rows: Mapping[RowKey, CheckedRow],
    paths: Collection[str] = (),
) -> tuple[WorstRow, ...]:
    """The worst rows in words. Secrets are masked, `paths` are not."""
    return tuple(
        WorstRow(place(key), rows[key].split, shorten(_masked(rows[key].summary, paths)), names)
        for key, names in find_worst(found).items()
        if key in rows
    )


def _masked(text: str, paths: Collection[str]) -> str:
    named = [path for path in paths if path in text]
    if not named:
        return mask(text)
    parts = re.split("(" + "|".join(map(re.escape, sorted(named, key=len, reverse=True))) + ")", text)
    return "".join(part if part in named else mask(part) for part in parts)


def _shown(finding: Finding) -> list[Shown]:
    """From which rows the examples of a finding are told; of its own first rows a few, in case they say the same."""
    if finding.examples is not None:
        return []
    rows = finding.shown or finding.rows[: 3 * MAX_EXAMPLES]
    return [one if isinstance(one, Shown) else Shown((one,)) for one in rows]


def count_distinct(ledger: Ledger, column: Column, num_files: int) -> list[int]:
    """How many distinct values of a column each file has."""
    counts = np.zeros(num_files, np.int64)
    for records in ledger.sorted_by(column):
        values, files = records[column], records["file"]
        new = np.ones(len(records), bool)
        new[1:] = (values[1:] != values[:-1]) | (files[1:] != files[:-1])
        counts += np.bincount(files[new], minlength=num_files)
    return [int(count) for count in counts]
