"""The report as a page for the terminal: what was read, the verdict, each finding with what to do.

Knows nothing of single checks.
"""

import re
from collections import Counter
from typing import TYPE_CHECKING

from luthier.data.checks.finding import ReportedFinding, Severity
from luthier.data.checks.report import Report, verdict

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_STYLE: dict[Severity, str] = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}
_MAX_ROWS_SHOWN = 3
_MAX_WHOLE = 7
_MAX_FILES_SHOWN = 12
_FOLDERS = re.compile(r"^.*[/\\]")
_AFTER_PLACE = re.compile(r"^(:\d+)?: ")


def render_report(report: Report, *, full: bool = True) -> "RenderableType":
    """The report for `rich` to print. Not in full, the first findings are told whole and the others in a line each."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = [_files_table(report), Text(), _headline(report)]
    advised: set[str] = set()
    num_files = Counter(file.split for file in report.files)
    several = {split for split, count in num_files.items() if count > 1}
    told = len(report.findings) if full else _told_whole(report)
    for finding in report.findings[:told]:
        details = [_where(finding, several=finding.split in several)]
        if finding.advice not in advised:
            details.append(Text(finding.advice))
            advised.add(finding.advice)
        parts += [Text(), _title(finding), *(Padding(line, (0, 0, 0, 2)) for line in details)]
    if told < len(report.findings):
        parts.append(Text())
        parts += [
            _title(finding) + Text(f"  {finding.name}", style="dim") for finding in report.findings[told:]
        ]
        parts += [
            Text(),
            Text("Where, examples and what to do about these: --full, or --html PAGE.", style="dim"),
        ]
    return Group(*parts)


def _told_whole(report: Report) -> int:
    """How many findings to tell whole, so that the page stays one screen; one more line each is never hidden."""
    return len(report.findings) if len(report.findings) <= _MAX_WHOLE + 1 else _MAX_WHOLE


def _files_table(report: Report) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("split")
    table.add_column("file", overflow="fold")
    table.add_column("format")
    for name in ("rows", "distinct", "prompts", "answers"):
        table.add_column(name, justify="right")
    for file in report.files[:_MAX_FILES_SHOWN]:
        counts = (file.num_rows, file.num_distinct_rows, file.num_distinct_prompts, file.num_distinct_answers)
        table.add_row(file.split, Text(file.path), file.shape_words, *(f"{count:,}" for count in counts))
    if len(report.files) > _MAX_FILES_SHOWN:
        table.add_row("", f"and {len(report.files) - _MAX_FILES_SHOWN} more files")
    return table


def _headline(report: Report) -> "Text":
    from rich.text import Text

    return Text(verdict(report), style="bold" if report.findings else "bold green")


def _title(finding: ReportedFinding) -> "Text":
    from rich.text import Text

    return Text.assemble((finding.severity, _STYLE[finding.severity]), "  ", (finding.message, "bold"))


def _where(finding: ReportedFinding, *, several: bool) -> "Text":
    """One line: the finding's name, where it is so, and an example. `several` files of its split were read."""
    from rich.text import Text

    where = _file_and_line(finding) if several and finding.places else _lines(finding)
    line = Text(f"{finding.name}: {where}", style="dim", no_wrap=True, overflow="ellipsis")
    for example in finding.examples[:1]:
        line.append("  ")
        line.append(_without_place(example, finding.places), style="not dim italic")
    return line


def _without_place(example: str, places: tuple[str, ...]) -> str:
    """What is wrong with a line, without its place: that stands before it already, and the line has an end."""
    named = next((place for place in places if example.startswith(place)), None)
    return example if named is None else _AFTER_PLACE.sub("", example.removeprefix(named))


def _file_and_line(finding: ReportedFinding) -> str:
    """A number alone says little where a split has several files; one name leaves room for the example."""
    unnamed = finding.count - 1
    more = f" and {unnamed:,} more" if unnamed > 0 else ""
    name = _FOLDERS.sub("", finding.places[0])
    return f"{finding.split} {name}{more}"


def _lines(finding: ReportedFinding) -> str:
    if not finding.rows:
        return finding.split
    numbers = ", ".join(str(number) for number in finding.rows[:_MAX_ROWS_SHOWN])
    unnamed = finding.count - min(len(finding.rows), _MAX_ROWS_SHOWN)
    more = f" and {unnamed:,} more" if unnamed > 0 else ""
    unit = "row" if ", row " in finding.places[0] else "line"
    return f"{finding.split} {unit}{'' if finding.count == 1 else 's'} {numbers}{more}"
