"""`luthier data` end to end, in this process."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luthier.cli.data import app
from luthier.errors import DataError, ModelError
from tests.toy import byte_tokenizer, tiny_model

_ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "How wide?"}, {"role": "assistant", "content": "68 metres."}]},
    {"prompt": "How long?", "completion": "122 metres."},
    {"text": "A field is long."},
]


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in _ROWS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    tiny_model(vocab_size=len(tokenizer)).save_pretrained(folder)
    return str(folder)


def test_check_prints_and_exits_with_its_word(rows_file: Path) -> None:
    clean = CliRunner().invoke(app, ["check", str(rows_file), "--strict"])
    assert clean.exit_code == 0 and "Clean" in clean.output
    leaked = CliRunner().invoke(app, ["check", str(rows_file), "--valid", str(rows_file), "--json"])
    assert leaked.exit_code == 2 and json.loads(leaked.output)["word"] == "errors"
    twice = CliRunner().invoke(app, ["check", str(rows_file), str(rows_file), "--strict"])
    assert twice.exit_code == 1 and "duplicate_rows" in twice.output


def test_check_of_no_file_raises_a_data_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(tmp_path / "absent.jsonl")])
    assert isinstance(result.exception, DataError) and "no such data file" in str(result.exception)


def test_show_prints_the_supervised_text(rows_file: Path, model_folder: str) -> None:
    result = CliRunner().invoke(app, ["show", str(rows_file), "--model", model_folder, "-n", "1"])
    assert result.exit_code == 0, result.exception
    assert "⟦68 metres.<|im_end|>⟧" in result.output
    assert "line 1 (messages)" in result.output and "shown: 1 rows" in result.output


def test_show_as_json(rows_file: Path, model_folder: str) -> None:
    result = CliRunner().invoke(app, ["show", str(rows_file), "--model", model_folder, "--json"])
    rows = json.loads(result.output)["rows"]
    assert [(row["line"], row["format"]) for row in rows] == [
        *((1, "messages"), (2, "prompt/completion"), (3, "text"))
    ]
    for row in rows:
        for rendering in row["renderings"]:
            assert len(rendering["token_ids"]) == len(rendering["weights"]) == rendering["num_tokens"]
            assert sum(text["num_tokens"] for text in rendering["texts"]) == rendering["num_tokens"]
            assert sum(weight > 0 for weight in rendering["weights"]) == rendering["num_supervised"]
    learnt = [text["text"] for text in rows[1]["renderings"][0]["texts"] if text["weight"] > 0]
    assert learnt == ["122 metres.<|im_end|>"]


def test_show_one_row(rows_file: Path, model_folder: str, tmp_path: Path) -> None:
    arguments = ["show", str(rows_file), "--model", model_folder, "--json", "--row"]
    result = CliRunner().invoke(app, [*arguments, "2"])
    assert [row["line"] for row in json.loads(result.output)["rows"]] == [2]
    absent = CliRunner().invoke(app, [*arguments, "9"])
    assert isinstance(absent.exception, DataError) and "no row at line 9" in str(absent.exception)


def test_show_shows_the_rows_before_a_broken_one_and_those_after_it_by_number(
    rows_file: Path, model_folder: str
) -> None:
    lines = rows_file.read_text(encoding="utf-8").splitlines()
    rows_file.write_text("\n".join([lines[0], "{broken", lines[1]]), encoding="utf-8")
    arguments = ["show", str(rows_file), "--model", model_folder, "--json"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, DataError) and f"{rows_file}:2" in str(result.exception)
    assert [row["line"] for row in json.loads(result.output)["rows"]] == [1]
    after = CliRunner().invoke(app, [*arguments, "--row", "3"])
    assert after.exit_code == 0 and [row["line"] for row in json.loads(after.output)["rows"]] == [3]


def test_show_names_the_row_that_cannot_be_shown(model_folder: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "Hi"}]}', encoding="utf-8")
    result = CliRunner().invoke(app, ["show", str(path), "--model", model_folder])
    assert isinstance(result.exception, DataError) and f"{path}:1" in str(result.exception)
    result = CliRunner().invoke(app, ["show", str(path), "--model", str(tmp_path)])
    assert isinstance(result.exception, ModelError)
