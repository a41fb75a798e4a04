"""Formats of conversations: messages, and the pairs of one question and one answer; and plain documents."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from luthier.chat.messages import Conversation, conversation_from_messages
from luthier.data.example import Example
from luthier.data.formats.format import Format
from luthier.errors import DataError


def has(*keys: str) -> Callable[[Mapping[str, Any]], bool]:
    """Does a row have all these fields?"""
    wanted = frozenset(keys)
    return lambda value: wanted <= value.keys()


def rest(value: Mapping[str, Any], used: frozenset[str]) -> dict[str, Any]:
    """The fields that a format does not use."""
    return {key: one for key, one in value.items() if key not in used}


_MESSAGES = frozenset({"messages", "tools"})


def _read_messages(value: Mapping[str, Any]) -> Example:
    tools = value.get("tools") or ()
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except json.JSONDecodeError as error:
            raise DataError(f"field 'tools': expected a list or its JSON text: {error}") from None
    if not isinstance(tools, list | tuple):
        raise DataError(f"field 'tools': expected a list, got {type(tools).__name__}")
    return Example("chat", conversation_from_messages(value["messages"], tools=tools), extra=rest(value, _MESSAGES))


def _write_messages(example: Example) -> dict[str, Any]:
    row: dict[str, Any] = {"messages": [m.to_dict() for m in example.conversation.messages]}
    return row


def _pair(asked: str, answered: str) -> Format:
    used = frozenset({"system", asked, answered})

    def read(value: Mapping[str, Any]) -> Example:
        turns = []
        if value.get("system") is not None:
            turns.append({"role": "system", "content": value["system"]})
        for key, role in ((asked, "user"), (answered, "assistant")):
            if not isinstance(value[key], str) or not value[key].strip():
                raise DataError(f"field {key!r}: expected a text that is not empty, got {value[key]!r:.60}")
            turns.append({"role": role, "content": value[key]})
        return Example("chat", conversation_from_messages(turns), extra=rest(value, used))

    def write(example: Example) -> dict[str, Any]:
        raise NotImplementedError

    return Format(
        f"{asked}/{answered}", f"fields {asked}, {answered}", used, has(asked, answered), read, write,
        frozenset({"chat"}), lambda example: [],
    )


def _read_text(value: Mapping[str, Any]) -> Example:
    text = value["text"]
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"field 'text': expected a text that is not empty, got {text!r:.60}")
    return Example("text", Conversation(()), text=text, extra=rest(value, frozenset({"text"})))


CHAT_FORMATS = (
    Format(
        "messages", "field messages", _MESSAGES, has("messages"), _read_messages, _write_messages,
        frozenset({"chat"}), lambda example: [],
    ),
    _pair("prompt", "completion"),
    _pair("prompt", "response"),
    _pair("question", "answer"),
    Format(
        "text", "field text", frozenset({"text"}), has("text"), _read_text, lambda example: {"text": example.text},
        frozenset({"text"}), lambda example: [],
    ),
)
