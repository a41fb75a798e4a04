"""Retrieval: a context, a question and the answer, which may be that the context does not say it."""

from collections.abc import Mapping
from typing import Any

from luthier.chat.context import NOT_IN_CONTEXT, context_turn, join_passages
from luthier.data.example import Example
from luthier.data.formats.fields import (
    list_field,
    optional_text,
    parse_json,
    rest,
    said,
    text_field,
)
from luthier.data.formats.format import make_format
from luthier.data.formats.losses import feature_losses
from luthier.data.formats.turns import chat
from luthier.errors import DataError

_ANSWERS = ("answer", "answers")


def _context(value: Mapping[str, Any]) -> str:
    context = value.get("context")
    if isinstance(context, list | tuple) and context and all(isinstance(one, str) for one in context):
        context = join_passages(context)
        if context.strip():
            return context
    return text_field(value, "context")


def _answer(value: Mapping[str, Any], key: str) -> str:
    """The answer: a text, the first of a list, or the first text of SQuAD's `answers`."""
    found = value.get(key)
    if key == "answers" and isinstance(found, str) and found.lstrip()[:1] in ("[", "{"):
        found = parse_json(found, "field 'answers'")
    squad = key == "answers" and (isinstance(found, list) or (isinstance(found, Mapping) and "text" in found))
    if isinstance(found, Mapping):
        found = list_field(found, "text")
    if isinstance(found, list | tuple):
        found = found[0] if found else None
    impossible = squad or value.get("is_impossible") in (True, "true", "True", 1)
    if impossible and (found is None or (isinstance(found, str) and not found.strip())):
        return NOT_IN_CONTEXT
    if not isinstance(found, str) or not found.strip():
        raise DataError(
            f"field {key!r}: expected a text that is not empty, got {said(value.get(key))}; where the context does "
            f'not hold the answer, write that as the answer, or set "is_impossible": true'
        )
    return found


def _named(value: Mapping[str, Any]) -> bool:
    return "context" in value and "question" in value and not value.keys().isdisjoint(_ANSWERS)


def _read(value: Mapping[str, Any]) -> Example:
    key = next((key for key in _ANSWERS if key in value), "answer")
    context, question, answer = _context(value), text_field(value, "question"), _answer(value, key)
    conversation = chat(
        optional_text(value, "system"), ("user", context_turn(context, question)), ("assistant", answer)
    )
    extra = rest(value, {"context", "question", key, "system"})
    return Example("retrieval", conversation, context=context, question=question, extra=extra)


def _write(example: Example) -> dict[str, Any]:
    answer = example.answer
    if not example.context or not example.question or answer is None or not answer.content.strip():
        raise DataError("a question about a context needs the context, the question and an answer")
    row = {"context": example.context, "question": example.question, "answer": answer.content}
    first = example.messages[0]
    return row | ({"system": first.content} if first.role == "system" else {})


RETRIEVAL = make_format(
    "retrieval",
    "fields context, question, answer",
    fields=frozenset({"context", "question", *_ANSWERS, "system"}),
    named=_named,
    fits=lambda value: isinstance(value["context"], str | list),
    read=_read,
    write=_write,
    kinds=frozenset({"retrieval"}),
    loses=lambda example: feature_losses(example, example.messages),
)
