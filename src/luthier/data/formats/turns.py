"""Turns as people write them: content in parts, pictures, weights under other names; and back as rows.

`chat.messages` reads the plain form; what this file adds becomes that form first. Knows nothing of whole rows.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.chat.messages import Conversation, Message, conversation_from_messages
from luthier.data.formats.fields import list_field, parse_json, said, text_field
from luthier.errors import DataError

IMAGE_MARK = "<image>"
_IMAGE_PARTS = ("image", "image_url", "input_image")
_IMAGE_FIELDS = ("image", "path", "url", "image_url", "value")
_SAID = ("content", "value", "tool_calls")
_THOUGHT_PARTS = ("reasoning", "thinking", "reasoning_content")
ROLE_WORDS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "function_call": "assistant",
    "tool_call": "assistant",
}
CALL_WORDS = ("function_call", "tool_call")


def read_turns(
    raw: Any, tools: Sequence[Any] = (), *, field: str = "messages"
) -> tuple[Conversation, list[str]]:
    """(conversation, the pictures that its parts name). Raises DataError naming the message.

    `raw` may be the JSON text of the list. A part of a picture becomes an `<image>` mark in the text.
    """
    if isinstance(raw, str):
        try:
            raw = parse_json(raw, field)
        except DataError:
            raise DataError(
                f"{field}: expected a list of objects (or its JSON text), got {said(raw)}"
            ) from None
    images: list[str] = []
    if isinstance(raw, list | tuple):
        raw = [plain_turn(one, images, number) for number, one in enumerate(raw, start=1)]
    try:
        return conversation_from_messages(raw, tools=tools), images
    except DataError as error:
        raise DataError(str(error).replace("messages:", f"{field}:", 1)) from None


def plain_turn(turn: Any, images: list[str], number: int) -> Any:
    """The turn in the form that `chat.messages` reads; the paths of its pictures are added to `images`."""
    if not isinstance(turn, Mapping):
        return turn
    content, weight = turn.get("content"), turn.get("loss_weight")
    if not isinstance(content, list | tuple) and weight is None:
        return turn
    plain = {key: value for key, value in turn.items() if key != "loss_weight"}
    if (
        weight is not None
        and plain.get("weight") is None
        and not (weight == 0 and turn.get("role") != "assistant")
    ):
        plain["weight"] = weight
    if isinstance(content, list | tuple):
        try:
            plain |= _read_parts(content, images)
        except DataError as error:
            raise DataError(f"message {number}: {error}") from None
    return plain


def _read_parts(parts: Sequence[Any], images: list[str]) -> dict[str, Any]:
    texts: list[Any] = []
    thoughts: list[str] = []
    calls: list[Any] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _IMAGE_PARTS:
            texts.append({"type": "text", "text": IMAGE_MARK})
            images += _image_of(part)
        elif kind in _THOUGHT_PARTS:
            thoughts.append(_part_text(part, kind))
        elif kind in ("tool_call", "function_call"):
            calls += _calls_of(part)
        elif kind == "text" and part.get("text") is None and isinstance(part.get("value"), str):
            texts.append({"type": "text", "text": part["value"]})
        else:
            texts.append(part)
    found: dict[str, Any] = {"content": texts}
    if thoughts:
        found["reasoning_content"] = "".join(thoughts)
    if calls:
        found["tool_calls"] = calls
    return found


def _part_text(part: Mapping[str, Any], kind: str) -> str:
    text = next((part[key] for key in ("value", "text", kind) if part.get(key) is not None), None)
    if not isinstance(text, str):
        raise DataError(f"content: a part of type {kind!r} needs a text in 'value', got {said(text)}")
    return text


def _calls_of(part: Mapping[str, Any]) -> list[Any]:
    value = next((part[key] for key in ("value", "tool_call", "function") if part.get(key) is not None), None)
    if isinstance(value, str):
        value = parse_json(value, "content: the 'value' of a tool_call part")
    return value if isinstance(value, list) else [value]


def _image_of(part: Mapping[str, Any]) -> list[str]:
    """The path or URL in a picture's part; none where the row lists its pictures elsewhere."""
    for key in _IMAGE_FIELDS:
        if part.get(key) is not None:
            return [image_path(part[key], "content: an image part")]
    return []


def image_path(value: Any, what: str) -> str:
    """A path or URL, or an object that holds one. Raises DataError that begins with `what`."""
    found = value
    if isinstance(value, Mapping):
        found = next((value[key] for key in ("path", "url") if value.get(key)), None)
    if not isinstance(found, str) or not found.strip():
        raise DataError(f"{what}: expected a path or URL, got {said(value)}")
    return found


def read_images(
    value: Mapping[str, Any], in_parts: Sequence[str], messages: Sequence[Message]
) -> tuple[str, ...]:
    """The pictures of a row, in the order of their marks. Raises DataError where they do not match the marks."""
    key = next((key for key in ("images", "image") if value.get(key) is not None), None)
    if key is None and not in_parts:
        return ()
    if key == "image" or (key and isinstance(value[key], Mapping)):
        listed: list[Any] = [value[key]]
    elif key and isinstance(value[key], str) and not value[key].lstrip().startswith("["):
        listed = [value[key]]
    else:
        listed = list_field(value, key) if key else []
    paths = [image_path(one, f"field {key!r}, image {i}") for i, one in enumerate(listed, start=1)]
    if paths and in_parts:
        raise DataError(
            f"field {key!r}: the turns name their images themselves; expected the paths in one place"
        )
    images = tuple(paths or in_parts)
    marks = sum(message.content.count(IMAGE_MARK) for message in messages)
    if marks != len(images):
        raise DataError(
            f"field {key or 'messages'!r}: {len(images)} images for {marks} {IMAGE_MARK} marks in the turns; "
            f"expected as many as marks"
        )
    return images


def turn_row(message: Message) -> dict[str, Any]:
    """A turn as a row holds it: what templates read, and the weight."""
    row = message.to_dict()
    if message.weight is not None:
        row["weight"] = message.weight
    return row


def chat(system: str | None, *turns: tuple[str, str]) -> Conversation:
    """A conversation of plain turns, (role, content), after an optional system prompt."""
    before = [] if system is None else [Message("system", system)]
    return Conversation((*before, *(Message(role, content) for role, content in turns)))  # type: ignore[arg-type]


def turns_in_text(text: Any) -> Any:
    """The turn or the turns that a text is the JSON of, which is how a table holds them; any other value as it is.

    A text that is some other JSON is a text: the answer of an extraction is one.
    """
    if isinstance(text, str) and text.lstrip()[:1] in ("[", "{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return text
        turns = found if isinstance(found, list) else [found]
        if turns and all(_is_turn(one) and _role_of(one) is not None for one in turns):
            return found
    return text


def _is_turn(value: Any) -> bool:
    return isinstance(value, Mapping) and ("role" in value or "from" in value)


def _role_of(turn: Mapping[str, Any]) -> str | None:
    who = turn.get("role", turn.get("from"))
    return ROLE_WORDS.get(who.lower()) if isinstance(who, str) and not turn.keys().isdisjoint(_SAID) else None


def read_side(value: Mapping[str, Any], key: str, role: str) -> tuple[Message, ...]:
    """The turns of a field that holds a text (one turn of `role`), one turn, or a list of turns (or their JSON).

    Turns have role and content, or from and value. Raises DataError naming the field.
    """
    found = turns_in_text(value.get(key))
    if isinstance(found, Mapping):
        found = [found]
    if not isinstance(found, list | tuple):
        return (Message(role, text_field(value, key)),)  # type: ignore[arg-type]
    if not all(_is_turn(one) for one in found):
        raise DataError(
            f"field {key!r}: expected a text, or turns with role and content, got {said(value[key])}"
        )
    if not found:
        raise DataError(f"field {key!r}: expected a text or turns, got an empty list")
    conversation, images = read_turns(
        [sharegpt_turn(one, number) for number, one in enumerate(found, 1)], field=key
    )
    if images:
        raise DataError(f"field {key!r}: an image is named in a turn; expected the paths in a field 'images'")
    return conversation.messages


def sharegpt_turn(turn: Any, number: int) -> Any:
    """A from/value turn in the form of role/content; any other turn as it stands."""
    if not isinstance(turn, Mapping) or "from" not in turn:
        return turn
    who, said_text = turn["from"], turn.get("value")
    role = ROLE_WORDS.get(who.lower()) if isinstance(who, str) else None
    if role is None:
        raise DataError(
            f"message {number}: field 'from': {said(who)} does not speak; expected one of {', '.join(ROLE_WORDS)}"
        )
    plain = {key: one for key, one in turn.items() if key not in ("from", "value")}
    if who.lower() not in CALL_WORDS:
        if not isinstance(said_text, str | list):
            raise DataError(f"message {number}: field 'value': expected a text, got {said(said_text)}")
        return {"role": role, "content": said_text, **plain}
    calls = said_text
    if isinstance(said_text, str):
        calls = parse_json(said_text, f"message {number}: field 'value' of a {who}")
    calls = list(calls) if isinstance(calls, list | tuple) else [calls]
    if not calls:
        raise DataError(f"message {number}: field 'value' of a {who}: expected a call, got an empty list")
    return {"role": role, "content": "", "tool_calls": calls, **plain}
