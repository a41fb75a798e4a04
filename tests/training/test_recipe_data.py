"""The data section of a recipe does what it says: names of fields, formats, what becomes of long rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.train import _too_long
from luthier.config import Layer
from luthier.errors import DataError
from luthier.training.plan import Plan, plan_job
from tests.training.toys import model_folder

ROWS = [
    {"query": "How wide?", "reply": "68 m."},
    {"query": "How long? " * 40, "reply": "122 metres " * 40},
]


def plan(folder: Path, rows: list[dict[str, Any]], **data: Any) -> Plan:
    if not (folder / "base").exists():
        model_folder(folder / "base")
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values = {
        "model": str(folder / "base"),
        "data": {"train": str(file), "max_length": 64, **data},
        "train": {"dtype": "float32", "device": "cpu"},
    }
    return plan_job([Layer("test", values)])


def test_fields_are_renamed_and_a_format_can_be_named(tmp_path: Path) -> None:
    fields = {"query": "prompt", "reply": "completion"}
    plain = plan(tmp_path, [{"prompt": "How wide?", "completion": "68 m."}])
    renamed = plan(tmp_path, ROWS[:1], fields=fields)
    named = plan(tmp_path, ROWS[:1], fields=fields, format="prompt/completion")
    for one in (renamed, named):
        assert one.train_rows.token_ids.tolist() == plain.train_rows.token_ids.tolist()
    with pytest.raises(DataError, match=r"rows.jsonl:1: this row's fields are 'query', 'reply'"):
        plan(tmp_path, ROWS[:1])


def test_the_named_format_is_the_one_that_is_read(tmp_path: Path) -> None:
    both = [{"prompt": "How wide?", "completion": "68 m.", "question": "Who?", "answer": "Nobody."}]
    recognised = plan(tmp_path, both).train_rows.token_ids.tolist()
    assert plan(tmp_path, both, format="question/answer").train_rows.token_ids.tolist() != recognised


@pytest.mark.parametrize(
    ("too_long", "counts"),
    [
        ("drop", {"dropped": 1, "truncated": 0, "answers_cut": 0, "slid": 0}),
        ("tail", {"dropped": 0, "truncated": 1, "answers_cut": 1, "slid": 0}),
        ("sliding", {"dropped": 0, "truncated": 0, "answers_cut": 0, "slid": 1}),
    ],
)
def test_what_became_of_long_rows_stands_in_the_manifest(
    too_long: str, counts: dict[str, int], tmp_path: Path
) -> None:
    made = plan(tmp_path, ROWS, fields={"query": "prompt", "reply": "completion"}, too_long=too_long)
    entry = made.data_manifest[0]
    assert {key: entry[key] for key in counts} == counts
    assert entry["windows"] == (made.train_rows.num_rows - 1 if too_long == "sliding" else 0)
    assert entry["rows"] == 2


def test_the_header_says_what_became_of_long_rows(tmp_path: Path) -> None:
    fields = {"query": "prompt", "reply": "completion"}

    def said(**data: Any) -> str:
        return _too_long(plan(tmp_path, ROWS, fields=fields, **data).train_rows)

    assert said(too_long="drop") == "1 row dropped"
    assert said(too_long="head", max_length=200) == "1 row truncated (1 lost a part of the answer)"
    assert "1 row cut into " in said(too_long="sliding") and said(max_length=1000) == ""
