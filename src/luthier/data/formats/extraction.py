"""Extraction: a text and the JSON object that is to be found in it.

The answer is the object as JSON text. Knows nothing of tokens and their tags, and of pieces of text (`spans`).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from luthier.data.example import Example
from luthier.data.formats.classification import TEXTS as _CLASSIFIED
from luthier.data.formats.fields import found_name, optional_text, parse_json, rest, said, text_field
from luthier.data.formats.format import make_format
from luthier.data.formats.losses import SYSTEM, pair_losses, pair_of
from luthier.data.formats.turns import chat
from luthier.errors import DataError

TEXTS = (*_CLASSIFIED, "input")
OBJECTS = ("json", "output", "entities", "slots")
_SPAN_TEXTS, _SPAN_LABELS = ("text", "value", "word"), ("label", "entity", "type", "entity_group", "slot")


def json_text(value: Mapping[str, Any]) -> str:
    """An object as the answer of an extraction."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"the object cannot be written as JSON: {error}") from None


def gather(found: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """(entity, value) pairs as an object: one value as a text, several as a list."""
    values: dict[str, list[str]] = {}
    for entity, value in found:
        values.setdefault(entity, []).append(value)
    return {entity: several[0] if len(several) == 1 else several for entity, several in values.items()}


def extraction(value: Mapping[str, Any], text: str, answer: str, used: Iterable[str | None]) -> Example:
    """The example of a text and its answer; `used` names the fields that they came from."""
    conversation = chat(optional_text(value, "system"), ("user", text), ("assistant", answer))
    extra = rest(value, {"system", *(key for key in used if key is not None)})
    return Example("extraction", conversation, text=text, extra=extra)


def _named(value: Mapping[str, Any]) -> bool:
    return found_name(value, TEXTS) is not None and found_name(value, OBJECTS) is not None


def _fits(value: Mapping[str, Any]) -> bool:
    found = value.get(found_name(value, OBJECTS) or "")
    if isinstance(found, str):
        found = found.strip()
        return found.startswith("{") and found.endswith("}")
    return isinstance(found, Mapping) or (isinstance(found, list) and bool(found) and _is_span(found[0]))


def _is_span(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list | tuple) and len(value) == 3)


def _read(value: Mapping[str, Any]) -> Example:
    text_key, key = found_name(value, TEXTS) or "text", found_name(value, OBJECTS) or "json"
    text = text_field(value, text_key)
    found = value.get(key)
    answer = None
    if isinstance(found, str):
        answer, found = found, parse_json(found, f"field {key!r}")
    if isinstance(found, list | tuple):
        answer, found = (
            None,
            gather(_span(one, text, key, number) for number, one in enumerate(found, start=1)),
        )
    if not isinstance(found, Mapping):
        raise DataError(f"field {key!r}: expected a JSON object or its text, got {said(found)}")
    return extraction(value, text, json_text(found) if answer is None else answer, (text_key, key))


def _span(value: Any, text: str, key: str, number: int) -> tuple[str, str]:
    """(entity, value) of a piece of the text, which is named by its place or by itself."""
    where = f"field {key!r}, entity {number}"
    if isinstance(value, list | tuple) and len(value) == 3:
        value = dict(zip(("start", "end", "label"), value, strict=True))
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: expected an object with start, end and label, got {said(value)}")
    label = next((value[name] for name in _SPAN_LABELS if value.get(name) is not None), None)
    if not isinstance(label, str) or not label:
        raise DataError(f"{where}: expected a label (a text), got {said(label)}")
    piece = next((value[name] for name in _SPAN_TEXTS if isinstance(value.get(name), str)), None)
    if piece is not None:
        return label, piece
    start, end = value.get("start"), value.get("end")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        raise DataError(
            f"{where}: expected start and end within the {len(text)} characters of the text, "
            f"got {said(start)} and {said(end)}"
        )
    return label, text[start:end]


def answer_object(example: Example) -> tuple[str | None, str, dict[str, Any], str]:
    """(system, text, object, answer) of an example. Raises DataError where its answer is no JSON object."""
    pair = pair_of(example.messages)
    found = parse_json(pair.answered, "the answer")
    if not isinstance(found, dict):
        raise DataError(f"the answer: expected a JSON object, got {said(pair.answered)}")
    return pair.system, pair.asked, found, pair.answered


def _write(example: Example) -> dict[str, Any]:
    system, text, found, answer = answer_object(example)
    # The text stands where writing the object again would change it: its spaces, a name that comes twice.
    exact = json_text(found) == answer
    return {"text": text, "json": found if exact else answer} | ({} if system is None else {"system": system})


def extraction_losses(example: Example) -> list[str]:
    """What a text and an object lose of an example."""
    try:
        answer_object(example)
    except DataError:
        return ["an answer that is not a JSON object"]
    return pair_losses(example, frozenset({SYSTEM}))


EXTRACTION = make_format(
    "extraction",
    f"a text and a JSON object ({', '.join(OBJECTS)})",
    fields=frozenset({*TEXTS, *OBJECTS, "system"}),
    named=_named,
    fits=_fits,
    read=_read,
    write=_write,
    kinds=frozenset({"extraction", "chat"}),
    loses=extraction_losses,
    reserved=frozenset({"text", "json", "system"}),
)
