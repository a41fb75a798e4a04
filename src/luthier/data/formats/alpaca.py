"""Alpaca: `instruction`, `input` and `output`, with a system prompt and earlier turns where there are any.

The question is the instruction, an empty line and the input; without an input it is the instruction alone. The two
are kept apart in `Example.question` and `Example.context`, so that the row comes back as it was.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.chat.messages import Message
from luthier.data.example import Example
from luthier.data.formats.fields import list_field, optional_text, rest, said, text_field
from luthier.data.formats.format import ANSWERED, make_format
from luthier.data.formats.losses import SYSTEM, feature_losses, pair_losses, pair_of
from luthier.data.formats.turns import chat
from luthier.errors import DataError

_INPUTS, _OUTPUTS = ("input", "context"), ("output", "response")
FIELDS = frozenset({"instruction", *_INPUTS, *_OUTPUTS, "system", "history"})


def _named(value: Mapping[str, Any]) -> bool:
    return "instruction" in value and not value.keys().isdisjoint(_OUTPUTS)


def _read(value: Mapping[str, Any]) -> Example:
    given = next((key for key in _INPUTS if key in value), None)
    output = next((key for key in _OUTPUTS if key in value), "output")
    context = (optional_text(value, given) if given else None) or None
    instruction = text_field(value, "instruction", or_empty=context is not None)
    asked = f"{instruction}\n\n{context}" if context and instruction else context or instruction
    if not asked.strip():
        raise DataError("field 'instruction': expected a text that is not empty, got only spaces")
    system = optional_text(value, "system") or None
    turns = [*_history(value), ("user", asked), ("assistant", text_field(value, output))]
    return Example(
        "chat",
        chat(system, *turns),
        context=context,
        question=instruction if context else None,
        extra=rest(value, {"instruction", given, output, "system", "history"}),
    )


def _history(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    turns = []
    for number, pair in enumerate(list_field(value, "history"), start=1):
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not all(isinstance(one, str) for one in pair)
        ):
            raise DataError(f"field 'history', turn {number}: expected [question, answer], got {said(pair)}")
        turns += [("user", pair[0]), ("assistant", pair[1])]
    return turns


def _pairs(messages: Sequence[Message]) -> list[tuple[Message, Message]] | None:
    """The turns as questions and answers; None where they do not alternate."""
    if not messages or len(messages) % 2:
        return None
    pairs = list(zip(messages[::2], messages[1::2], strict=True))
    return pairs if all((a.role, b.role) == ("user", "assistant") for a, b in pairs) else None


def _split(example: Example) -> tuple[str | None, Sequence[Message]]:
    messages = example.messages
    first = messages[0] if messages else None
    # An empty system prompt reads as none, so it is no system prompt that this format can hold.
    return (
        (first.content, messages[1:])
        if first and first.role == "system" and first.content
        else (None, messages)
    )


def _write(example: Example) -> dict[str, Any]:
    system, turns = _split(example)
    pairs = _pairs(turns)
    if pairs is None:
        pair = pair_of(example.messages)
        asked, answered, history = pair.asked, pair.answered, []
        system = pair.system or None
    else:
        asked, answered = pairs[-1][0].content, pairs[-1][1].content
        history = [[a.content, b.content] for a, b in pairs[:-1]]
    if not asked.strip() or not answered.strip():
        raise DataError("the last question or its answer is empty")
    row: dict[str, Any] = _instruction(example, asked) | {"output": answered}
    if system is not None:
        row["system"] = system
    return row | ({"history": history} if history else {})


def _instruction(example: Example, asked: str) -> dict[str, str]:
    question, context = example.question, example.context
    if question is not None and context and asked == (f"{question}\n\n{context}" if question else context):
        return {"instruction": question, "input": context}
    return {"instruction": asked, "input": ""}


def _loses(example: Example) -> list[str]:
    first = example.messages[:1]
    if first and first[0].role == "system" and not first[0].content:
        return [*_losses_of_turns(example), "an empty system prompt"]
    return _losses_of_turns(example)


def _losses_of_turns(example: Example) -> list[str]:
    _, turns = _split(example)
    pairs = _pairs(turns)
    if pairs is None:
        return pair_losses(example, frozenset({SYSTEM}))
    if not pairs[-1][0].content.strip() or not pairs[-1][1].content.strip():
        return ["a last question or answer that is empty"]
    return feature_losses(example, example.messages)


ALPACA = make_format(
    "alpaca",
    "fields instruction, output",
    fields=FIELDS,
    named=_named,
    read=_read,
    write=_write,
    kinds=ANSWERED,
    loses=_loses,
)
