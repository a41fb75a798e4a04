"""`luthier interactions`: listed, shown, and exported as rows that `luthier data check` reads."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.errors import ConfigError, RegistryError
from luthier.serving.recorder import SqliteRecorder
from tests.serving.recorder.test_recorder import asked, plain, said


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("interactions") / "record.sqlite"
    with closing(SqliteRecorder(path, redact=plain)) as recorder:
        for i in range(6):
            recorder.record(asked(f"{i}abc", f"[b]How much is {i} + {i}?", answers=(f"It is {2 * i}.",)))
        recorder.record(asked("7", "Shadow?", shadow_of="0abc"))
        recorder.record(asked("8", "Broken?", outcome="failed", specialist="sql@4"))
        recorder.record(asked("9", "", messages=(), prompt="Once upon", specialist=None))
        recorder.feedback(said("1abc", thumb=1))
        recorder.feedback(said("2abc", thumb=-1))
        recorder.feedback(said("3abc", rating=2, correction="Six."))
        recorder.feedback(said("4abc", rating=5, comment="fine"))
    return str(path)


def test_listed_and_shown(record: str) -> None:
    listed = invoke("interactions", "list", record).output
    assert (
        "[b]How much is 1 + 1?" in listed and "failed" in listed and "shadow" in listed and "down" in listed
    )
    found = json.loads(invoke("interactions", "list", record, "--specialist", "sql@4", "--json").output)
    assert [one["id"] for one in found] == ["8"]
    shown = invoke("interactions", "show", record, "3").output
    assert "user: [b]How much is 3 + 3?" in shown and "97% sure" in shown and "correction Six." in shown
    assert (
        json.loads(invoke("interactions", "show", record, "4abc", "--json").output)["feedback"][0]["rating"]
        == 5
    )


def test_exported_rows_are_read_by_data_check(record: str, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    told = invoke("interactions", "export", record, "--out", str(out))
    assert told.exit_code == 0 and "6 rows of 9 interactions" in told.output.replace("\n", " ")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    answers = [row["messages"][-1]["content"] for row in rows]
    assert answers == ["It is 0.", "It is 2.", "It is 4.", "Six.", "It is 8.", "It is 10."]
    assert rows[3]["corrected"] and rows[3]["interaction"] == "3abc"
    checked = invoke("data", "check", str(out), "--json")
    report = json.loads(checked.output)
    assert checked.exit_code == 0 and not [one for one in report["findings"] if one["severity"] == "error"]


def test_only_what_was_liked(record: str, tmp_path: Path) -> None:
    out = tmp_path / "liked.jsonl"
    assert invoke("interactions", "export", record, "--out", str(out), "--liked").exit_code == 0
    assert [json.loads(line)["interaction"] for line in out.read_text().splitlines()] == [
        "1abc",
        "3abc",
        "4abc",
    ]


def test_what_cannot_be_is_told(record: str, tmp_path: Path) -> None:
    assert isinstance(invoke("interactions", "list", str(tmp_path / "none")).exception, RegistryError)
    assert isinstance(invoke("interactions", "show", record, "x").exception, RegistryError)
    assert isinstance(invoke("interactions", "list", record, "--since", "today").exception, ConfigError)
    assert not (tmp_path / "none").exists()
