"""The page of a report: whole, escaped, self-contained, calm for a clean file, and painted by a real browser."""

from pathlib import Path
from typing import Any

import pytest

from luthier.data.checks import Report, check_files
from luthier.data.checks.finding import ReportedFinding
from luthier.data.checks.html import render_page
from luthier.data.checks.report import FileSummary
from luthier.data.checks.worst import WorstRow
from tests.data.checks.files import some_rows, write
from tests.data.shared import SHARED, needs_shared
from tests.page.browser import chromium, parse

HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>\x00\ud800"
LENGTHS = {
    **{
        part: {"p50": 80, "p90": 200, "p99": 350, "max": 460, "mean": 95.25}
        for part in ("prompt", "answer", "row")
    },
    "total": 95_250,
    "histogram": [
        {"from": 0, "to": 100, "count": 700},
        {"from": 100, "to": 200, "count": 200},
        {"from": 200, "to": None, "count": 100},
    ],
}
FIGURES: dict[str, Any] = {
    "characters": {"train": LENGTHS, "valid": LENGTHS},
    "tokens": {"train": {**LENGTHS, "max_length": 150, "packing": {"tokens": 9, "padded_tokens": 18}}},
    "languages": {"train": {"rows_looked_at": 40, "languages": {"en": 38, HOSTILE: 2}}},
    "classes": {"train": {f"intent {n}": n for n in range(77)}},
    "nothing": {},
}


def finding(name: str, severity: Any, **more: Any) -> ReportedFinding:
    places = tuple(f"data/{HOSTILE}.jsonl:{n}" for n in range(1, 21))
    return ReportedFinding(
        name, severity, "train", f"540 of 1,000 rows say {HOSTILE}", 540, 0.54, tuple(range(1, 21)), places,
        more.get("examples", (HOSTILE, "What is <b>bold</b>?")), "Remove <them>.",
    )  # fmt: skip


def full_report() -> Report:
    return Report(
        files=(
            FileSummary(f"data/{HOSTILE}.jsonl", "train", 1000, 100, 90, 10, {"messages": 998, "unknown": 2}),
        ),
        findings=(finding("wrong", "error"), finding("odd", "warning"), finding("told", "note", examples=())),
        worst=(WorstRow("data/a.jsonl:3", "train", HOSTILE, ("wrong", "odd")),),
        figures=FIGURES,
    )


def test_the_page_is_whole_escaped_and_needs_nothing_from_outside() -> None:
    page = render_page(full_report())
    parsed = parse(page)
    assert not {"script", "img", "b>"} & set(parsed.seen)
    assert all(address == "data:," or address.startswith("#") for address in parsed.addresses)
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "")
    assert "&lt;script&gt;" in page and "\x00" not in page
    page.encode("utf-8")


def test_everything_that_was_found_stands_on_the_page() -> None:
    page = render_page(full_report(), "My set <1>")
    for shown in (
        "My set &lt;1&gt;", ">errors<",
        "1 error, 1 warning, 1 note.", "messages 998, unknown 2", "540 of 1,000 rows say",
        "54.0% of the training rows", "What is &lt;b&gt;bold&lt;/b&gt;?", "and 520 more", "Remove &lt;them&gt;.",
        "Worst rows", 'href="#wrong-train"', 'id="wrong-train"', "Lengths in characters", "Lengths in tokens",
        "200 rows: 100 to under 200 characters", "100 rows: 200 and more tokens", "max_length", "95.25", "intent 76",
    ):  # fmt: skip
        assert shown in page, shown
    assert "Nothing" not in page and page.count("Remove &lt;them&gt;.") == 1, "the same advice is given once"


def test_many_classes_are_cut_and_the_rest_counted() -> None:
    figures = {"classes": {"train": {f"intent {n}": n for n in range(500)}}}
    assert "And 400 more." in render_page(Report((), (), figures=figures))


def test_a_clean_file_gives_a_short_calm_page(tmp_path: Path) -> None:
    report = check_files(write(tmp_path / "a.jsonl", some_rows(1100, troubled=False)))
    assert report.findings == ()
    page = render_page(report)
    assert "Clean: no check has anything to say." in page
    assert "Findings" not in page and "Worst rows" not in page


@pytest.mark.slow
def test_a_real_browser_paints_it_without_a_complaint(tmp_path: Path) -> None:
    path, picture = tmp_path / "report.html", tmp_path / "report.png"
    path.write_text(render_page(full_report()), encoding="utf-8")
    shown = chromium(tmp_path, path, "--dump-dom")
    assert shown.returncode == 0 and "CONSOLE" not in shown.stderr, shown.stderr
    assert "<script" not in shown.stdout and "<img" not in shown.stdout
    assert shown.stdout.count('class="bar series-1"') == 9
    chromium(tmp_path, path, f"--screenshot={picture}", "--window-size=1200,2000")
    assert picture.stat().st_size > 40_000, "an empty page compresses to a few kB"


@needs_shared
@pytest.mark.parametrize("name", ["instruct/alpaca_en_demo.json", "classify/SMSSpamCollection"])
def test_real_files_give_a_page(name: str) -> None:
    page = render_page(check_files(SHARED / name))
    parse(page)
    assert len(page) < 400_000
