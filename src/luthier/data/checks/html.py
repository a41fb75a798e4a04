"""The report as a page for the browser: files, verdict, findings, the worst rows, and the figures behind them.

Rows are hostile until shown otherwise: whatever comes from them leaves as text. Knows nothing of single checks; how
figures are laid out stands in `html_figures`.
"""

from importlib import resources
from pathlib import Path

from luthier.data.checks.finding import SPLIT_WORDS, SPLITS, ReportedFinding, Severity
from luthier.data.checks.html_figures import render_figures
from luthier.data.checks.report import FileSummary, Report, verdict
from luthier.data.checks.worst import WorstRow
from luthier.page import html

_LOOKS: dict[Severity, html.Look] = {"error": "bad", "warning": "wait", "note": "quiet"}
_MAX_FILES_SHOWN = 200
_MAX_PLACES_INLINE = 3


def render_page(report: Report, title: str | None = None) -> str:
    """The report as one HTML file that needs neither network nor script. `title` defaults to the files' names."""
    sections = [
        _head(report, title or _title(report)),
        _totals(report),
        _files(report),
        _findings(report),
        _worst(report.worst),
        *render_figures(report.figures),
    ]
    css = resources.files("luthier.data.checks").joinpath("page.css").read_text(encoding="utf-8")
    name = f"{title or _title(report)} · Luthier data check"
    return html.render_frame(name, sections, "Written by luthier data check.", more_css=css)


def _title(report: Report) -> str:
    names = list(dict.fromkeys(Path(file.path).name for file in report.files))
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _head(report: Report, title: str) -> str:
    looks: dict[str, html.Look] = {"clean": "good", "warnings": "wait", "errors": "bad"}
    return html.header(title, html.pill(report.word, looks[report.word]), verdict(report))


def _totals(report: Report) -> str:
    named = []
    for split in SPLITS:
        files = [file for file in report.files if file.split == split]
        if files:
            rows = sum(file.num_rows for file in files)
            note = f"{len(files):,} files"
            if len(files) == 1:
                note = f"{files[0].num_distinct_rows:,} distinct"
            named.append((f"{SPLIT_WORDS[split].capitalize()} rows", f"{rows:,}", note))
    return html.facts(named)


def _files(report: Report) -> str:
    names = ("split", "file", "format", "rows", "distinct", "prompts", "answers")
    looks = ["", "", "", *[' class="number"'] * 4]
    head = "".join(f'<th scope="col"{look}>{name}</th>' for name, look in zip(names, looks, strict=True))
    rows = "".join(_file(file) for file in report.files[:_MAX_FILES_SHOWN])
    more = len(report.files) - _MAX_FILES_SHOWN
    left = f'<p class="quiet">And {more:,} more files.</p>' if more > 0 else ""
    return f"<h2>Files</h2>{html.table(f'<tr>{head}</tr>', rows)}{left}"


def _file(file: FileSummary) -> str:
    told = "; ".join(one for one in (file.read_as, file.recognised) if one)
    counts = (file.num_rows, file.num_distinct_rows, file.num_distinct_prompts, file.num_distinct_answers)
    cells = "".join(f'<td class="number">{count:,}</td>' for count in counts)
    return (
        f'<tr><th scope="row">{file.split}</th>'
        f'<td class="path">{html.text(file.path)}<small class="how">{html.text(told)}</small></td>'
        f"<td>{html.text(file.shape_words)}</td>{cells}</tr>"
    )


def _findings(report: Report) -> str:
    if not report.findings:
        return ""
    advised: set[str] = set()
    cards = []
    for finding in report.findings:
        cards.append(_finding(finding, with_advice=finding.advice not in advised))
        advised.add(finding.advice)
    return "<h2>Findings</h2>" + "\n".join(cards)


def _finding(finding: ReportedFinding, *, with_advice: bool) -> str:
    pill = html.pill(finding.severity, _LOOKS[finding.severity])
    advice = f"<p>{html.text(finding.advice)}</p>" if with_advice and finding.advice else ""
    examples = "".join(f"<li>{html.text(example)}</li>" for example in finding.examples)
    told = f'<ul class="examples">{examples}</ul>' if examples else ""
    return (
        f'<section class="finding" id="{html.text(finding.name)}-{finding.split}">'
        f'<div class="title">{pill}<h3>{html.text(finding.message)}</h3></div>'
        f"{_share(finding)}{advice}{told}{_places(finding)}</section>"
    )


def _share(finding: ReportedFinding) -> str:
    """A bar: how much of the split it is about."""
    if not finding.share:
        return ""
    percent = 100 * min(1.0, finding.share)
    said = f"{percent:.1f}% of the {SPLIT_WORDS[finding.split]} rows"
    return (
        f'<div class="share {finding.severity}" role="img" aria-label="{said}" title="{said}">'
        f'<span style="width:{percent:.2f}%"></span></div>'
    )


def _places(finding: ReportedFinding) -> str:
    """The finding's name for scripts, and where it is so: a few places at once, the others when asked for."""
    name = f"<code>{html.text(finding.name)}</code> · {html.text(finding.split)}"
    if not finding.places:
        return f'<p class="meta">{name}</p>'
    if finding.count <= _MAX_PLACES_INLINE:
        return f'<p class="meta">{name} · {html.text(", ".join(finding.places))}</p>'
    listed = "".join(f"<li>{html.text(place)}</li>" for place in finding.places)
    unnamed = finding.count - len(finding.places)
    more = f"<li>and {unnamed:,} more</li>" if unnamed > 0 else ""
    return (
        f"<details><summary>{name} · {finding.count:,} rows: where</summary><ul>{listed}{more}</ul></details>"
    )


def _worst(rows: tuple[WorstRow, ...]) -> str:
    if not rows:
        return ""
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("row", "what is wrong with it", "what it says")
    )
    lines = []
    for row in rows:
        names = "".join(
            f'<a class="name" href="#{html.text(name)}-{row.split}"><code>{html.text(name)}</code></a>'
            for name in row.findings
        )
        lines.append(
            f'<tr><th scope="row" class="path">{html.text(row.place)}</th><td>{names}</td>'
            f'<td class="text">{html.text(row.summary)}</td></tr>'
        )
    note = '<p class="quiet">Of the rows that the findings name, those that stand in the most of them.</p>'
    return f"<h2>Worst rows</h2>{note}{html.table(f'<tr>{head}</tr>', ''.join(lines))}"
