"""`luthier data split` end to end, in this process."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from luthier.cli.data import app
from luthier.errors import ConfigError, DataError
from tests.data.checks.test_near_duplicates import sentences


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"question": text, "answer": "yes", "kind": "ab"[i % 2]} for i, text in enumerate(sentences(120, 12))
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_it_writes_three_files_and_says_so(rows_file: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["split", str(rows_file), "--out", str(tmp_path / "out"), "--stratify", "kind"]
    )
    assert result.exit_code == 0 and "120 rows in 120 groups" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "split.json",
        "test.jsonl",
        "train.jsonl",
        "valid.jsonl",
    ]
    assert len((tmp_path / "out" / "valid.jsonl").read_text("utf-8").splitlines()) == 12


def test_json_and_shares(rows_file: Path, tmp_path: Path) -> None:
    args = [
        "split",
        str(rows_file),
        "--out",
        str(tmp_path / "out"),
        "--shares",
        "3/1",
        "--seed",
        "4",
        "--json",
    ]
    manifest = json.loads(CliRunner().invoke(app, args).output)
    assert set(manifest) == {
        "rows", "groups", "largest_group", "seed", "shares", "group_by", "stratify", "near_duplicates", "inputs",
        "splits", "notes",
    }  # fmt: skip
    assert manifest["seed"] == 4 and set(manifest["splits"]) == {"train", "valid"}
    assert set(manifest["splits"]["train"]) == {"file", "rows", "share", "groups", "hash", "labels"}
    assert not (tmp_path / "out" / "test.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--shares", "80/20", "--valid", "0.1"], ConfigError),
        (["--valid", "0.6", "--test", "0.4"], ConfigError),
        (["--shares", "all"], DataError),
        (["--group-by", "nothing"], DataError),
    ],
)
def test_wrong_options(rows_file: Path, tmp_path: Path, options: list[str], error: type[Exception]) -> None:
    result = CliRunner().invoke(app, ["split", str(rows_file), "--out", str(tmp_path / "out"), *options])
    assert isinstance(result.exception, error)
    assert not (tmp_path / "out").exists()
