"""The report as a value: stable keys, errors first, exit codes, secrets masked."""

import json
from pathlib import Path
from typing import Any

from luthier.data.checks import check_files
from luthier.data.checks.finding import Finding, RowKey, Shown
from luthier.data.checks.report import name_rows, rows_to_read
from luthier.data.checks.worst import find_worst
from tests.data.checks.files import write
from tests.data.checks.toys import rows_of

ROW = {"prompt": "How wide?", "completion": "It is 68 metres wide."}


def finding(name: str, severity: Any = "warning", **more: Any) -> Finding:
    return Finding(name, severity, "train", name, "Do this.", count=1, share=0.5, **more)


def test_the_report_as_json_has_stable_keys(tmp_path: Path) -> None:
    report = check_files(write(tmp_path / "t.jsonl", [ROW] * 60))
    value = json.loads(json.dumps(report.to_dict()))
    assert list(value) == ["word", "files", "findings", "worst_rows", "figures"]
    assert list(value["files"][0]) == [
        *("path", "split", "rows", "distinct_rows", "distinct_prompts", "distinct_answers", "shapes"),
        *("read_as", "recognised"),
    ]
    assert list(value["findings"][0]) == [
        *("name", "severity", "split", "message", "count", "share", "rows", "places", "examples", "advice")
    ]
    assert list(value["worst_rows"][0]) == ["place", "split", "summary", "findings"]


def test_words_and_exit_codes(tmp_path: Path) -> None:
    warned = check_files(write(tmp_path / "w.jsonl", [ROW] * 2))
    assert warned.word == "warnings" and (warned.exit_code(), warned.exit_code(strict=True)) == (0, 1)
    train, valid = write(tmp_path / "t.jsonl", [ROW]), write(tmp_path / "v.jsonl", [ROW])
    wrong = check_files(train, valid)
    assert wrong.word == "errors" and wrong.exit_code() == wrong.exit_code(strict=True) == 2
    order = [finding.severity for finding in wrong.findings]
    assert order == sorted(order, key=["error", "warning", "note"].index)


def test_examples_are_told_from_rows_and_say_different_things() -> None:
    rows = {row.key: row for row in rows_of([ROW, ROW, {"prompt": "How long?", "completion": "122"}])}
    keys = list(rows)
    found = [
        finding("from_rows", rows=tuple(keys)),
        finding("in_words", rows=tuple(keys), examples=("said",)),
        finding("shown", shown=(Shown((keys[0], keys[2]), "{0.asked} ~ {1.asked}"),)),
        finding("gone", shown=(Shown((RowKey(9, 9),)),)),
    ]
    assert rows_to_read(found) == {*keys, RowKey(9, 9)}
    named = name_rows(found, lambda key: f"t.jsonl:{key.number}", rows)
    assert [one.examples for one in named] == [
        ("How wide? -> It is 68 metres wide.", "How long? -> 122"),
        ("said",),
        ("How wide? ~ How long?",),
        (),
    ]
    assert named[0].places == ("t.jsonl:1", "t.jsonl:2", "t.jsonl:3")


def test_secrets_are_masked_in_messages_examples_and_worst_rows(tmp_path: Path) -> None:
    row = {
        "prompt": "Who?",
        "completion": "Write to jo.field@rugby-league.org, key sk-proj-Ab3dEfGh1jkl5nopqRstuvwx12.",
    }
    report = check_files(write(tmp_path / "t.jsonl", [row] * 60), write(tmp_path / "v.jsonl", [row]))
    said = json.dumps(report.to_dict())
    assert report.worst and report.findings
    assert "jo.field@rugby-league.org" not in said and "Ab3dEfGh1jkl5nopq" not in said


def test_the_worst_rows_weigh_errors_most_and_keep_file_order() -> None:
    a, b, c, d = (RowKey(0, number) for number in range(1, 5))
    found = [
        finding("warned", rows=(a, b, c)),
        finding("noted", "note", rows=(a, b, d)),
        finding("wrong", "error", rows=(c,)),
    ]
    assert find_worst(found) == {c: ("warned", "wrong"), a: ("warned", "noted"), b: ("warned", "noted")}
