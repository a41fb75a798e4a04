"""Figures of files: those of the checks, and no judgement."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luthier.chat.render import Renderer
from luthier.cli.main import app
from luthier.data.stats import Turns, count_stats
from luthier.errors import DataError
from tests.data.checks.toys import assert_merges
from tests.data.shared import SHARED, needs_shared
from tests.toy import byte_tokenizer

CALL = {"role": "assistant", "content": "", "tool_calls": [{"name": "look", "arguments": {}}]}
TOOLS = [{"name": "look", "parameters": {"type": "object", "properties": {}}}]
ROWS: list[dict[str, Any]] = [
    *({"prompt": f"How wide is field {n}?", "completion": ("wide", "narrow")[n % 2]} for n in range(30)),
    {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, CALL],
        "tools": TOOLS,
    },
]


def open_renderer() -> Renderer:
    return Renderer(byte_tokenizer())


def file_of(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_figures_of_a_file(tmp_path: Path) -> None:
    counted = count_stats([file_of(tmp_path, ROWS)], open_renderer=open_renderer, max_length=64)
    assert counted.num_rows == 31
    figures = counted.figures
    assert figures["kinds"] == {"chat": 31} and figures["turns"] == {"2": 31}
    assert figures["parts"] == {"with_system": 1, "with_tools": 1, "with_tool_calls": 1}
    assert figures["characters"]["prompt"]["max"] == len("How wide is field 10?")
    assert figures["classes"] == {"num_classes": 2, "rows": {"wide": 15, "narrow": 15}}
    refused = figures.get("cannot_render", {"rows": 0})["rows"]
    assert sum(one["count"] for one in figures["tokens"]["histogram"]) == 31 - refused
    assert json.loads(json.dumps(counted.to_dict())) == counted.to_dict()
    assert counted.to_dict().keys() == {"rows", "files", "figures"}


def test_without_a_model_there_are_no_tokens(tmp_path: Path) -> None:
    assert "tokens" not in count_stats([file_of(tmp_path, ROWS)]).figures


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Hi", "completion": "Yes"}\n{broken\n', encoding="utf-8")
    assert count_stats([path]).figures["kinds"] == {"chat": 1, "unreadable": 1}
    damaged = tmp_path / "rows.jsonl.gz"
    damaged.write_bytes(b"\x1f\x8b\x08\x00nothing")
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz"):
        count_stats([damaged])
    with pytest.raises(DataError, match="missing"):
        count_stats([tmp_path / "missing.jsonl"])


def test_pieces_add_up() -> None:
    assert_merges(Turns, {"train": [*ROWS, {"nothing": 1}, {"text": "A document."}], "valid": ROWS[:3]})


def test_the_page_and_its_json(tmp_path: Path) -> None:
    path = file_of(tmp_path, ROWS)
    page = CliRunner().invoke(app, ["data", "stats", str(path)], env={"COLUMNS": "100"})
    assert page.exit_code == 0, page.output
    for words in (
        "rows: chat 31",
        "turns a row: 2 31",
        "prompt, characters",
        "rows by characters",
        "█",
        "2 classes",
    ):
        assert words in page.output
    told = json.loads(CliRunner().invoke(app, ["data", "stats", str(path), "--json"]).output)
    assert told == count_stats([str(path)]).to_dict()


@needs_shared
def test_real_figures() -> None:
    calls = count_stats([SHARED / "instruct/glaive_toolcall_en_demo.json"]).figures
    assert calls["tool_calls"] == 211 and calls["kinds"] == {"chat": 300}
    spam = count_stats([SHARED / "classify/SMSSpamCollection"]).figures
    assert spam["classes"]["rows"] == {"ham": 4827, "spam": 747}
