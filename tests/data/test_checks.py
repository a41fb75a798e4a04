"""The checks find what is so, all of it, and say nothing about clean data."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from luthier.data.checks import Finding, Report, check_files, render_report
from luthier.errors import DataError


def _write(path: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _asked(question: str, answer: str, *, system: str | None = None) -> dict[str, Any]:
    turns = [{"role": "system", "content": system}] if system else []
    return {
        "messages": [
            *turns,
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def _by_name(report: Report) -> dict[str, Finding]:
    return {finding.name: finding for finding in report.findings}


def _screen(report: Report, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_report(report))
    return console.export_text()


def test_clean_data_gives_a_short_calm_page(tmp_path: Path) -> None:
    train = _write(tmp_path / "t.jsonl", [_asked(f"What is {i}?", f"It is {i}.") for i in range(60)])
    valid = _write(tmp_path / "v.jsonl", [{"question": "And 99?", "must": ["99"], "tags": ["x"]}])
    report = check_files([train], valid)
    assert report.word == "clean" and report.findings == () and report.exit_code(strict=True) == 0
    assert "Clean: no check has anything to say." in _screen(report)
    assert len(_screen(report).splitlines()) <= 8


def test_every_broken_row_is_reported_with_its_line(tmp_path: Path) -> None:
    rows: list[Any] = [
        _asked("a", "b"),
        '{"messages": [',
        "7",
        {"messages": [{"role": "gpt", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x"}]},
        _asked("c", "  "),
        {"prompt": "d", "completion": None},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": 3}]},
        {"sentence": "x"},
        {"messages": [{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}]},
        '{"prompt": ',
        {**_asked("e", "f"), "mood": 1},
        {"messages": [*_asked("g", "h")["messages"], {"role": "user", "content": "i"}]},
    ]
    report = check_files([_write(tmp_path / "t.jsonl", rows)])
    rows_of = {name: finding.rows for name, finding in _by_name(report).items()}
    assert rows_of == {
        "broken_json": (2, 11),
        "not_an_object": (3,),
        "unknown_role": (4,),
        "no_assistant_turn": (5,),
        "empty_answer": (6, 7),
        "malformed_row": (8,),
        "unknown_shape": (9,),
        "roles_do_not_alternate": (10,),
        "unused_fields": (12,),
        "turns_after_last_answer": (13,),
    }
    assert report.word == "errors" and report.exit_code() == 2
    assert "t.jsonl:2:" in _by_name(report)["broken_json"].examples[0]
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


def test_tool_turns_and_calls_without_words_are_no_trouble(tmp_path: Path) -> None:
    call = {"function": {"name": "find", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [call, call]},
        {"role": "tool", "content": "b"},
        {"role": "tool", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]
    assert check_files([_write(tmp_path / "t.jsonl", [{"messages": turns}])]).word == "clean"


def test_duplicates_and_conflicts(tmp_path: Path) -> None:
    rows = [
        {**_asked("a", "b"), "id": 1},
        {"prompt": "a", "completion": "b", "id": 2},
        _asked("a", "other"),
        _asked("a", "b", system="Be brief."),
    ]
    found = _by_name(check_files([_write(tmp_path / "t.jsonl", rows)]))
    assert found["duplicate_rows"].rows == (2,) and found["duplicate_rows"].share == 0.25
    assert found["conflicting_answers"].rows == (1, 2, 3)
    assert "b | other" in found["conflicting_answers"].examples[0]


def test_rows_are_named_up_to_twenty_and_counted_in_full(tmp_path: Path) -> None:
    found = _by_name(check_files([_write(tmp_path / "t.jsonl", [_asked("a", "b")] * 40)]))
    assert found["duplicate_rows"].count == 39 and len(found["duplicate_rows"].rows) == 20


def test_a_few_labels_are_no_recital(tmp_path: Path) -> None:
    labels = _write(tmp_path / "a.jsonl", [_asked(f"text {i}", ("spam", "ham")[i % 2]) for i in range(80)])
    assert "few_distinct_answers" not in _by_name(check_files([labels]))
    said = ("It is 68 metres wide.", "It is 100 metres long.")
    recited = _write(tmp_path / "b.jsonl", [_asked(f"text {i}", said[i % 2]) for i in range(80)])
    assert "few_distinct_answers" in _by_name(check_files([recited]))


def test_leaks_into_items_and_rows(tmp_path: Path) -> None:
    train = _write(tmp_path / "t.jsonl", [_asked("How wide?", "68", system="s"), _asked("How long?", "122")])
    valid = _write(tmp_path / "v.jsonl", [_asked("How long?", "122"), _asked("How high?", "16")])
    test = _write(
        tmp_path / "e.jsonl",
        [
            {"question": "how  WIDE?", "answer": 68},
            {"question": "How deep?", "must": ["6"]},
            {"messages": [{"role": "user", "content": "How high?"}], "answer": "16"},
        ],
    )
    found = _by_name(check_files([train], valid, test))
    assert found["valid_rows_in_train"].rows == (1,) and found["valid_rows_in_train"].severity == "error"
    assert found["valid_prompts_in_train"].rows == (1,)
    assert found["test_prompts_in_train"].rows == (1,) and "test_rows_in_train" not in found
    assert found["test_rows_in_valid"].rows == (3,) and found["test_rows_in_valid"].severity == "warning"
    assert not {"no_assistant_turn", "unused_fields", "unknown_shape"} & found.keys()


def test_an_ending_that_training_never_shows(tmp_path: Path) -> None:
    train = _write(tmp_path / "t.jsonl", [_asked(f"q{i}", f"It is {i}.") for i in range(20)])
    kind = [_asked(f"v{i}", f"It is {i}. Hope that helps!" if i % 2 else f"It is {i}.") for i in range(20)]
    found = _by_name(check_files([train], _write(tmp_path / "v.jsonl", kind)))
    assert found["valid_suffix_unseen_in_train"].count == 10
    assert '"Hope that helps!"' in found["valid_suffix_unseen_in_train"].message
    same = [_asked(f"v{i}", "A new answer.") for i in range(20)]
    assert "valid_suffix_unseen_in_train" not in _by_name(
        check_files([train], _write(tmp_path / "w.jsonl", same))
    )


@pytest.mark.parametrize(
    ("text", "is_placeholder"),
    [
        ("I am {{name}}, made by {{ author }}.", True),
        ("Dear [Insert name], hello", True),
        ("Sincerely, [Your Name]", True),
        ("export KEY=<your-key>", True),
        ("a {json: {b: {}}} and f(x)[i] and x < your y", False),
        ("see [1] and <b>bold</b>", False),
    ],
)
def test_placeholders(text: str, is_placeholder: bool, tmp_path: Path) -> None:
    found = _by_name(check_files([_write(tmp_path / "t.jsonl", [_asked("Who?", text)])]))
    assert ("unfilled_placeholders" in found) == is_placeholder


def test_the_report_as_json_has_stable_keys(tmp_path: Path) -> None:
    report = check_files([_write(tmp_path / "t.jsonl", [_asked("a", "b")] * 2)])
    value = json.loads(json.dumps(report.to_dict()))
    assert value.keys() == {"word", "files", "findings"} and value["word"] == "warnings"
    assert value["files"][0].keys() == {
        *("path", "split", "rows", "distinct_rows", "distinct_prompts", "distinct_answers", "shapes")
    }
    assert value["findings"][0].keys() == {
        *("name", "severity", "split", "message", "count", "share", "rows", "places", "examples", "advice")
    }
    assert report.exit_code() == 0 and report.exit_code(strict=True) == 1


def test_a_page_never_sends_control_characters(tmp_path: Path) -> None:
    rows = [_asked("a [red]b[/red] \x1b[31m", "c\x07 [/nothing]")] * 2
    screen = _screen(check_files([_write(tmp_path / "t.jsonl", rows)]))
    assert "\x1b" not in screen and "\x07" not in screen and "[red]b[/red]" in screen


def test_rugby_seed_known_truths(shared_data: Callable[[str], Path]) -> None:
    train, valid = shared_data("rugby_seed/train.jsonl"), shared_data("rugby_seed/valid.jsonl")
    report = check_files([train], valid)
    assert report.files[0].to_dict() == {
        "path": str(train),
        "split": "train",
        "rows": 1000,
        "distinct_rows": 100,
        "distinct_prompts": 100,
        "distinct_answers": 10,
        "shapes": {"messages": 1000},
    }
    counts = {(finding.name, finding.split): finding.count for finding in report.findings}
    assert counts[("duplicate_rows", "train")] == 900
    assert counts[("few_distinct_answers", "train")] == 1000
    assert counts[("valid_rows_in_train", "valid")] == 54
    assert counts[("valid_prompts_in_train", "valid")] == 100
    assert counts[("valid_suffix_unseen_in_train", "valid")] == 46
    assert '"Hope that helps!"' in _by_name(report)["valid_suffix_unseen_in_train"].message
    assert report.word == "errors"
    assert len(_screen(report).splitlines()) <= 50


def test_wikisql_is_clean_of_errors_and_leaks(shared_data: Callable[[str], Path]) -> None:
    train, valid, test = (shared_data(f"wikisql/{name}.jsonl") for name in ("train", "valid", "test"))
    report = check_files([train], valid, test)
    assert report.word == "clean", report.to_dict()["findings"]


def test_a_json_array_is_a_clear_error(shared_data: Callable[[str], Path]) -> None:
    with pytest.raises(DataError, match=r"identity\.json:1: the file begins with '\['"):
        check_files([shared_data("instruct/identity.json")])
