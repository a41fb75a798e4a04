"""Rows change their format without a silent loss: what cannot be held is refused, or counted on request."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from luthier.data.convert import convert
from luthier.data.formats import read_example, recognise_file
from luthier.data.sources import read_rows
from luthier.errors import DataError
from tests.data.formats.examples import content
from tests.data.shared import SHARED, needs_shared

_PAIRS: list[dict[str, Any]] = [
    {"prompt": "How wide?", "completion": "68 m.", "id": 1},
    {"prompt": 'A "quoted", line', "completion": "Yes;\tno\r\nline", "id": 2},
]
_CALL = {"name": "f", "arguments": {"x": [1, None]}}
_CHATS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [_CALL], "weight": 0},
            {"role": "tool", "content": "t", "name": "f"},
            {"role": "assistant", "content": "b", "reasoning_content": "r"},
        ],
        "tools": [
            {"name": "f", "parameters": {"type": "object", "properties": {"from": {"type": "string"}}}}
        ],
    },
    {"messages": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]},
]


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _contents(path: Path) -> list[Any]:
    rows = list(read_rows(path))
    found = recognise_file(row.value for row in rows)
    examples = [read_example(row.value, where=row.where, format=found.of(row.value))[1] for row in rows]
    return [content(one)[:3] for one in examples]


@pytest.mark.parametrize(
    "ending", ["jsonl", "json", "csv", "tsv", "parquet", "arrow", "jsonl.gz", "json.zst", "csv.gz", "tsv.zst"]
)
@pytest.mark.parametrize("rows", [_PAIRS, _CHATS], ids=["pairs", "chats"])
def test_every_container_holds_conversations(ending: str, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", rows)
    done = convert([source], tmp_path / f"out.{ending}", to="messages")
    assert (done.rows_read, done.rows_written, done.lost) == (2, 2, {})
    assert _contents(done.out) == _contents(source)


@pytest.mark.parametrize(
    "to", ["messages", "sharegpt", "alpaca", "prompt/response", "question/answer", "classification"]
)
def test_there_and_back(to: str, tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", _PAIRS)
    convert([source], tmp_path / "there.jsonl", to=to)
    convert([tmp_path / "there.jsonl"], tmp_path / "back.jsonl", to="prompt/completion")
    assert [row.value for row in read_rows(tmp_path / "back.jsonl")] == _PAIRS


def test_plain_pairs(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", _PAIRS)
    with pytest.raises(DataError) as caught:
        convert([source], tmp_path / "out.txt", to="prompt/completion")
    assert f"field 'id': 2 of 2 rows, the first: {source}:1" in str(caught.value)
    assert f"line breaks: 1 of 2 rows, the first: {source}:2" in str(caught.value)
    done = convert([source], tmp_path / "out.txt", to="prompt/completion", lossy=True)
    assert done.out.read_text() == 'How wide?\n68 m.\nA "quoted", line\nYes; no line\n'
    assert {what: one.rows for what, one in done.lost.items()} == {"field 'id'": 2, "line breaks": 1}
    with pytest.raises(DataError, match="plain pairs hold a question and an answer"):
        convert([source], tmp_path / "other.txt", to="messages")


def test_what_cannot_be_held_is_refused_with_counts(tmp_path: Path) -> None:
    source, out = (
        _write(tmp_path / "in.jsonl", [*_CHATS, {**_CHATS[1], "prompt": "id-7"}]),
        tmp_path / "out.csv",
    )
    with pytest.raises(DataError) as caught:
        convert([source], out, to="prompt/completion")
    said = str(caught.value)
    assert said.startswith(f"{out} is not written\nprompt/completion cannot hold all")
    for what in (
        "turns before the first answer",
        "tools",
        "tool calls",
        "reasoning",
        "per-message weights",
        "names",
    ):
        assert (
            f"{what}: 1 of 3 rows" in said
            or f"{what} of speakers: 1 of 3 rows, the first: {source}:1" in said
        )
    assert (
        f"the field 'prompt': 1 of 3 rows, the first: {source}:3" in said
        and "--lossy" in said
        and "--drop-fields" in said
    )
    assert list(tmp_path.iterdir()) == [source]
    done = convert([source], out, to="prompt/completion", lossy=True, drop_fields=True)
    assert (done.rows_written, done.lost["tools"].rows, done.lost["tools"].places) == (3, 1, [f"{source}:1"])
    assert "the field 'prompt'" not in done.lost
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["prompt"], row["completion"], row["system"]) for row in rows] == [
        *(("a", "b", "s"), ("c", "d", ""), ("c", "d", ""))
    ]


def test_bad_rows_are_refused_or_left_out(tmp_path: Path) -> None:
    source = _write(
        tmp_path / "in.jsonl", [*_PAIRS, {"prompt": "x", "completion": None}, {"what": 1}, {"text": "doc"}]
    )
    with source.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(DataError) as caught:
        convert([source], tmp_path / "out.jsonl", to="messages")
    said = str(caught.value)
    assert "4 of 6 rows cannot be converted" in said and "and 1 more" in said and "--skip-bad" in said
    assert (
        f"{source}:3: field 'completion'" in said
        and f"{source}:5: messages cannot hold what text says" in said
    )
    done = convert([source], tmp_path / "out.jsonl", to="messages", skip_bad=True)
    assert (done.rows_read, done.rows_written, done.rows_skipped) == (6, 2, 4)
    assert {what: one.rows for what, one in done.skipped.items()} == {
        "cannot be read": 3,
        "messages cannot hold what text says": 1,
    }
    with pytest.raises(DataError, match="no row is left"):
        convert([source], tmp_path / "none.jsonl", to="kto", skip_bad=True)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", _PAIRS)
    before = source.read_bytes()
    with pytest.raises(DataError, match="inputs are never written over"):
        convert([source], source, to="messages", force=True)
    out = _write(tmp_path / "out.jsonl", _CHATS)
    with pytest.raises(DataError, match="--force"):
        convert([source], out, to="messages")
    assert source.read_bytes() == before and len(list(read_rows(out))) == 2


def test_several_files_of_several_formats_and_renamed_fields(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    _write(tmp_path / "in/a.jsonl", [{"frage": "a", "antwort": "b"}])
    (tmp_path / "in/b.csv").write_text("instruction,input,output\nc,x,d\n")
    done = convert(
        [tmp_path / "in"],
        tmp_path / "out.json",
        to="messages",
        fields={"frage": "prompt", "antwort": "completion"},
    )
    assert dict(done.formats) == {"prompt/completion": 1, "alpaca": 1} and [
        one["rows"] for one in done.files
    ] == [1, 1]
    assert [one.rows for one in done.remarks.values()] == [1]
    asked = [row.value["messages"][0]["content"] for row in read_rows(done.out)]
    assert asked == ["a", "c\n\nx"]


def test_a_format_that_is_named(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", [{"text": "a", "label": "b"}])
    with pytest.raises(
        DataError, match="its format: with its other fields it looks like classification: 1 of 1 rows"
    ):
        convert([source], tmp_path / "out.jsonl", to="text", format="text")
    done = convert([source], tmp_path / "out.jsonl", to="text", format="text", drop_fields=True)
    assert [row.value for row in read_rows(done.out)] == [{"text": "a"}]
    with pytest.raises(DataError, match="format alpaca: none of the first 1 rows"):
        convert([source], tmp_path / "other.jsonl", to="text", format="alpaca")


def test_pictures_keep_their_paths_and_a_move_is_said(tmp_path: Path) -> None:
    row = {
        "messages": [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "b"}],
        "images": ["a.png"],
    }
    source = _write(tmp_path / "in.jsonl", [row])
    assert not convert([source], tmp_path / "out.jsonl", to="sharegpt").remarks
    moved = convert([source], tmp_path / "there/out.jsonl", to="sharegpt")
    assert [one.rows for one in moved.remarks.values()] == [1]
    assert next(read_rows(moved.out)).value["images"] == ["a.png"]


@needs_shared
@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("instruct/alpaca_en_demo.json", "alpaca"),
        ("instruct/glaive_toolcall_en_demo.json", "messages"),
        ("instruct/glaive_toolcall_en_demo.json", "sharegpt"),
        ("instruct/reason_tool_use_demo_50.jsonl", "messages"),
        ("preference/dpo_en_demo.json", "preference"),
        ("preference/v1_dpo_demo.jsonl", "preference-text"),
        ("preference/kto_en_demo.json", "kto"),
        ("extract/emerging.dev.conll", "extraction"),
        ("probes/mmlu_dev", "multiple-choice"),
    ],
)
def test_real_files_say_the_same_afterwards(path: str, to: str, tmp_path: Path) -> None:
    there = convert([SHARED / path], tmp_path / "there.parquet", to=to)
    assert not there.lost and not there.skipped
    back = convert([there.out], tmp_path / "back.csv", to=to)
    assert _contents(back.out) == _contents(there.out) == _contents(SHARED / path)
    assert pq.ParquetFile(there.out).metadata.num_rows == there.rows_read
