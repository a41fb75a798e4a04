"""From files to checked rows: every line is read, and whatever is wrong with one stays with it.

Knows nothing of what a check makes of the rows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.chat.messages import Conversation, Message, conversation_from_messages
from luthier.data.checks.finding import CheckedRow, SplitName
from luthier.data.formats import recognise, to_conversation
from luthier.data.sources import UnreadableRow, read_every_line
from luthier.errors import DataError
from luthier.hashing import hash_json

ITEM_KEYS = frozenset({"must", "must_not", "answer", "grader"})


def read_checked(path: Path, split: SplitName) -> list[CheckedRow]:
    """All rows of a file. Raises DataError where the file as a whole cannot be read."""
    rows = []
    for line in read_every_line(path):
        if isinstance(line, UnreadableRow):
            rows.append(CheckedRow(path, line.number, split, {}, defect=line.defect, problem=line.problem))
        else:
            rows.append(_checked(path, line.number, split, line.value))
    return rows


def _checked(path: Path, number: int, split: SplitName, value: Mapping[str, Any]) -> CheckedRow:
    place = f"{path}:{number}"
    if split != "train" and _is_item(value):
        return _checked_item(path, number, split, value)
    shape = recognise(value)
    if shape is None and isinstance(value.get("text"), str):
        content = hash_json(["text", value["text"]])
        return CheckedRow(path, number, split, value, shape="text", content=content)
    defect: Any = "unknown_shape" if shape is None else "malformed_row"
    try:
        conversation = to_conversation(value, where=place)
    except DataError as error:
        return CheckedRow(path, number, split, value, shape=shape, defect=defect, problem=str(error))
    roles = [message.role for message in conversation.messages]
    if "assistant" not in roles:
        return CheckedRow(path, number, split, value, shape=shape, conversation=conversation)
    last = len(roles) - 1 - roles[::-1].index("assistant")
    before, answer = conversation.messages[:last], conversation.messages[last]
    return CheckedRow(
        path,
        number,
        split,
        value,
        shape=shape,
        conversation=conversation,
        prompt=_prompt(before, conversation.tools),
        question=_question(before),
        content=_content(before, answer, conversation.tools),
        answer=answer.content,
    )


def _is_item(value: Mapping[str, Any]) -> bool:
    return ("question" in value or "messages" in value) and not ITEM_KEYS.isdisjoint(value)


def _checked_item(path: Path, number: int, split: SplitName, value: Mapping[str, Any]) -> CheckedRow:
    raw = value["messages"] if "messages" in value else [{"role": "user", "content": value["question"]}]
    try:
        messages = conversation_from_messages(raw).messages
    except DataError as error:
        problem = f"{path}:{number}: {error}"
        return CheckedRow(path, number, split, value, shape="item", defect="malformed_row", problem=problem)
    before = messages[:-1] if messages[-1].role == "assistant" else messages
    gold = messages[-1].content if messages[-1].role == "assistant" else None
    answer = value.get("answer", gold)
    text = None if answer is None else str(answer)
    said = None if text is None else Message("assistant", text)
    return CheckedRow(
        path,
        number,
        split,
        value,
        shape="item",
        conversation=Conversation(messages),
        prompt=_prompt(before, ()),
        question=_question(before),
        content=hash_json(_item_content(value)) if said is None else _content(before, said, ()),
        answer=text,
    )


def _item_content(value: Mapping[str, Any]) -> dict[str, Any]:
    """An item without an answer is the same as another where it asks and demands the same."""
    return {key: value[key] for key in ("question", "messages", *sorted(ITEM_KEYS)) if key in value}


def _prompt(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
    return hash_json([[message.to_dict() for message in messages], list(tools)])


def _question(messages: Sequence[Message]) -> str | None:
    """Identity of what was asked, whatever the system prompt, the case and the spacing."""
    asked = [(m.role, " ".join(m.content.casefold().split())) for m in messages if m.role != "system"]
    return hash_json(asked) if asked else None


def _content(messages: Sequence[Message], answer: Message, tools: Sequence[Mapping[str, Any]]) -> str:
    return hash_json([[message.to_dict() for message in (*messages, answer)], list(tools)])
