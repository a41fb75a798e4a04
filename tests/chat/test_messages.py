"""Messages from role/content dicts, and the errors that name what is wrong with them."""

import json

import pytest

from luthier.chat.messages import Message, ToolCall, conversation_from_messages
from luthier.errors import DataError


def test_openai_messages_with_parts_tools_and_reasoning() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    conversation = conversation_from_messages(
        [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "r"},
            {"role": "tool", "content": "1", "tool_call_id": "c1", "name": "f"},
            {"role": "assistant", "content": "done", "weight": 0},
        ],
        tools=[{"type": "function"}],
    )
    user, asks, tool, done = conversation.messages
    assert user == Message("user", "ab")
    assert asks == Message("assistant", "", reasoning="r", tool_calls=(ToolCall("f", {"x": 1}, "c1"),))
    assert tool == Message("tool", "1", name="f", tool_call_id="c1")
    assert (asks.token_weight, done.token_weight, tool.token_weight) == (1.0, 0.0, 0.0)
    assert json.loads(json.dumps(asks.to_dict()))["tool_calls"][0]["function"]["arguments"] == {"x": 1}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ([], "empty"),
        ("hello", "expected a list"),
        ([{"role": "human", "content": "x"}], "message 1: role 'human' does not exist"),
        ([{"content": "x"}], "message 1: role None does not exist"),
        (["x"], "message 1: expected an object"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant"}],
            "message 2: content: expected a string, got nothing",
        ),
        ([{"role": "user", "content": 3}], "got int"),
        ([{"role": "user", "content": "x", "weight": 1}], "a user turn has weight"),
        ([{"role": "assistant", "content": "x", "weight": -1}], "at least 0"),
        ([{"role": "assistant", "content": "x", "weight": "1"}], "expected a number"),
        ([{"role": "assistant", "content": "x", "weights": 1}], "did you mean 'weight'"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "part of type 'image_url'"),
        (
            [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "f", "arguments": "{"}}],
                }
            ],
            "not JSON",
        ),
        ([{"role": "assistant", "content": "", "tool_calls": [{}]}], "needs a name"),
    ],
)
def test_a_wrong_message_is_named(raw: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        conversation_from_messages(raw)  # type: ignore[arg-type]
