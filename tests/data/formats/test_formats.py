"""Every format is recognised and becomes the same conversation; what is none says why."""

from typing import Any

import pytest

from luthier.data.formats import (
    FORMATS,
    parse_fields,
    read_example,
    recognise,
    recognise_file,
    to_conversation,
)
from luthier.errors import DataError

_TURNS = [{"role": "user", "content": "How wide?"}, {"role": "assistant", "content": "68 m."}]
_SHARED = [{"from": "human", "value": "How wide?"}, {"from": "gpt", "value": "68 m."}]
_PAIR = [("user", "How wide?"), ("assistant", "68 m.")]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"messages": _TURNS}, "messages"),
        (
            {
                "messages": '[{"role": "user", "content": "How wide?"}, {"role": "assistant", "content": "68 m."}]'
            },
            "messages",
        ),
        ({"conversations": _SHARED, "tools": ""}, "sharegpt"),
        ({"conversations": _TURNS}, "sharegpt"),
        ({"instruction": "How wide?", "input": "", "output": "68 m."}, "alpaca"),
        ({"instruction": "How wide?", "output": "68 m.", "system": None, "history": None}, "alpaca"),
        ({"instruction": "How wide?", "context": None, "response": "68 m."}, "alpaca"),
        ({"prompt": "How wide?", "completion": "68 m."}, "prompt/completion"),
        ({"prompt": _TURNS[:1], "completion": _TURNS[1:]}, "prompt/completion"),
        ({"prompt": "How wide?", "response": "68 m."}, "prompt/response"),
        ({"question": "How wide?", "answer": "68 m.", "tags": ["x"]}, "question/answer"),
        ({"question": "How wide?", "answer": "68 m.", "context": None}, "question/answer"),
        ({"input": "How wide?", "output": "68 m."}, "input/output"),
        ({"text": "How wide?", "label": "68 m."}, "classification"),
        ({"SMS": "How wide?", "Label": "68 m."}, "classification"),
        ({"utterance": "How wide?", "INTENT": "68 m."}, "classification"),
    ],
)
def test_formats_of_one_question_and_answer(value: dict[str, Any], name: str) -> None:
    assert recognise(value) == name
    turns = to_conversation(value, where="f:1").messages
    assert [(turn.role, turn.content) for turn in turns] == _PAIR


@pytest.mark.parametrize(
    ("value", "name", "kind", "turns"),
    [
        ({"text": "A document."}, "text", "text", []),
        ({"text": "a b", "label": None}, "text", "text", []),
        ({"text": "a", "label": 3}, "classification", "classification", ["a", "3"]),
        ({"text": "a", "label": 1.0}, "classification", "classification", ["a", "1"]),
        ({"text": "a", "json": {"b": [1]}}, "extraction", "extraction", ["a", '{"b": [1]}']),
        ({"text": "a", "Output": '{ "b": 1 }'}, "extraction", "extraction", ["a", '{ "b": 1 }']),
        (
            {"text": "In Rome", "entities": [{"start": 3, "end": 7, "label": "city"}]},
            *("extraction", "extraction", ["In Rome", '{"city": "Rome"}']),
        ),
        (
            {"text": "In Rome", "entities": [[3, 7, "city"]]},
            "extraction",
            "extraction",
            ["In Rome", '{"city": "Rome"}'],
        ),
        (
            {
                "data": [
                    {"text": "In "},
                    {"text": "Rome", "entity": "city"},
                    {"text": " or "},
                    {"text": "Bari", "entity": "city"},
                ]
            },
            *("spans", "extraction", ["In Rome or Bari", '{"city": ["Rome", "Bari"]}']),
        ),
        (
            {"tokens": ["In", "New", "York", "Bari", "!"], "tags": ["O", "B-city", "I-city", "B-city", "O"]},
            *("tags", "extraction", ["In New York Bari !", '{"city": ["New York", "Bari"]}']),
        ),
        ({"context": "C", "question": "q?", "answer": "a"}, "retrieval", "retrieval", ["C\n\nq?", "a"]),
        (
            {
                "context": ["C", "D"],
                "question": "q?",
                "answers": {"text": ["a", "b"], "answer_start": [0, 1]},
            },
            *("retrieval", "retrieval", ["C\n\nD\n\nq?", "a"]),
        ),
        (
            {"context": "C", "question": "q?", "answers": {"text": [], "answer_start": []}},
            *("retrieval", "retrieval", ["C\n\nq?", "The answer is not in the context."]),
        ),
        (
            {"context": "C", "question": "q?", "answer": None, "is_impossible": True},
            *("retrieval", "retrieval", ["C\n\nq?", "The answer is not in the context."]),
        ),
        ({"instruction": "i", "input": "x", "output": "o"}, "alpaca", "chat", ["i\n\nx", "o"]),
        (
            {"instruction": "i", "output": "o", "history": [["a", "b"]], "system": "s"},
            *("alpaca", "chat", ["s", "a", "b", "i", "o"]),
        ),
        ({"messages": _TURNS, "label": False}, "kto", "feedback", ["How wide?", "68 m."]),
        ({"prompt": "p", "completion": "c", "label": "True"}, "kto", "feedback", ["p", "c"]),
        ({"prompt": "p", "completion": "c", "label": "long"}, "prompt/completion", "chat", ["p", "c"]),
        (
            {"question": "q", "choices": ["x", "y"], "answer": 1},
            "multiple-choice",
            "chat",
            ["q\n\nA. x\nB. y", "B"],
        ),
        (
            {"question": "q", "choice0": 0, "choice1": "y", "choice2": "z", "answer": "2"},
            *("multiple-choice", "chat", ["q\n\nA. 0\nB. y\nC. z", "C"]),
        ),
        (
            {"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
            *("multiple-choice", "chat", ["q\n\nA. x\nB. y", "B"]),
        ),
        (
            {"question": "q", "A": "x", "B": "y", "answer": "a"},
            "multiple-choice",
            "chat",
            ["q\n\nA. x\nB. y", "A"],
        ),
    ],
)
def test_other_formats(value: dict[str, Any], name: str, kind: str, turns: list[str]) -> None:
    found, example = read_example(value, where="f:1")
    assert (found, example.kind) == (name, kind)
    assert [m.content for m in example.messages] == turns


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "q?", "chosen": "good", "rejected": "bad"},
        {"question": "q?", "chosen": "good", "rejected": "bad"},
        {
            "prompt": [{"role": "user", "content": "q?"}],
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": "bad",
        },
        {
            "prompt": "q?",
            "chosen": [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "good"}],
            "rejected": [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "bad"}],
        },
        {"chosen": "\n\nHuman: q?\n\nAssistant: good", "rejected": "\n\nHuman: q?\n\nAssistant: bad"},
        {
            "conversations": [{"from": "human", "value": "q?"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": '{"from": "gpt", "value": "bad"}',
        },
        {
            "chosen_messages": [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "good"}],
            "rejected_messages": [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "bad"}],
        },
    ],
)
def test_preferences(value: dict[str, Any]) -> None:
    _, example = read_example(value, where="f:1")
    sides = (example.conversation.messages, example.chosen, example.rejected)
    assert [[m.content for m in side] for side in sides] == [["q?"], ["good"], ["bad"]]
    with pytest.raises(DataError, match=r"f:1: this row .* is a preference.*--to messages --lossy"):
        to_conversation(value, where="f:1")


def test_calls_of_tools_in_sharegpt() -> None:
    turns = [
        {"from": "human", "value": "Sum?"},
        {
            "from": "function_call",
            "value": '[{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": "{}"}]',
        },
        {"from": "observation", "value": "3"},
        {"from": "gpt", "value": "3.", "weight": 0.5},
    ]
    found = to_conversation({"conversations": turns, "system": "s", "tools": '[{"name": "f"}]'}, where="f:1")
    assert [m.role for m in found.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert [(call.name, dict(call.arguments)) for call in found.messages[2].tool_calls] == [
        ("f", {"x": 1}),
        ("g", {}),
    ]
    assert found.messages[4].weight == 0.5 and found.tools == ({"name": "f"},)


def test_parts_that_think_and_call() -> None:
    parts = [
        {"type": "reasoning", "value": "hm"},
        {"type": "text", "value": "I look."},
        {"type": "tool_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
    ]
    user = {"role": "user", "content": [{"type": "text", "value": "a"}], "loss_weight": 0.0}
    asked, answer = to_conversation(
        {"messages": [user, {"role": "assistant", "content": parts, "loss_weight": 0.0}]}, where="f:1"
    ).messages
    assert (asked.content, asked.weight) == ("a", None)
    assert (answer.content, answer.reasoning, answer.weight) == ("I look.", "hm", 0.0)
    assert answer.tool_calls[0].name == "f"


def test_a_pair_may_bring_a_system_turn() -> None:
    turns = to_conversation({"system": "Be brief.", "prompt": "a", "completion": "b"}, where="f:1").messages
    assert [turn.role for turn in turns] == ["system", "user", "assistant"]


def test_an_answer_that_is_json_stays_a_text() -> None:
    for answer in ('{"city": "Rome"}', '[{"city": "Rome"}]', "[1]", '{"role": "admin"}'):
        turns = to_conversation({"prompt": "a", "completion": answer}, where="f:1").messages
        assert turns[1].content == answer


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": 1}, "f:7: this row's fields are 'a'; expected one of"),
        ({"messages": [{"role": "gpt", "content": "x"}]}, "f:7: message 1: role 'gpt' does not exist"),
        ({"messages": "x"}, "f:7: messages: expected a list"),
        ({"messages": None}, "f:7: messages: expected a list"),
        ({"messages": _TURNS, "tools": 3}, "f:7: field 'tools': expected a list"),
        ({"messages": _TURNS, "tools": "["}, "f:7: field 'tools'"),
        ({"prompt": "x", "completion": " "}, "f:7: field 'completion': expected a text that is not empty"),
        ({"prompt": None, "completion": "x"}, "f:7: field 'prompt'"),
        ({"prompt": "x", "completion": {"a": 1}}, "f:7: field 'completion': expected a text, or turns"),
        (
            {"conversations": [{"from": "bot", "value": "x"}]},
            "f:7: message 1: field 'from': 'bot' does not speak",
        ),
        (
            {"conversations": [{"from": "gpt", "value": 1}]},
            "f:7: message 1: field 'value': expected a text, got 1",
        ),
        (
            {"conversations": [{"from": "function_call", "value": "f("}]},
            "f:7: message 1: field 'value' of a function_call",
        ),
        ({"conversations": {}}, "f:7: field 'conversations': expected a list"),
        (
            {"instruction": "x", "output": None},
            "f:7: field 'output': expected a text that is not empty, got null",
        ),
        ({"instruction": "x", "output": "y", "history": [["a"]]}, "f:7: field 'history', turn 1"),
        ({"prompt": "x", "chosen": "y", "rejected": None}, "f:7: field 'rejected'"),
        ({"chosen": "y", "rejected": "z"}, "f:7: field 'prompt': expected what was asked"),
        ({"prompt": "other", "chosen": _TURNS, "rejected": _TURNS}, "f:7: field 'prompt': says other than"),
        (
            {"chosen": _TURNS, "rejected": _TURNS[::-1]},
            "f:7: fields 'chosen' and 'rejected': expected two answers",
        ),
        (
            {"text": "a", "entities": [{"start": 0, "end": 9, "label": "x"}]},
            "f:7: field 'entities', entity 1",
        ),
        ({"text": "a", "json": "{x}"}, "f:7: field 'json': expected JSON"),
        ({"tokens": ["a"], "tags": []}, "f:7: field 'tags': 0 tags for 1 tokens"),
        (
            {"tokens": ["a"], "ner_tags": [3]},
            "f:7: field 'ner_tags', entry 1: expected a text, got 3; write the names",
        ),
        ({"data": [{"text": 1}]}, "f:7: field 'data', piece 1"),
        (
            {"context": "c", "question": "q", "answer": None},
            "f:7: field 'answer': expected a text that is not empty, got null",
        ),
        (
            {"question": "q", "choices": ["a", "b"], "answer": 2},
            "f:7: field 'answer': expected 0 to 1, A to B",
        ),
        (
            {"question": "q", "choices": ["a"], "answer": 0},
            "f:7: field 'choices': expected a list of 2 to 26",
        ),
        ({"messages": _TURNS[:1], "label": True}, "f:7: field 'messages': there is no turn of the assistant"),
        ({"text": " "}, "f:7: field 'text': expected a text that is not empty"),
    ],
)
def test_errors_begin_with_the_place_and_name_the_field(value: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_example(value, where="f:7")
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"text": "A document."}, "a plain document.*objective cpt"),
        ({"messages": _TURNS, "label": True}, "good or bad.*--to messages --lossy"),
        (
            {"messages": [{"role": "user", "content": "<image>?"}, _TURNS[1]], "images": ["a.png"]},
            "shows 1 images",
        ),
    ],
)
def test_what_supervised_training_cannot_learn_from(value: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=f"^f:1: this row .*{said}"):
        to_conversation(value, where="f:1")


def test_other_fields_come_back_and_null_is_absent() -> None:
    row = {"prompt": "a", "completion": "b", "system": None, "id": 7, "meta": {"x": [1]}}
    _, example = read_example(row, where="f:1")
    assert dict(example.extra) == {"id": 7, "meta": {"x": [1]}}
    written = FORMATS["messages"].write(example)
    assert (written["id"], written["meta"]) == (7, {"x": [1]})


def test_a_file_is_recognised_with_its_evidence() -> None:
    rows: list[dict[str, Any]] = [{"messages": _TURNS}] * 3 + [{"text": "x"}] + [{"what": 1}]
    found = recognise_file(rows)
    assert found.name == "messages"
    assert found.evidence == "field messages in 3 of the first 5 rows; 1 look like text, 1 like none"
    assert [found.of(row) for row in rows] == ["messages"] * 3 + ["text", None]
    assert recognise_file([{"a": 1}]).name is None


def test_a_row_with_the_fields_of_its_file_is_not_read_as_something_else() -> None:
    """A label that is missing in one row does not make a document, or an answer to learn, of it."""
    good, bad = {"text": "a", "label": "x"}, {"text": "b", "label": None}
    found = recognise_file([good, good, bad])
    with pytest.raises(DataError, match="field 'label': expected a label"):
        read_example(bad, where="f:3", format=found.of(bad))
    good, bad = (
        {"prompt": "a", "completion": "b", "label": True},
        {"prompt": "a", "completion": "b", "label": None},
    )
    found = recognise_file([good, good, bad])
    with pytest.raises(DataError, match="field 'label': expected true"):
        read_example(bad, where="f:3", format=found.of(bad))


def test_a_format_that_is_named() -> None:
    rows: list[dict[str, Any]] = [{"text": "a", "label": "b"}, {"label": "c"}]
    found = recognise_file(rows, format="text")
    assert found.name == "text" and found.evidence == "named by you; 1 of the first 2 rows have its fields"
    assert read_example(rows[0], where="f:1", format=found.of(rows[0]))[1].kind == "text"
    with pytest.raises(
        DataError, match="f:2: this row's fields are 'label'; the format text needs: field text"
    ):
        read_example(rows[1], where="f:2", format=found.of(rows[1]))
    with pytest.raises(
        DataError,
        match=r"format alpaca: none of the first 2 rows .*; 1 look like classification, 1 like none",
    ):
        recognise_file(rows, format="alpaca")
    with pytest.raises(DataError, match="format 'sharegtp' does not exist; did you mean 'sharegpt'"):
        recognise_file(rows, format="sharegtp")


def test_fields_are_renamed() -> None:
    fields = parse_fields("prompt=frage, completion=antwort")
    assert (
        fields
        == {"frage": "prompt", "antwort": "completion"}
        == parse_fields(["prompt=frage", "completion=antwort"])
    )
    row = {"frage": "a", "antwort": "b", "prompt": "id-1"}
    found = recognise_file([row], fields=fields)
    assert found.name == "prompt/completion"
    assert found.rename(row) == {"prompt": "a", "completion": "b", "frage": "id-1"}
    for wrong, said in (
        ("prompt", "expected NEW=OLD"),
        ("a=b,a=c", "'a' is named twice"),
        ("a=b,c=b", "'b' is named"),
    ):
        with pytest.raises(DataError, match=said):
            parse_fields(wrong)
