"""Preferences: a chosen and a rejected answer to the same turns, in the ways people write them.

`prompt, chosen, rejected` (texts or turns; without a prompt both answers are whole conversations that begin alike;
written as turns by `preference`, as texts by `preference-text`, so that a file holds one kind), ShareGPT
`conversations` with `chosen` and `rejected` turns, and `chosen_messages, rejected_messages`.
"""

import re
from collections.abc import Mapping
from typing import Any

from luthier.chat.messages import Conversation, Message
from luthier.data.example import Example
from luthier.data.formats.chat import tools_and_images
from luthier.data.formats.fields import (
    has,
    list_field,
    optional_text,
    rest,
    said,
    text_field,
)
from luthier.data.formats.format import Format, make_format
from luthier.data.formats.losses import (
    CALL_IDS,
    CALLS,
    IMAGES,
    NAMES,
    REASONING,
    REJECTED,
    TOOLS,
    WEIGHTS,
    feature_losses,
)
from luthier.data.formats.sharegpt import HOLDS as SHAREGPT_HOLDS
from luthier.data.formats.sharegpt import read_sharegpt, turn_losses, write_turns
from luthier.data.formats.sharegpt import tools_and_images as sharegpt_tools_and_images
from luthier.data.formats.turns import chat, read_images, read_side, read_turns, turn_row, turns_in_text
from luthier.errors import DataError

_PROMPTS = ("prompt", "messages", "question", "instruction")
_HOLDS = frozenset({TOOLS, CALLS, CALL_IDS, REASONING, WEIGHTS, NAMES, IMAGES, REJECTED})
_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_SHARED_TURNS = "where the two answers begin (their first turns are the same)"
Turns = tuple[Message, ...]


def _answer_turns(value: Mapping[str, Any], key: str) -> Turns:
    """The turns of an answer; a text of "Human:" and "Assistant:" parts is the whole conversation."""
    text = value.get(key)
    if not isinstance(text, str) or not _HH_TURN.match(text):
        return read_side(value, key, "assistant")
    pieces = _HH_TURN.split(text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [
        (roles[who], said_text.strip()) for who, said_text in zip(pieces[::2], pieces[1::2], strict=True)
    ]
    return chat(None, *turns).messages


def split_whole(chosen: Turns, rejected: Turns) -> tuple[Turns, Turns, Turns]:
    """(the turns that both share, the rest of each). Each rest begins with the assistant. Raises DataError."""
    alike = 0
    while alike < min(len(chosen), len(rejected)) and chosen[alike] == rejected[alike]:
        alike += 1
    for cut in range(alike, 0, -1):
        answers = (chosen[cut:], rejected[cut:])
        if all(answer and answer[0].role == "assistant" for answer in answers):
            return chosen[:cut], *answers
    raise DataError(
        "fields 'chosen' and 'rejected': expected two answers of the assistant after the same turns, "
        f"got {len(chosen)} and {len(rejected)} turns of which the first {alike} are the same"
    )


def _read(value: Mapping[str, Any]) -> Example:
    prompt = next((key for key in _PROMPTS if value.get(key) is not None), None)
    before = _asked(value, prompt) if prompt else ()
    system = optional_text(value, "system")
    if system:
        before = (Message("system", system), *before)
    chosen, rejected = _answer_turns(value, "chosen"), _answer_turns(value, "rejected")
    if chosen[0].role != "assistant" or rejected[0].role != "assistant":
        shared, chosen, rejected = split_whole(chosen, rejected)
        before = _agreeing(before, shared, prompt)
    if not before:
        raise DataError(
            f"field 'prompt': expected what was asked (a text or turns), got {said(value.get('prompt'))}"
        )
    conversation = Conversation(before, tuple(_tools(value)))
    images = read_images(value, [], before)
    used: set[str | None] = {"system", "chosen", "rejected", "tools", "images", "image", prompt}
    if prompt == "instruction":
        used.add("input")
    return Example(
        "preference", conversation, chosen=chosen, rejected=rejected, images=images, extra=rest(value, used)
    )


def _asked(value: Mapping[str, Any], prompt: str) -> Turns:
    more = optional_text(value, "input") if prompt == "instruction" else None
    if more:
        return (Message("user", f"{text_field(value, prompt)}\n\n{more}"),)
    return read_side(value, prompt, "user")


def _tools(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tools = list_field(value, "tools")
    if not all(isinstance(tool, Mapping) for tool in tools):
        raise DataError("field 'tools': expected a list of JSON objects, one per tool")
    return tools


def _agreeing(before: Turns, shared: Turns, prompt: str | None) -> Turns:
    """The turns before the answers, where the answers are whole conversations and there may be a prompt too."""
    asked = [m.content.strip() for m in before if m.role == "user"]
    heard = [m.content.strip() for m in shared]
    if any(text not in heard for text in asked):
        raise DataError(
            f"field {prompt!r}: says other than the turns with which 'chosen' and 'rejected' begin; remove one of them"
        )
    system = tuple(m for m in before if m.role == "system")
    return shared if shared[0].role == "system" else (*system, *shared)


def _is_plain(text: str) -> bool:
    return bool(text.strip()) and not _HH_TURN.match(text) and turns_in_text(text) is text


def _need_answers(example: Example) -> None:
    answers = (example.chosen, example.rejected)
    if not example.conversation.messages or any(not a or a[0].role != "assistant" for a in answers):
        raise DataError(
            "a preference needs turns, and a chosen and a rejected answer of the assistant to them"
        )


def _write(example: Example) -> dict[str, Any]:
    _need_answers(example)
    sides = (example.conversation.messages, example.chosen, example.rejected)
    names = ("prompt", "chosen", "rejected")
    rows = {name: [turn_row(m) for m in side] for name, side in zip(names, sides, strict=True)}
    return rows | tools_and_images(example)


def _write_texts(example: Example) -> dict[str, Any]:
    _need_answers(example)
    turns = example.conversation.messages
    system = turns[0].content if turns[0].role == "system" else None
    asked = next((m for m in reversed(turns) if m.role == "user"), None)
    sides = (asked, example.chosen[0], example.rejected[0])
    texts = [m.content if m is not None else "" for m in sides]
    if not all(map(_is_plain, texts)):
        raise DataError("the prompt and both answers need a text that is not empty")
    row: dict[str, Any] = dict(zip(("prompt", "chosen", "rejected"), texts, strict=True))
    return row | ({"system": system} if system else {})


def _loses_in_texts(example: Example) -> list[str]:
    turns = example.conversation.messages
    asked = turns[1:] if turns and turns[0].role == "system" and turns[0].content else turns
    losses = feature_losses(example, _every_turn(example), frozenset({REJECTED}))
    if len(asked) != 1 or asked[0].role != "user":
        losses.append("turns before the last question")
    if len(example.chosen) != 1 or len(example.rejected) != 1:
        losses.append("turns after the first answer")
    return losses


def _every_turn(example: Example) -> Turns:
    return (*example.messages, *example.rejected)


def _loses(example: Example) -> list[str]:
    return feature_losses(example, _every_turn(example), _HOLDS)


def _read_sharegpt(value: Mapping[str, Any]) -> Example:
    asked = read_sharegpt(value)
    chosen, rejected = read_side(value, "chosen", "assistant"), read_side(value, "rejected", "assistant")
    for key, side in (("chosen", chosen), ("rejected", rejected)):
        if side[0].role != "assistant":
            raise DataError(
                f"field {key!r}: expected an answer of the assistant, got a turn of the {side[0].role}"
            )
    extra = rest(asked.extra, {"chosen", "rejected"})
    return Example(
        "preference", asked.conversation, chosen=chosen, rejected=rejected, images=asked.images, extra=extra
    )


def _write_sharegpt(example: Example) -> dict[str, Any]:
    _need_answers(example)
    row: dict[str, Any] = {"conversations": write_turns(example.conversation.messages)}
    for key, side in (("chosen", example.chosen), ("rejected", example.rejected)):
        turns = write_turns(side)
        row[key] = turns[0] if len(turns) == 1 else turns
    return row | sharegpt_tools_and_images(example)


def _loses_in_sharegpt(example: Example) -> list[str]:
    turns = _every_turn(example)
    return [*feature_losses(example, turns, SHAREGPT_HOLDS | {REJECTED}), *turn_losses(turns)]


def _read_whole(value: Mapping[str, Any]) -> Example:
    tools = list_field(value, "tools")
    sides = [read_turns(value.get(key), tools, field=key) for key in ("chosen_messages", "rejected_messages")]
    (chosen, chosen_images), (rejected, rejected_images) = sides
    if chosen_images != rejected_images:
        raise DataError("fields 'chosen_messages' and 'rejected_messages': their turns name different images")
    shared, *answers = split_whole(chosen.messages, rejected.messages)
    images = read_images(value, chosen_images, shared)
    used = {"chosen_messages", "rejected_messages", "tools", "images", "image"}
    conversation = Conversation(shared, chosen.tools)
    return Example(
        "preference",
        conversation,
        chosen=answers[0],
        rejected=answers[1],
        images=images,
        extra=rest(value, used),
    )


def _write_whole(example: Example) -> dict[str, Any]:
    _need_answers(example)
    before = example.conversation.messages
    row: dict[str, Any] = {
        "chosen_messages": [turn_row(m) for m in (*before, *example.chosen)],
        "rejected_messages": [turn_row(m) for m in (*before, *example.rejected)],
    }
    return row | tools_and_images(example)


def _loses_in_whole(example: Example) -> list[str]:
    before, chosen, rejected = example.conversation.messages, example.chosen, example.rejected
    losses = _loses(example)
    try:
        if split_whole((*before, *chosen), (*before, *rejected))[0] != before:
            losses.append(_SHARED_TURNS)
    except DataError:
        pass  # writing it says what is missing
    return losses


PREFERENCE_FORMATS: tuple[Format, ...] = (
    make_format(
        "preference-messages",
        "fields chosen_messages, rejected_messages",
        fields=frozenset({"chosen_messages", "rejected_messages", "tools", "images", "image"}),
        named=has("chosen_messages", "rejected_messages"),
        read=_read_whole,
        write=_write_whole,
        kinds=frozenset({"preference"}),
        loses=_loses_in_whole,
    ),
    make_format(
        "sharegpt-preference",
        "fields conversations, chosen, rejected",
        fields=frozenset({"conversations", "chosen", "rejected", "system", "tools", "images", "image"}),
        named=has("conversations", "chosen", "rejected"),
        read=_read_sharegpt,
        write=_write_sharegpt,
        kinds=frozenset({"preference"}),
        loses=_loses_in_sharegpt,
    ),
    make_format(
        "preference",
        "fields chosen, rejected",
        fields=frozenset({*_PROMPTS, "input", "chosen", "rejected", "system", "tools", "images", "image"}),
        named=has("chosen", "rejected"),
        read=_read,
        write=_write,
        kinds=frozenset({"preference"}),
        loses=_loses,
    ),
    make_format(
        "preference-text",
        "fields prompt, chosen, rejected, all texts",
        fields=frozenset({"prompt", "chosen", "rejected", "system"}),
        named=has("prompt", "chosen", "rejected"),
        read=_read,
        write=_write_texts,
        kinds=frozenset({"preference"}),
        loses=_loses_in_texts,
        reserved=frozenset({*_PROMPTS, "chosen", "rejected", "system", "tools", "images", "image"}),
    ),
)
