"""One row as the checks see it: what could be made of it, and 64-bit identities of its parts.

Two parts are the same where their identities are (BLAKE2b, 8 bytes: among a hundred million rows the odds of one
false match are about 1 in 4,000). Zero stands for "there is none". Knows nothing of what a check makes of a row.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, overload

from luthier.chat.messages import Conversation, Message, conversation_from_messages
from luthier.data.checks.finding import MAX_EXAMPLE_CHARACTERS, RowKey, SplitName, shorten
from luthier.data.example import Example
from luthier.data.formats import FileFormat, UnknownFormat, read_example, recognise
from luthier.data.rows import Defect, Row, UnreadableRow
from luthier.errors import DataError

ITEM_KEYS = frozenset({"must", "must_not", "answer", "grader"})
_ITEM_CONTENT = ("question", "messages", *sorted(ITEM_KEYS))


T = TypeVar("T")


class once(Generic[T]):
    """A property that is worked out when it is first asked for; `functools.cached_property` without its lock.

    The lock costs more than most of what is worked out here, and a row is never in two threads.
    """

    def __init__(self, work_out: Callable[[Any], T]) -> None:
        self._work_out = work_out
        self._name = work_out.__name__
        self.__doc__ = work_out.__doc__

    @overload
    def __get__(self, row: None, owner: type) -> "once[T]": ...
    @overload
    def __get__(self, row: object, owner: type) -> T: ...
    def __get__(self, row: object | None, owner: type) -> "T | once[T]":
        if row is None:
            return self
        value = row.__dict__[self._name] = self._work_out(row)
        return value


@dataclass
class CheckedRow:
    """One row, or one line that is none, with what could be made of it.

    shape: the format's name, `item` for an evaluation item, None if not recognised.
    defect, problem: why the line is no row, or why the row says nothing; both None where all is well.
    example: what the row says; None where there is a defect.
    answer: the text of the last assistant turn, or of the item's answer; None where there is none.
    folder: where the row's file lies; paths in the row are relative to it.
    """

    key: RowKey
    split: SplitName
    place: str
    value: Mapping[str, Any] = field(default_factory=dict)
    shape: str | None = None
    defect: Defect | Literal["unknown_shape", "malformed_row"] | None = None
    problem: str | None = None
    example: Example | None = None
    answer: str | None = None
    folder: str = ""

    @once
    def messages(self) -> tuple[Message, ...]:
        """Every turn; of a preference, those of the chosen answer."""
        return self.example.messages if self.example else ()

    @once
    def before(self) -> tuple[Message, ...]:
        """The turns before the last answer."""
        return self.example.before_answer if self.example else ()

    @once
    def asked(self) -> str:
        """The last turn before the answer that is not the assistant's; empty where there is none."""
        return next((m.content for m in reversed(self.before) if m.role in ("user", "tool")), "")

    @property
    def summary(self) -> str:
        """The last question and its answer in one line, for an example."""
        if self.problem is not None:
            return shorten(self.problem)
        if self.example is None or self.example.kind == "text":
            text = self.example.text if self.example else None
            return shorten(str(dict(self.value)) if text is None else text)
        if self.answer is None:
            return shorten(self.asked)
        half = MAX_EXAMPLE_CHARACTERS // 2 - 2
        return f"{shorten(self.asked, half)} -> {shorten(self.answer, half)}"

    def texts(self) -> list[str]:
        """Every text of the row: the document, or what each turn says and thinks, the rejected answer too.

        Many checks read it: it is made once, and not to be changed.
        """
        return self._texts

    @once
    def _texts(self) -> list[str]:
        if self.example is None:
            return []
        if self.example.kind == "text":
            return [self.example.text or ""]
        turns = (*self.messages, *self.example.rejected)
        return [text for turn in turns for text in (turn.content, turn.reasoning) if text]

    @once
    def content_id(self) -> int:
        """The whole row as a model would see it, without ids, tags and other fields."""
        example = self.example
        if example is None:
            return 0
        if example.kind == "text":
            return identity("text", example.text or "")
        if self.answer is None:
            if self.shape == "item":
                return identity("item", _json({k: self.value[k] for k in _ITEM_CONTENT if k in self.value}))
            return 0
        parts = _parts(self.before)
        if self.shape == "item":
            return identity(*parts, *_parts([Message("assistant", self.answer)]))
        parts += _parts(self.messages[len(self.before) :])
        if example.rejected:
            parts += ["rejected", *_parts(example.rejected)]
        if example.desirable is not None:
            parts += ["desirable", str(example.desirable)]
        return identity(*parts, *_rest(example))

    @once
    def prompt_id(self) -> int:
        """Everything before the last answer, system turns and tools among it; 0 where nothing is answered."""
        if self.example is None or (self.answer is None and self.shape != "item"):
            return 0
        return identity(*_parts(self.before), *_rest(self.example))

    @once
    def question_id(self) -> int:
        """What was asked, whatever the system prompt, the case and the spacing."""
        if self.example is None or (self.answer is None and self.shape != "item"):
            return 0
        asked = [t for m in self.before if m.role != "system" for t in (m.role, normalise(m.content))]
        return identity(*asked) if asked else 0

    @once
    def answer_id(self) -> int:
        """The text of the answer."""
        return identity(self.answer) if self.answer else 0


def normalise(text: str) -> str:
    """The text without regard to case and spacing."""
    return " ".join(text.casefold().split())


def identity(*parts: str) -> int:
    """64 bits that stand for the parts in their order; never 0."""
    # The lengths stand before the parts, so that no two lists of parts run into each other.
    told = f"{' '.join([str(len(part)) for part in parts])}\n{''.join(parts)}".encode(
        "utf-8", "surrogatepass"
    )
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little") or 1


def _parts(messages: Iterable[Message]) -> list[str]:
    parts: list[str] = []
    for m in messages:
        parts += (m.role, m.content)
        if m.reasoning or m.tool_calls or m.name or m.tool_call_id:
            value = m.to_dict()
            del value["content"]
            parts.append(_json(value))
    return parts


def _rest(example: Example) -> list[str]:
    tools = example.conversation.tools
    return [*([_json(tools)] if tools else []), *example.images]


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=dict)


def check_row(
    row: Row | UnreadableRow, key: RowKey, split: SplitName, file_format: FileFormat | None = None
) -> CheckedRow:
    """What can be made of a row; nothing is raised. `file_format` is what its file was recognised as."""
    if isinstance(row, UnreadableRow):
        return CheckedRow(key, split, f"{row.file}:{row.number}", defect=row.defect, problem=row.problem)
    where, value = row.where, row.value
    if file_format is not None:
        value = file_format.rename(value)
    if split != "train" and _is_item(value):
        return _check_item(where, key, split, value)
    name = recognise(value) if file_format is None else file_format.of(value)
    try:
        shape, example = read_example(value, where=where, format=name)
    except DataError as error:
        unknown = isinstance(error, UnknownFormat)
        defect: Any = "unknown_shape" if unknown else "malformed_row"
        return CheckedRow(key, split, where, value, None if unknown else name, defect, str(error))
    answer = example.answer
    return CheckedRow(
        key, split, where, value, shape, example=example, answer=None if answer is None else answer.content
    )


def _is_item(value: Mapping[str, Any]) -> bool:
    return ("question" in value or "messages" in value) and not ITEM_KEYS.isdisjoint(value)


def _check_item(where: str, key: RowKey, split: SplitName, value: Mapping[str, Any]) -> CheckedRow:
    raw = value["messages"] if "messages" in value else [{"role": "user", "content": value["question"]}]
    try:
        messages = conversation_from_messages(raw).messages
    except DataError as error:
        return CheckedRow(key, split, where, value, "item", "malformed_row", f"{where}: {error}")
    gold = messages[-1].content if messages[-1].role == "assistant" else None
    answer = value.get("answer", gold)
    example = Example("chat", Conversation(messages))
    return CheckedRow(
        key, split, where, value, "item", example=example, answer=None if answer is None else str(answer)
    )
