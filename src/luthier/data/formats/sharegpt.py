"""ShareGPT: `conversations` of from/value turns, calls of tools and their results among them.

Knows nothing of the other formats of conversations.
"""

import json
from collections.abc import Mapping
from typing import Any

from luthier.chat.messages import Message
from luthier.data.example import Example
from luthier.data.formats.fields import has, list_field, optional_text, parse_json, rest, said
from luthier.data.formats.format import ANSWERED, make_format
from luthier.data.formats.losses import CALLS, IMAGES, TOOLS, WEIGHTS, feature_losses
from luthier.data.formats.turns import read_images, read_turns, sharegpt_turn
from luthier.errors import DataError

FIELDS = frozenset({"conversations", "system", "tools", "images", "image"})
HOLDS = frozenset({TOOLS, CALLS, WEIGHTS, IMAGES})
SPLIT_TURN = "a text and a call of a tool in one turn (they become two turns)"
_WHO = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}


def read_sharegpt(value: Mapping[str, Any], fields: frozenset[str] = FIELDS) -> Example:
    """The fields conversations, system, tools and images."""
    raw: Any = value.get("conversations")
    if isinstance(raw, str):
        raw = parse_json(raw, "field 'conversations'")
    if not isinstance(raw, list | tuple) or not raw:
        raise DataError(
            f"field 'conversations': expected a list of turns with from and value, got {said(raw)}"
        )
    turns = [sharegpt_turn(turn, number) for number, turn in enumerate(raw, start=1)]
    system = optional_text(value, "system")
    if system:
        turns.insert(0, {"role": "system", "content": system})
    conversation, in_parts = read_turns(turns, list_field(value, "tools"), field="conversations")
    images = read_images(value, in_parts, conversation.messages)
    return Example("chat", conversation, images=images, extra=rest(value, fields))


def write_turns(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """The turns as from/value; a call of tools is its own turn."""
    turns: list[dict[str, Any]] = []
    for m in messages:
        weight = {} if m.weight is None else {"weight": m.weight}
        if m.content or not m.tool_calls:
            turns.append({"from": _WHO[m.role], "value": m.content, **weight})
        if m.tool_calls:
            calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in m.tool_calls]
            text = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
            turns.append({"from": "function_call", "value": text, **weight})
    return turns


def tools_and_images(example: Example) -> dict[str, Any]:
    """The fields tools (as JSON text, which is what readers of this format take) and images."""
    row: dict[str, Any] = {}
    if example.conversation.tools:
        row["tools"] = json.dumps([dict(tool) for tool in example.conversation.tools], ensure_ascii=False)
    if example.images:
        row["images"] = list(example.images)
    return row


def turn_losses(messages: tuple[Message, ...]) -> list[str]:
    """What from/value turns cannot hold of these, beside features."""
    return [SPLIT_TURN] if any(m.content and m.tool_calls for m in messages) else []


def _write(example: Example) -> dict[str, Any]:
    if not example.messages:
        raise DataError("there are no turns")
    return {"conversations": write_turns(example.messages), **tools_and_images(example)}


def _loses(example: Example) -> list[str]:
    if not example.messages:
        return ["a row without turns"]
    return [*feature_losses(example, example.messages, HOLDS), *turn_losses(example.messages)]


SHAREGPT = make_format(
    "sharegpt",
    "field conversations",
    fields=FIELDS,
    named=has("conversations"),
    read=read_sharegpt,
    write=_write,
    kinds=ANSWERED,
    loses=_loses,
)
