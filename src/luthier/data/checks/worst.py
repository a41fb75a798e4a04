"""The rows with which most is wrong: those that stand in the most findings.

A finding names its first twenty rows, so among thousands of bad rows these are the worst of the ones that are named.
Knows nothing of single checks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data.checks.finding import Finding, RowKey, Severity, SplitName

MAX_WORST_ROWS = 10
_MIN_FINDINGS = 2  # a row with one trouble is told by its finding
_WEIGHT: dict[Severity, int] = {"error": 100, "warning": 10, "note": 1}


@dataclass(frozen=True)
class WorstRow:
    """One row with its place, what it says in one line, and the names of the findings that it stands in."""

    place: str
    split: SplitName
    summary: str
    findings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values."""
        return {
            "place": self.place,
            "split": self.split,
            "summary": self.summary,
            "findings": list(self.findings),
        }


def find_worst(found: Sequence[Finding]) -> dict[RowKey, tuple[str, ...]]:
    """The worst rows, worst first, each with the names of its findings; errors weigh most, earlier rows come first."""
    of_row: dict[RowKey, dict[str, Severity]] = {}
    for finding in found:
        for key in finding.rows:
            of_row.setdefault(key, {})[finding.name] = finding.severity
    several = {key: names for key, names in of_row.items() if len(names) >= _MIN_FINDINGS}
    worst = sorted(several, key=lambda key: (-sum(_WEIGHT[one] for one in several[key].values()), key))
    return {key: tuple(several[key]) for key in worst[:MAX_WORST_ROWS]}
