"""`luthier data filter` end to end, in this process."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luthier.cli.data import app
from luthier.errors import DataError
from tests.toy import byte_tokenizer, tiny_model


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    rows = [
        {
            "prompt": "How wide is it?",
            "completion": "It is sixty-eight metres wide.",
            "quality": 3,
            "lang": "en",
        },
        {
            "prompt": "How long?",
            "completion": "A hundred metres, between the goal lines.",
            "quality": 1,
            "lang": "en",
        },
        {"prompt": "Wie breit?", "completion": "Achtundsechzig Meter.", "quality": 5, "lang": "de"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["filter", *map(str, arguments)])


def test_conditions_are_joined_and_counted(rows_file: Path, tmp_path: Path) -> None:
    out, left = tmp_path / "out.jsonl", tmp_path / "left.jsonl"
    conditions = ["--match", "metres", "--no-match", "wide", "--in", "answer", "--where", "lang!=de"]
    done = run(rows_file, "--out", out, *conditions, "--removed", left, "--json")
    told = json.loads(done.output)
    assert set(told) == {"rows", "kept", "removed", "out", "removed_to", "conditions"}
    assert [(one["condition"], one["removed"]) for one in told["conditions"]] == [
        ("--match 'metres'", 1),
        ("--no-match 'wide'", 1),
        ("--where lang!=de", 0),
    ]
    assert [json.loads(line)["quality"] for line in out.read_text().splitlines()] == [1]
    assert len(left.read_text().splitlines()) == 2
    words = run(rows_file, "--out", out, "--score-field", "quality", "--min-score", "2", "--force").output
    assert "--score-field quality --min-score 2" in words and "3 rows, 2 kept" in words


def test_tokens_are_those_of_the_model(rows_file: Path, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(tmp_path / "model")
    tiny_model(vocab_size=len(tokenizer)).save_pretrained(tmp_path / "model")
    out = tmp_path / "out.jsonl"
    shown = CliRunner().invoke(app, ["show", str(rows_file), "--model", str(tmp_path / "model"), "--json"])
    sizes = [row["renderings"][0]["num_tokens"] for row in json.loads(shown.output)["rows"]]
    most = sorted(sizes)[1]
    done = run(rows_file, "--out", out, "--max-tokens", most, "--model", tmp_path / "model", "--json")
    assert json.loads(done.output)["kept"] == sum(size <= most for size in sizes) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "at least one condition"),
        (["--match", "("], "not a regular expression: missing ), unterminated subpattern at position 1"),
        (["--min-tokens", "3"], "need the model whose tokenizer counts"),
        (["--min-chars", "3", "--model", "luthier-nano"], "neither --min-tokens nor --max-tokens"),
        (["--min-score", "3"], "--score-field quality"),
        (["--where", "lang"], "expected FIELD=VALUE or FIELD!=VALUE"),
        (["--where", "lung=en"], "none of the 3 rows has the field 'lung'"),
        (["--language", "english"], "expected codes of ISO 639-1"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    rows_file: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    error = run(rows_file, "--out", tmp_path / "out.jsonl", *arguments).exception
    assert isinstance(error, DataError) and message in str(error)
    assert not (tmp_path / "out.jsonl").exists()
