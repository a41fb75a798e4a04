"""What was read and what was found, as a value, as JSON and as a page for the terminal.

Knows nothing of single checks.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from luthier.data.checks.finding import CheckedRow, Finding, Severity, SplitName

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

Word = Literal["clean", "warnings", "errors"]
_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
_STYLE: dict[Severity, str] = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}
_MAX_ROWS_SHOWN = 8


@dataclass(frozen=True)
class FileSummary:
    """One file as it was read. `shapes`: how many rows have each recognised format (`unknown`: none)."""

    path: str
    split: SplitName
    num_rows: int
    num_distinct_rows: int
    num_distinct_prompts: int
    num_distinct_answers: int
    shapes: dict[str, int]

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
        }


def summarise(path: str, split: SplitName, rows: Sequence[CheckedRow]) -> FileSummary:
    """Count a file's rows."""
    return FileSummary(
        path=path,
        split=split,
        num_rows=len(rows),
        num_distinct_rows=len({row.content for row in rows} - {None}),
        num_distinct_prompts=len({row.prompt for row in rows} - {None}),
        num_distinct_answers=len({row.answer for row in rows} - {None}),
        shapes=dict(Counter(row.shape or "unknown" for row in rows).most_common()),
    )


@dataclass(frozen=True)
class Report:
    """Everything the checks said. `word`: `errors` if any, else `warnings` if any, else `clean`."""

    files: tuple[FileSummary, ...]
    findings: tuple[Finding, ...]

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
        }


def sort_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors first; within a severity the order in which the checks spoke."""
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity]))


def render_report(report: Report) -> "RenderableType":
    """The report as a page: what was read, the verdict, each finding with what to do."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = [_files_table(report), Text(), _headline(report)]
    for finding in report.findings:
        parts += [Text(), _title(finding), *(Padding(line, (0, 0, 0, 2)) for line in _details(finding))]
    return Group(*parts)


def _files_table(report: Report) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("split")
    table.add_column("file", overflow="fold")
    table.add_column("format")
    for name in ("rows", "distinct", "prompts", "answers"):
        table.add_column(name, justify="right")
    for file in report.files:
        counts = (file.num_rows, file.num_distinct_rows, file.num_distinct_prompts, file.num_distinct_answers)
        shapes = ", ".join(
            shape if len(file.shapes) == 1 else f"{shape} {count}" for shape, count in file.shapes.items()
        )
        table.add_row(file.split, Text(file.path), shapes, *(f"{count:,}" for count in counts))
    return table


def _headline(report: Report) -> "Text":
    from rich.text import Text

    if not report.findings:
        return Text("Clean: no check has anything to say.", style="bold green")
    counts = [(severity, report.count(severity)) for severity in _ORDER if report.count(severity)]
    said = ", ".join(f"{count} {severity}{'s' if count > 1 else ''}" for severity, count in counts)
    return Text(f"Clean, with {said}." if report.word == "clean" else f"{said}.", style="bold")


def _title(finding: Finding) -> "Text":
    from rich.text import Text

    return Text.assemble((finding.severity, _STYLE[finding.severity]), "  ", (finding.message, "bold"))


def _details(finding: Finding) -> "list[Text]":
    from rich.text import Text

    shown = ", ".join(str(number) for number in finding.rows[:_MAX_ROWS_SHOWN])
    more = f" and {finding.count - _MAX_ROWS_SHOWN} more" if finding.count > _MAX_ROWS_SHOWN else ""
    lines = "line" if finding.count == 1 else "lines"
    return [
        Text(f"{finding.name}: {finding.split} {lines} {shown}{more}", style="dim"),
        *(Text(e, style="italic", no_wrap=True, overflow="ellipsis") for e in finding.examples[:1]),
        Text(finding.advice),
    ]
