"""The page for the terminal: short and calm where all is well, one screen where it is not, nothing hostile in it."""

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from luthier.data.checks import Report, check_files, render_report
from tests.data.checks.files import some_rows, write
from tests.data.shared import SHARED, needs_shared


def screen(report: Report, width: int = 100, *, full: bool = True) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_report(report, full=full))
    return console.export_text()


def pair(asked: str, answer: str) -> dict[str, Any]:
    return {"prompt": asked, "completion": answer}


CLEAN = some_rows(1100, troubled=False)


def test_clean_data_gives_a_short_calm_page(tmp_path: Path) -> None:
    train = write(tmp_path / "t.jsonl", CLEAN)
    valid = write(
        tmp_path / "v.jsonl", [{"question": "And who throws it in?", "must": ["hooker"], "tags": ["x"]}]
    )
    report = check_files(train, valid)
    assert report.word == "clean" and report.exit_code(strict=True) == 0, screen(report)
    assert "Clean" in screen(report) and len(screen(report).splitlines()) <= 12


def test_a_finding_is_told_with_its_lines_an_example_and_what_to_do(tmp_path: Path) -> None:
    page = screen(check_files(write(tmp_path / "t.jsonl", [*CLEAN, *CLEAN[:20]])))
    assert "20 of 1,120 training rows repeat an earlier row; 1,100 are distinct" in page
    assert "duplicate_rows: train lines 1101, 1102, 1103 and 17 more" in page and "luthier data fix" in page


def test_a_page_never_sends_control_characters(tmp_path: Path) -> None:
    page = screen(
        check_files(write(tmp_path / "t.jsonl", [pair("a [red]b[/red] \x1b[31m", "c\x07 [/nothing]")] * 2))
    )
    assert "\x1b" not in page and "\x07" not in page and "[red]b[/red]" in page


@needs_shared
def test_rugby_seed_fits_on_one_screen() -> None:
    page = screen(
        check_files(SHARED / "rugby_seed/train.jsonl", SHARED / "rugby_seed/valid.jsonl"), full=False
    )
    assert "54 of 100 validation rows are exact copies of training rows" in page
    assert len(page.splitlines()) <= 45


def test_a_broken_line_is_told_by_what_is_wrong_with_it(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"\n{"frage": "a"}\n')
    page = screen(check_files(tmp_path / "t.jsonl"), width=110)
    assert "broken_json: train line 2  broken JSON: Expecting ',' delimiter" in page
    assert "unknown_shape: train line 3  this row's fields are 'frage'" in page
    assert "--fields prompt=question_text,completion=reply" in page


def test_of_several_files_the_one_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", CLEAN[:600])
    write(tmp_path / "b.jsonl", [*CLEAN[600:], *CLEAN[:20]])
    page = screen(check_files([tmp_path / "a.jsonl", tmp_path / "b.jsonl"]), width=110)
    assert "duplicate_rows: train b.jsonl:501 and 19 more" in page
