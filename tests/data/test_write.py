"""Rows come back from every container as they went in, and no file is written by halves or over another."""

import csv
import gzip
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.write import write_rows
from luthier.errors import DataError

_CALL = {"function": {"name": "f", "arguments": {"city": "Paris"}}}
_ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": 'a, "b"\r\nc\rd'}], "id": 1, "good": True},
    {
        "messages": [{"role": "assistant", "content": "é", "tool_calls": [_CALL]}],
        "tags": ["x", "y"],
        "id": None,
    },
]


def write(path: Path, rows: Sequence[Mapping[str, Any]], **options: Any) -> Path:
    with write_rows(path, **{"force": False, **options}) as write:
        for row in rows:
            write(row)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data, path = gzip.decompress(data), path.with_suffix("")
    elif path.suffix == ".zst":
        data, path = zstandard.ZstdDecompressor().stream_reader(data).read(), path.with_suffix("")
    if path.suffix == ".parquet":
        return pq.read_table(io.BytesIO(data)).to_pylist()
    if path.suffix == ".arrow":
        return pa.ipc.open_file(io.BytesIO(data)).read_all().to_pylist()
    text = data.decode("utf-8")
    if path.suffix in (".csv", ".tsv"):
        delimiter = "," if path.suffix == ".csv" else "\t"
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    return (
        json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.split("\n")[:-1]]
    )


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json", ".jsonl.gz", ".jsonl.zst", ".json.gz"])
def test_json_holds_every_row_as_it_is(ending: str, tmp_path: Path) -> None:
    assert read(write(tmp_path / f"out{ending}", _ROWS)) == _ROWS


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".tsv.zst"])
def test_delimited_files_hold_texts_and_the_json_of_the_rest(ending: str, tmp_path: Path) -> None:
    first, second = read(write(tmp_path / f"out{ending}", _ROWS))
    assert list(first) == ["messages", "id", "good", "tags"]
    assert (
        json.loads(first["messages"]) == _ROWS[0]["messages"] and first["id"] == "1" and first["tags"] == ""
    )
    assert json.loads(second["messages"]) == _ROWS[1]["messages"] and second["id"] == ""


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_columns_hold_turns_as_structs_and_free_objects_as_json(ending: str, tmp_path: Path) -> None:
    other = {"function": {"name": "g", "arguments": {"x": [1]}}}
    third = {"messages": [{"role": "assistant", "content": "", "tool_calls": [other]}]}
    rows = read(write(tmp_path / f"out{ending}", [*_ROWS, third]))
    assert [row["id"] for row in rows] == [1, None, None] and rows[0]["good"] is True
    assert rows[0]["messages"][0] == {"role": "user", "content": 'a, "b"\r\nc\rd', "tool_calls": None}
    calls = [row["messages"][0]["tool_calls"][0]["function"] for row in rows[1:]]
    assert [json.loads(call["arguments"]) for call in calls] == [{"city": "Paris"}, {"x": [1]}]
    assert rows[1]["tags"] == ["x", "y"]


def test_a_schema_keeps_its_fields_exactly(tmp_path: Path) -> None:
    """A struct would fill absent fields with nulls; a tool's schema must not change, whatever it calls its fields."""
    flights = {"type": "object", "properties": {"from": {"type": "string"}, "to": {"type": "string"}}}
    weather = {"type": "object", "properties": {"role": {"type": "string"}}, "required": ["role"]}
    rows = [{"tools": [{"name": name, "parameters": one}]} for name, one in (("f", flights), ("w", weather))]
    back = read(write(tmp_path / "out.parquet", rows))
    assert [json.loads(row["tools"]) for row in back] == [row["tools"] for row in rows]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional={"a": _VALUES, "b": _VALUES}), max_size=4))
def test_any_rows_are_written_or_refused(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("out")
    assert read(write(folder / "out.jsonl", rows)) == rows
    assert read(write(folder / "out.json.zst", rows)) == rows
    write(folder / "out.csv", rows)
    try:
        back = read(write(folder / "out.parquet", rows))
    except DataError as error:
        assert "texts in some rows" in str(error) or "half a surrogate pair" in str(error)
        return
    assert len(back) == len(rows) or not any(rows)
    for row, one in zip(rows, back, strict=False):
        for key, value in row.items():
            exact = one[key] == value and isinstance(one[key], bool) == isinstance(value, bool)
            assert exact or json.loads(one[key]) == value


def test_what_json_does_not_know(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.jsonl", [{"a": math.nan, "b": [math.inf, 1]}])) == [
        {"a": None, "b": [None, 1]}
    ]
    assert read(write(tmp_path / "b.jsonl", [{"a": "\ud800"}])) == [{"a": "\ud800"}]
    with pytest.raises(DataError, match="row 2: field 'b' cannot be written as JSON"):
        write(tmp_path / "c.jsonl", [{}, {"a": 1, "b": b"x"}])
    with pytest.raises(DataError, match="row 1: field 'a' holds half a surrogate pair"):
        write(tmp_path / "d.csv", [{"a": "\ud800"}])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_plain_pairs(tmp_path: Path) -> None:
    rows = [{"prompt": "a?", "completion": "b."}, {"question": "c?", "answer": "d."}]
    assert write(tmp_path / "out.txt", rows).read_text() == "a?\nb.\nc?\nd.\n"
    for row, said in (
        ({"prompt": "a\nb", "completion": "c"}, "row 1: plain pairs cannot hold line breaks"),
        ({"prompt": "a", "completion": " "}, "a completion that is not a text or is empty"),
        ({"prompt": "a", "completion": "b", "system": "c"}, "field 'system'"),
        ({"text": "a"}, "rows without a question and an answer"),
    ):
        with pytest.raises(DataError, match=said):
            write(tmp_path / "bad.txt", [row])


def test_equal_rows_are_equal_bytes(tmp_path: Path) -> None:
    for ending in (".jsonl.gz", ".json.zst", ".csv.gz", ".parquet", ".arrow"):
        one, two = (write(tmp_path / f"{name}{ending}", _ROWS).read_bytes() for name in ("one", "two"))
        assert one == two


def test_nothing_is_written_over_unasked(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", [{"a": 1}])
    with pytest.raises(DataError, match=r"this file exists; .* --force"):
        write(path, [{"a": 2}])
    with pytest.raises(DataError, match="inputs are never written over"):
        write(path, [{"a": 2}], force=True, inputs=[path])
    assert read(path) == [{"a": 1}]
    assert read(write(path, [{"a": 2}], force=True)) == [{"a": 2}]
    with pytest.raises(RuntimeError), write_rows(path, force=True) as put:
        put({"a": 3})
        raise RuntimeError
    assert read(path) == [{"a": 2}] and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("out.xlsx", "cannot tell from the ending '.xlsx'"),
        ("out", "of this name"),
        ("out.gz", "cannot tell"),
        ("out.parquet.gz", "compress themselves"),
    ],
)
def test_an_ending_that_is_unknown(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        write(tmp_path / name, [])
