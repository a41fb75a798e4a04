"""`luthier data fix` end to end, in this process."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luthier.cli.data import app
from luthier.errors import DataError


@pytest.fixture
def train(tmp_path: Path) -> Path:
    rows: list[dict[str, Any]] = [{"prompt": p, "completion": c} for p, c in ("a1", "a1", "b2", "c3")]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"cut\n', encoding="utf-8")
    (tmp_path / "valid.jsonl").write_text(json.dumps(rows[3]) + "\n", encoding="utf-8")
    return path


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["fix", *map(str, arguments)])


def test_a_dry_run_prints_the_plan_and_writes_nothing(train: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    done = run(train, "--valid", tmp_path / "valid.jsonl", "--out", tmp_path / "out.jsonl", "--dry-run")
    assert done.exit_code == 0
    for words in (
        "remove duplicate",
        "remove broken_json",
        "remove row_in_valid",
        "train.jsonl:2 as",
        "5 rows -> 2",
    ):
        assert words in done.output
    assert "Nothing was written" in done.output and sorted(tmp_path.iterdir()) == before


def test_json_keys_are_stable(train: Path, tmp_path: Path) -> None:
    out = tmp_path / "fixed"
    told = json.loads(run(train, "--valid", tmp_path / "valid.jsonl", "--out", f"{out}/", "--json").output)
    assert set(told) == {"dry_run", "plan", "files", "removed_to", "changed_to"}
    assert set(told["plan"][0]) == {"kind", "reason", "split", "rows", "why", "examples"}
    assert set(told["files"][0]) == {"path", "split", "out", "rows", "removed", "kept", "changed"}
    assert [file["kept"] for file in told["files"]] == [2, 1] and told["changed_to"] is None
    assert Path(told["removed_to"]) == tmp_path / "fixed.removed.jsonl"
    removed = [json.loads(line) for line in Path(told["removed_to"]).read_text().splitlines()]
    assert {key for one in removed for key in one} == {
        "file", "number", "split", "reason", "repeats", "problem", "row", "raw"
    }  # fmt: skip
    assert [one["reason"] for one in removed] == ["duplicate", "row_in_valid", "broken_json"]


def test_switches_reach_the_plan(train: Path, tmp_path: Path) -> None:
    switches = ["--no-duplicates", "--no-leaks", "--keep", "last"]
    told = json.loads(
        run(
            train, "--valid", tmp_path / "valid.jsonl", "--out", tmp_path / "x.jsonl", *switches, "--json"
        ).output
    )
    assert [item["reason"] for item in told["plan"]] == ["broken_json"]
    again = run(train, "--out", tmp_path / "x.jsonl")
    assert isinstance(again.exception, DataError) and "--force" in str(again.exception)
    assert run(train, "--out", tmp_path / "x.jsonl", "--force").exit_code == 0


def test_a_clean_file_is_copied_and_said_to_be_clean(tmp_path: Path) -> None:
    path = tmp_path / "clean.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    done = run(path, "--out", tmp_path / "copy.jsonl")
    assert (
        "Nothing to put right." in done.output and (tmp_path / "copy.jsonl").read_bytes() == path.read_bytes()
    )
    assert not (tmp_path / "copy.jsonl.removed.jsonl").exists()


def test_the_help_says_what_happens_to_the_input() -> None:
    assert "The input stays as it is" in run("--help").output
