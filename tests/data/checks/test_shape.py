"""Every row that is none is found, by the name of what is wrong with it, with its line."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from luthier.data.checks.check import Context
from luthier.data.checks.engine import check_places
from luthier.data.checks.shape import Shape
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import needs_shared


def _asked(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def _rows_by_name(rows: list[dict[str, Any]]) -> dict[str, list[int]]:
    return {one.name: [row.number for row in one.rows] for one in find(Shape, rows)}


_CALL = {"function": {"name": "find", "arguments": "{}"}}
_TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
_WRONG: list[dict[str, Any]] = [
    _asked("a", "b"),
    {"messages": [{"role": "bot", "content": "x"}]},
    {"messages": [{"role": "user", "content": "x"}]},
    _asked("c", "  "),
    {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": 3}]},
    {"sentience": "x"},
    {"messages": [{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}]},
    {**_asked("e", "f"), "mood": 1},
    {"messages": [*_asked("g", "h")["messages"], {"role": "user", "content": "i"}]},
    {
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "", "tool_calls": [_CALL]},
        ],
        "tools": [{"name": "other"}],
    },
]


def test_every_trouble_by_its_name() -> None:
    assert _rows_by_name(_WRONG) == {
        "unknown_role": [2],
        "no_assistant_turn": [3],
        "empty_answer": [4],
        "malformed_row": [5],
        "unknown_shape": [6],
        "roles_do_not_alternate": [7],
        "unused_fields": [8],
        "turns_after_last_answer": [9],
        "unknown_tool": [10],
    }


def test_lines_that_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    lines = [
        json.dumps(_asked("a", "b")).encode(),
        b'{"messages": [',
        b"7",
        b'{"prompt": "\xff"}',
        b'{"prompt": ',
    ]
    path.write_bytes(b"\n".join(lines))
    report = check_places({"train": [path]}, [Shape], partial(Context))
    found = {one.name: one.rows for one in report.findings}
    assert found == {"broken_json": (2, 5), "not_an_object": (3,), "not_utf8": (4,)}
    assert all(one.severity == "error" for one in report.findings)
    assert "t.jsonl:2" in report.findings[0].examples[0]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "d", "completion": None},
        {"question": "d", "answer": " "},
        {"instruction": "d", "input": "", "output": ""},
        {"prompt": "d", "chosen": "", "rejected": "x"},
    ],
)
def test_an_empty_answer_in_any_format(row: dict[str, Any]) -> None:
    assert "empty_answer" in _rows_by_name([row])


def test_an_empty_question_is_no_empty_answer() -> None:
    assert "empty_answer" not in _rows_by_name([{"prompt": "", "completion": "x"}])


def test_identical_answers() -> None:
    rows = [{"prompt": "a", "chosen": "x", "rejected": "x"}, {"prompt": "a", "chosen": "x", "rejected": "y"}]
    assert _rows_by_name(rows) == {"identical_answers": [1]}


def test_images_and_marks_that_differ() -> None:
    row = {**_asked("<image>What is it?", "A cat."), "images": ["a.png", "b.png"]}
    assert _rows_by_name([row]) == {"image_marks_differ": [1]}


def test_what_is_fine() -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [_CALL, _CALL]},
        {"role": "tool", "content": "b"},
        {"role": "tool", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]
    about = {"id": 1, "tags": ["x"], "source": "y", "metadata": {}, "quality_score": 3, "parent_id": 4}
    rows = [{"messages": turns}, {"messages": turns, "tools": _TOOLS}, {**_asked("a", "b"), **about}]
    assert _rows_by_name(rows) == {}
    assert (
        find(Shape, {"train": [_asked("a", "b")], "valid": [{"question": "And 99?", "must": ["99"]}]}) == []
    )


def test_fields_are_listed_alphabetically_and_not_without_end() -> None:
    rows = [{**_asked("a", "b"), f"field{i:02}": 1} for i in reversed(range(30))]
    [finding] = find(Shape, rows)
    assert "field00, field01" in finding.message and finding.message.endswith("field07, ...")
    assert_merges(Shape, rows)


def test_merges() -> None:
    assert_merges(Shape, _WRONG * 3)


@needs_shared
@pytest.mark.parametrize(
    "path",
    [
        "instruct/glaive_toolcall_en_demo.json",
        "instruct/gsm8k_train.jsonl",
        "wikisql/train.jsonl",
        "classify/SMSSpamCollection",
    ],
)
def test_real_files_have_good_rows(path: str) -> None:
    assert [name for name in names(report_on(path, Shape)) if name[0] != "note"] == []
