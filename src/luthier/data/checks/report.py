"""What was read and what was found, as a value and as JSON.

Knows nothing of single checks and of how a report is shown.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from luthier.data.checks.secrets import mask

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

    figures: numbers that are no finding, from the checks' `figures`: lengths, classes, languages, ...
    """

    files: tuple[FileSummary, ...]
    findings: tuple[ReportedFinding, ...]
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
            "figures": dict(self.figures),
        }


def sort_findings(findings: Sequence[ReportedFinding]) -> tuple[ReportedFinding, ...]:
    """Errors first; within a severity the order in which the checks spoke."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def name_rows(
    found: Sequence[Finding],
    place: Callable[[RowKey], str],
    read: Callable[[Iterable[RowKey]], Mapping[RowKey, CheckedRow]],
) -> list[ReportedFinding]:
    """Give the rows of findings their places, and tell the examples that are told from rows. Secrets are masked."""
    shown = [_shown(finding) for finding in found]
    rows = read({key for some in shown for one in some for key in one.rows})
    reported = []
    for finding, some in zip(found, shown, strict=True):
        told = [one.words.format(*(rows[key] for key in one.rows)) for one in some if rows.keys() >= set(one.rows)]
        examples = told if finding.examples is None else finding.examples
        reported.append(
            ReportedFinding(
                name=finding.name,
                severity=finding.severity,
                split=finding.split,
                message=mask(finding.message),
                count=finding.count,
                share=finding.share,
                rows=tuple(key.number for key in finding.rows),
                places=tuple(place(key) for key in finding.rows),
                examples=tuple(shorten(mask(example)) for example in distinct(examples)),
                advice=finding.advice,
            )
        )
    return reported


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
