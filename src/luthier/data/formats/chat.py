"""Conversations as `messages`, pairs of one question and one answer, and plain documents."""

from collections.abc import Mapping
from typing import Any

from luthier.chat.messages import Conversation
from luthier.data.example import Example
from luthier.data.formats.fields import has, list_field, optional_text, rest, text_field
from luthier.data.formats.format import ANSWERED, Format, make_format
from luthier.data.formats.losses import (
    CALL_IDS,
    CALLS,
    IMAGES,
    NAMES,
    REASONING,
    SYSTEM,
    TOOLS,
    WEIGHTS,
    feature_losses,
    pair_losses,
    pair_of,
)
from luthier.data.formats.turns import chat, read_images, read_side, read_turns, turn_row
from luthier.errors import DataError

MESSAGES_FIELDS = frozenset({"messages", "tools", "images", "image"})
MESSAGES_HOLD = frozenset({TOOLS, CALLS, CALL_IDS, REASONING, WEIGHTS, NAMES, IMAGES})


def read_messages(value: Mapping[str, Any]) -> Example:
    """The fields messages, tools and images."""
    conversation, in_parts = read_turns(value.get("messages"), list_field(value, "tools"))
    images = read_images(value, in_parts, conversation.messages)
    return Example("chat", conversation, images=images, extra=rest(value, MESSAGES_FIELDS))


def write_messages(example: Example) -> dict[str, Any]:
    """The fields messages, tools and images."""
    if not example.messages:
        raise DataError("there are no turns")
    row: dict[str, Any] = {"messages": [turn_row(m) for m in example.messages]}
    return row | tools_and_images(example)


def tools_and_images(example: Example) -> dict[str, Any]:
    """The fields tools and images, where there are any."""
    row: dict[str, Any] = {}
    if example.conversation.tools:
        row["tools"] = [dict(tool) for tool in example.conversation.tools]
    if example.images:
        row["images"] = list(example.images)
    return row


def _loses_in_messages(example: Example) -> list[str]:
    if not example.messages:
        return ["a row without turns"]
    return feature_losses(example, example.messages, MESSAGES_HOLD)


def _pair(asked: str, answered: str) -> Format:
    used = frozenset({"system", asked, answered})

    def read(value: Mapping[str, Any]) -> Example:
        before, after = read_side(value, asked, "user"), read_side(value, answered, "assistant")
        system = chat(optional_text(value, "system")).messages
        return Example("chat", Conversation((*system, *before, *after)), extra=rest(value, used))

    def write(example: Example) -> dict[str, Any]:
        pair = pair_of(example.messages)
        system = {} if pair.system is None else {"system": pair.system}
        return {asked: pair.asked, answered: pair.answered, **system}

    return make_format(
        f"{asked}/{answered}",
        f"fields {asked}, {answered}",
        fields=used,
        named=has(asked, answered),
        read=read,
        write=write,
        kinds=ANSWERED,
        loses=lambda example: pair_losses(example, frozenset({SYSTEM})),
    )


def _read_text(value: Mapping[str, Any]) -> Example:
    return Example("text", text=text_field(value, "text"), extra=rest(value, {"text"}))


def _write_text(example: Example) -> dict[str, Any]:
    if example.text is None or not example.text.strip():
        raise DataError("there is no text")
    return {"text": example.text}


MESSAGES = make_format(
    "messages",
    "field messages",
    fields=MESSAGES_FIELDS,
    named=has("messages"),
    read=read_messages,
    write=write_messages,
    kinds=ANSWERED,
    loses=_loses_in_messages,
)
PAIRS = (_pair("prompt", "completion"), _pair("prompt", "response"), _pair("question", "answer"))
INPUT_OUTPUT = _pair("input", "output")
TEXT = make_format(
    "text",
    "field text",
    fields=frozenset({"text"}),
    named=has("text"),
    read=_read_text,
    write=_write_text,
    kinds=frozenset({"text"}),
    loses=lambda example: [],
)
