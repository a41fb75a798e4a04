"""`luthier data convert` end to end, in this process."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from luthier.cli.data import app
from luthier.errors import ConfigError, DataError


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"frage": "How wide?", "antwort": "68 m.", "id": 1},
        {"frage": "How long?", "antwort": "", "id": 2},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


_FIELDS = ["--fields", "prompt=frage,completion=antwort"]


def test_convert_says_what_it_did(rows_file: Path) -> None:
    out = rows_file.with_name("out.csv")
    arguments = ["convert", str(rows_file), str(out), "--to", "messages", *_FIELDS, "--drop-fields"]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, DataError) and refused.exception.exit_code == 2 and not out.exists()
    assert f"{rows_file}:2: field 'completion'" in str(refused.exception)
    done = CliRunner().invoke(app, [*arguments, "--skip-bad"])
    assert done.exit_code == 0, done.exception
    assert f"{out}: 1 rows as messages (read: 1 prompt/completion)" in done.output
    assert f"left out: cannot be read: 1 row, the first: {rows_file}:2" in done.output
    assert out.read_text().startswith("messages\n")


def test_the_summary_as_json(rows_file: Path) -> None:
    out = rows_file.with_name("out.parquet")
    arguments = ["convert", str(rows_file), str(out), "--to", "alpaca", *_FIELDS, "--skip-bad", "--json"]
    found = json.loads(CliRunner().invoke(app, arguments).output)
    assert list(found) == [
        *("out", "format", "container", "files", "formats", "rows_read", "rows_written", "rows_skipped"),
        *("skipped", "lost", "remarks"),
    ]
    assert (found["format"], found["container"], found["rows_read"], found["rows_written"]) == (
        "alpaca",
        "parquet",
        2,
        1,
    )
    assert found["skipped"] == [{"what": "cannot be read", "rows": 1, "places": [f"{rows_file}:2"]}]
    assert list(found["files"][0]) == ["path", "rows", "format", "evidence", "kind"]


def test_wrong_options(rows_file: Path) -> None:
    out = str(rows_file.with_name("out.jsonl"))
    alone = CliRunner().invoke(app, ["convert", str(rows_file), "--to", "messages"])
    assert isinstance(alone.exception, ConfigError)
    unknown = CliRunner().invoke(app, ["convert", str(rows_file), out, "--to", "mesages"])
    assert isinstance(unknown.exception, DataError) and "did you mean 'messages'" in str(unknown.exception)
    missing = CliRunner().invoke(
        app, ["convert", str(rows_file.with_name("no.jsonl")), out, "--to", "messages"]
    )
    assert isinstance(missing.exception, DataError)
