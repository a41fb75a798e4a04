"""Retrieval: a context, a question and the answer, which may be that the context does not say it."""

import re
from collections.abc import Mapping
from typing import Any

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

# What a row without an answer teaches to say, where the row itself says that the question is impossible.
NOT_IN_CONTEXT = "The answer is not in the context."
_ANSWERS = ("answer", "answers")
_SOURCE = r"(?:context|text|passage|document|documents|article|excerpt|source|sources|information|paragraph|material)"
_ABSTAINS = re.compile(
    rf"\b(?:is|are|was|were|does|do|did)(?: not|n't) (?:\w+ ){{0,3}}(?:in|by|from|within) (?:\w+ ){{0,2}}{_SOURCE}\b"
    rf"|\bnot (?:\w+ ){{0,2}}(?:in|by|from|within) (?:the |this |that )?(?:\w+ )?{_SOURCE}\b"
    rf"|\b{_SOURCE} (?:does|do)(?: not|n't) (?:say|mention|contain|state|provide|specify|include|give|answer|tell)"
    r"|\b(?:cannot|can't|can not|could not|couldn't) (?:be )?(?:answer|answered|determined?|found|find)\b"
    r"|\b(?:unanswerable|not answerable|no answer|not enough information|insufficient information)\b"
    r"|\bi (?:do not|don't) know\b"
)
# A long answer that once says "not in the text" of a side matter is an answer all the same.
_MAX_ABSTENTION = 300


def abstains(text: str | None) -> bool:
    """Does an answer say that the context does not hold it? No answer at all says so too."""
    if text is None or not text.strip():
        return True
    plain = " ".join(text[:_MAX_ABSTENTION].lower().replace("’", "'").split())
    return _ABSTAINS.search(plain) is not None


def _context(value: Mapping[str, Any]) -> str:
    context = value.get("context")
    if isinstance(context, list | tuple) and context and all(isinstance(one, str) for one in context):
        context = "\n\n".join(context)
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
        optional_text(value, "system"), ("user", f"{context}\n\n{question}"), ("assistant", answer)
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
