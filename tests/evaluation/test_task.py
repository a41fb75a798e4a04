"""Items: what is read from a JSONL file, and what each bad row is told."""

import json
from pathlib import Path

import pytest

from luthier.errors import EvaluationError
from luthier.evaluation.item import EvalItem
from luthier.evaluation.task import items_hash, load_items


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "items.jsonl"


def test_a_question_with_criteria(file: Path) -> None:
    row = {"question": "How long?", "must": [112, ["122", "more"]], "must_not": ["68"], "tags": ["length"]}
    (item,) = load_items(write(file, row))
    assert item.must == (("112",), ("122", "more"))
    assert (item.must_not, item.tags, item.grader, item.answer) == (("68",), ("length",), "contains", None)
    assert [(message.role, message.content) for message in item.messages] == [("user", "How long?")]


def test_the_trailing_assistant_turn_is_the_gold_answer_and_is_not_shown(file: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How wide?"},
        {"role": "assistant", "content": "68 metres"},
    ]
    own, given = load_items(write(file, {"messages": turns}, {"messages": turns, "answer": 68}))
    assert [message.role for message in own.messages] == ["system", "user"]
    assert (own.answer, own.grader) == ("68 metres", "exact")
    assert (given.answer, given.grader, given.messages) == ("68", "numeric", own.messages)


def test_ids_are_stable_and_depend_on_the_content_only(file: Path) -> None:
    first, second = {"question": "a", "answer": "b"}, {"question": "c", "answer": 1.5}
    one = load_items(write(file, first, second))
    other = load_items(write(file, "", second, "\t", {**first, "tags": ["x"]}))
    assert {item.id for item in one} == {item.id for item in other}
    assert all(len(item.id) == 12 for item in one)
    assert load_items(write(file, {**first, "id": 7}))[0].id == "7"


def test_the_hash_of_items_ignores_their_order_and_nothing_else(file: Path) -> None:
    rows = [{"question": "a", "answer": "b"}, {"question": "c", "answer": "d"}]
    items = load_items(write(file, *rows))
    assert items_hash(items) == items_hash(items[::-1])
    assert items_hash(items) != items_hash(items[:1])
    rows[1]["answer"] = "e"
    assert items_hash(items) != items_hash(load_items(write(file, *rows)))


def test_a_byte_order_mark_and_windows_line_ends_are_read(file: Path) -> None:
    rows = b'{"question": "a", "answer": "b"}', b"", b'{"question": "c", "answer": "d"}', b""
    file.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(rows))
    assert len(load_items(file)) == 2


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('{"question": "a", "answer": }', "items.jsonl:2: broken JSON at column 29"),
        ('{"question": "a", "answer": NaN}', "NaN is not a JSON number"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"question": "\\ud800", "answer": "b"}', "surrogate"),
        ('["a"]', "expected a JSON object, found a list"),
        ({"answer": "b"}, "expected either 'question' or 'messages', found neither"),
        ({"question": "a", "messages": [], "answer": "b"}, "found both"),
        ({"question": "a"}, "expected 'answer', 'must' or 'must_not', found none"),
        ({"question": " ", "answer": "b"}, "field 'question': expected a text that is not empty"),
        ({"question": 3, "answer": "b"}, "field 'question': expected a text that is not empty, found 3"),
        ({"question": "a", "answer": None}, "field 'answer': expected a number or a text"),
        ({"question": "a", "answer": True}, "field 'answer': expected a number or a text"),
        ({"question": "a", "answer": ""}, "field 'answer'"),
        ({"question": "a", "must": "68"}, "field 'must': expected a list, found the text '68'"),
        ({"question": "a", "must": [[]]}, "field 'must': an entry has no alternatives"),
        ({"question": "a", "must": [""]}, "field 'must': expected a number or a text that is not empty"),
        ({"question": "a", "must": [["x", {}]]}, "field 'must'"),
        ({"question": "a", "must_not": [["x"]]}, "field 'must_not'"),
        ({"question": "a", "answer": "b", "tags": [1]}, "field 'tags': expected texts"),
        ({"question": "a", "answer": "b", "id": ""}, "field 'id': expected a text or a whole number"),
        ({"question": "a", "answer": "b", "grader": "numerik"}, "'numerik'; did you mean 'numeric'?"),
        ({"question": "a", "answr": "b"}, "field 'answr': unknown; did you mean 'answer'?"),
        ({"messages": "hello", "answer": "b"}, "field 'messages': expected a list"),
        ({"messages": [], "answer": "b"}, "field 'messages'"),
        ({"messages": [{"role": "usr", "content": "a"}], "answer": "b"}, "field 'messages'"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "a user turn to answer, there is none"),
        ({"messages": [{"role": "system", "content": "a"}], "answer": "b"}, "the last one is from 'system'"),
        ({"question": "a", "answer": "70", "must": ["68"]}, "does not pass its own grader"),
        ({"question": "first", "answer": "b"}, "question with the same criteria is already in line 1"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_field(file: Path, row: object, expected: str) -> None:
    write(file, {"question": "first", "answer": "b"}, row)
    with pytest.raises(EvaluationError) as caught:
        load_items(file)
    assert expected in str(caught.value)
    assert f"{file}:2:" in str(caught.value)


def test_an_item_without_an_id_among_others_is_refused(file: Path) -> None:
    rows = [{"question": "one", "answer": "b", "id": "x"}, {"question": "two", "answer": "b"}]
    with pytest.raises(EvaluationError, match=r"items\.jsonl:2: field 'id': missing, but line 1 has one"):
        load_items(write(file, *rows))


def test_repeated_ids_are_refused(file: Path) -> None:
    rows = [{"question": question, "answer": "b", "id": "x"} for question in ("one", "two")]
    with pytest.raises(EvaluationError, match=r"items\.jsonl:2: field 'id': this id is already in line 1"):
        load_items(write(file, *rows))


def test_files_that_hold_nothing(tmp_path: Path, file: Path) -> None:
    with pytest.raises(EvaluationError, match="No such file"):
        load_items(tmp_path / "absent.jsonl")
    with pytest.raises(EvaluationError, match="cannot read"):
        load_items(tmp_path)
    with pytest.raises(EvaluationError, match="the file has no rows"):
        load_items(write(file, "", "  "))
    file.write_bytes(b'{"question": "\xff"}')
    with pytest.raises(EvaluationError, match=r":1: byte 15 is not UTF-8"):
        load_items(file)


def test_items_are_frozen(file: Path) -> None:
    (item,) = load_items(write(file, {"question": "a", "answer": "b"}))
    assert isinstance(item, EvalItem)
    with pytest.raises(AttributeError):
        item.answer = "c"  # type: ignore[misc]
