"""Every shape becomes the same conversation; what is no conversation says why."""

from typing import Any

import pytest

from luthier.data.formats import recognise, to_conversation
from luthier.errors import DataError

_TURNS = [{"role": "user", "content": "How wide?"}, {"role": "assistant", "content": "68 m."}]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"messages": _TURNS}, "messages"),
        ({"prompt": "How wide?", "completion": "68 m."}, "prompt/completion"),
        ({"prompt": "How wide?", "response": "68 m."}, "prompt/response"),
        ({"question": "How wide?", "answer": "68 m.", "tags": ["x"]}, "question/answer"),
    ],
)
def test_shapes(value: dict[str, Any], name: str) -> None:
    assert recognise(value) == name
    turns = to_conversation(value, where="f:1").messages
    assert [(turn.role, turn.content) for turn in turns] == [("user", "How wide?"), ("assistant", "68 m.")]


def test_a_pair_may_bring_a_system_turn() -> None:
    turns = to_conversation({"system": "Be brief.", "prompt": "a", "completion": "b"}, where="f:1").messages
    assert [turn.role for turn in turns] == ["system", "user", "assistant"]


def test_tools_may_be_json_text() -> None:
    value = {"messages": _TURNS, "tools": '[{"name": "lookup"}]'}
    assert to_conversation(value, where="f:1").tools == ({"name": "lookup"},)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": 1}, "f:7: this row's fields are 'a'; expected one of"),
        ({"messages": [{"role": "gpt", "content": "x"}]}, "f:7: message 1: role 'gpt' does not exist"),
        ({"messages": "x"}, "f:7: messages: expected a list"),
        ({"messages": _TURNS, "tools": 3}, "f:7: field 'tools': expected a list"),
        ({"messages": _TURNS, "tools": "["}, "f:7: field 'tools'"),
        ({"prompt": "x", "completion": " "}, "f:7: field 'completion': expected a text that is not empty"),
        ({"prompt": None, "completion": "x"}, "f:7: field 'prompt'"),
    ],
)
def test_errors_begin_with_the_place(value: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        to_conversation(value, where="f:7")
    assert str(caught.value).startswith(said)
