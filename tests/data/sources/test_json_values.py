"""Arrays, lists under one key and values one after another, taken one at a time."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources import find_files, read_every_row
from luthier.data.sources.source import BLOCK_BYTES, SourceFile
from tests.data.sources.files import read_bytes, values

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(-1e9, 1e9) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
_OBJECT = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5), _JSON, max_size=3
).map(
    lambda fields: {"id": 1, **fields, "last": 0}  # an object of one key may be taken for what holds the list
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(_OBJECT, min_size=1, max_size=5), st.sampled_from([None, 1]), st.booleans(), st.booleans())
def test_every_layout_gives_the_same_rows(
    tmp_path: Path, objects: list[dict[str, Any]], indent: int | None, ascii_only: bool, array: bool
) -> None:
    path = tmp_path / "a.json"
    dump = [json.dumps(one, indent=indent, ensure_ascii=ascii_only) for one in objects]
    path.write_text("[" + ",\n".join(dump) + "]" if array else "\n".join(dump), encoding="utf-8", newline="")
    assert values(list(read_every_row(SourceFile(str(path), "json")))) == objects


@pytest.mark.parametrize("fill", ["a", "ä", '\\"', "😀"])
def test_elements_longer_than_a_block(fill: str, tmp_path: Path) -> None:
    sizes = [1, BLOCK_BYTES - 20, BLOCK_BYTES, 5, 3 * BLOCK_BYTES, 7]
    objects = [{"n": n, "text": fill * size} for n, size in enumerate(sizes)]
    (tmp_path / "a.json").write_text(json.dumps(objects, ensure_ascii=False), encoding="utf-8")
    (file,) = find_files(tmp_path / "a.json")
    rows = list(read_every_row(file))
    assert values(rows) == objects and [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {row.unit for row in rows} == {"row"}


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "data"])
@pytest.mark.parametrize(
    "text", ['{"data": [{"a": 1}, {"a": 2}]}', '{\n "data": [\n {"a": 1},\n {"a": 2}]}\n']
)
def test_a_list_under_one_key(text: str, name: str, tmp_path: Path) -> None:
    rows = read_bytes(tmp_path, name, text.encode())
    one_row = (
        name == "a.jsonl" and "\n" not in text
    )  # one line of a file of lines is a row, whatever it holds
    assert values(rows) == ([json.loads(text)] if one_row else [{"a": 1}, {"a": 2}])


def test_a_single_conversation_is_a_row(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "hi"}]}
    for indent in (None, 2):
        assert values(read_bytes(tmp_path, "a.json", json.dumps(row, indent=indent).encode())) == [row]


def test_an_empty_list_under_one_key_is_a_row(tmp_path: Path) -> None:
    assert values(read_bytes(tmp_path, "a.json", b'{"data": []}')) == [{"data": []}]


def test_more_beside_the_list_is_said(tmp_path: Path) -> None:
    many = [{"a": "x" * 1000}] * 400
    rows = read_bytes(tmp_path, "a.json", json.dumps({"data": many, "version": 1}).encode())
    assert values(rows) == [*many, "broken_json"]
    assert "one key only" in rows[-1].problem  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "expected", "said"),
    [
        (
            '[{"a": 1},\n {"a" 2}, {"a": 3}]',
            [{"a": 1}, "broken_json"],
            "a.json:2:7: broken JSON in row 2: .*not read",
        ),
        ('[{"a": 1} {"a": 3}]', [{"a": 1}, "broken_json"], "a.json:1:11: .*expected ','"),
        ('[{"a": 1}, {"a": ', [{"a": 1}, "broken_json"], "row 2"),
        ('[{"a": 1},', [{"a": 1}, "broken_json"], "ends inside the array"),
        ('[{"a": 1}, 7, "x", {"a": 2}]', [{"a": 1}, "not_an_object", "not_an_object", {"a": 2}], "got int"),
        ('[{"a": NaN}, {"a": 2}]', ["broken_json", {"a": 2}], "row 1: .*NaN"),
        ('[{"a": ' + "1" * 5000 + '}, {"a": 2}]', ["broken_json", {"a": 2}], "digits"),
        ('[{"a": "\\ud800"}, {"a": 2}]', ["broken_json", {"a": 2}], "half of a character"),
        ('[{"a": 1}, {"a": ' + "[" * 100_000, [{"a": 1}, "broken_json"], "row 2: .*nests deeper"),
    ],
)
def test_what_is_broken_says_where(text: str, expected: list[Any], said: str, tmp_path: Path) -> None:
    rows = read_bytes(tmp_path, "a.json", text.encode())
    assert values(rows) == expected
    problem = next(row.problem for row in rows if isinstance(row, UnreadableRow))
    assert problem.startswith(str(tmp_path)) and re.search(said, problem), problem


def test_bad_bytes_name_their_byte(tmp_path: Path) -> None:
    data = '[{"a": "ä"}, {"a": "'.encode() + b'\xe9"}, {"a": 2}]'
    rows = read_bytes(tmp_path, "a.json", b"\xef\xbb\xbf" + data)
    assert values(rows) == [{"a": "ä"}, "not_utf8", {"a": 2}]
    assert f"byte {3 + data.index(0xE9)} " in rows[1].problem  # type: ignore[union-attr]
    assert isinstance(read_bytes(tmp_path, "a.json", data, repair_encoding=True)[1], Row)
