"""The shapes in which people keep conversations, each turned into one `Conversation`.

A shape is recognised by its keys. This file knows nothing of files, tokens or templates.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from luthier.chat.messages import Conversation, conversation_from_messages
from luthier.errors import DataError

Converter = Callable[[Mapping[str, Any]], Conversation]


def _from_messages(value: Mapping[str, Any]) -> Conversation:
    tools = value.get("tools") or ()
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except json.JSONDecodeError as error:
            raise DataError(f"field 'tools': expected a list or its JSON text: {error}") from None
    if not isinstance(tools, list | tuple):
        raise DataError(f"field 'tools': expected a list, got {type(tools).__name__}")
    return conversation_from_messages(value["messages"], tools=tools)


def _from_pair(asked: str, answered: str) -> Converter:
    def convert(value: Mapping[str, Any]) -> Conversation:
        turns = []
        if value.get("system") is not None:
            turns.append({"role": "system", "content": value["system"]})
        for key, role in ((asked, "user"), (answered, "assistant")):
            if not isinstance(value[key], str) or not value[key].strip():
                raise DataError(f"field {key!r}: expected a text that is not empty, got {value[key]!r:.60}")
            turns.append({"role": role, "content": value[key]})
        return conversation_from_messages(turns)

    return convert


# A shape's name, the keys that it is recognised by, and its converter; the first that fits is taken.
FORMATS: dict[str, tuple[frozenset[str], Converter]] = {
    "messages": (frozenset({"messages"}), _from_messages),
    "prompt/completion": (frozenset({"prompt", "completion"}), _from_pair("prompt", "completion")),
    "prompt/response": (frozenset({"prompt", "response"}), _from_pair("prompt", "response")),
    "question/answer": (frozenset({"question", "answer"}), _from_pair("question", "answer")),
}


def recognise(value: Mapping[str, Any]) -> str | None:
    """The name of the shape of a row, or None."""
    return next((name for name, (keys, _) in FORMATS.items() if keys <= value.keys()), None)


def to_conversation(value: Mapping[str, Any], *, where: str) -> Conversation:
    """The conversation in a row. Raises DataError that begins with `where`."""
    name = recognise(value)
    if name is None:
        known = "; ".join(", ".join(sorted(keys)) for keys, _ in FORMATS.values())
        raise DataError(
            f"{where}: this row's fields are {', '.join(map(repr, value)) or 'none'}; "
            f"expected one of: {known}"
        )
    try:
        return FORMATS[name][1](value)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
