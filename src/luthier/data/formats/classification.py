"""Classification: a text and its label, under the names that people give them, in letters of any case."""

from collections.abc import Mapping
from typing import Any

from luthier.data.example import Example
from luthier.data.formats.fields import found_name, optional_text, rest, said, text_field
from luthier.data.formats.format import make_format
from luthier.data.formats.losses import SYSTEM, pair_losses, pair_of
from luthier.data.formats.turns import chat
from luthier.errors import DataError

TEXTS = ("text", "sentence", "sms", "message", "query", "utterance", "content", "review")
LABELS = ("label", "category", "intent", "class", "target", "sentiment")


def _label(value: Mapping[str, Any], key: str) -> str:
    """The class as a text: a number without a fraction is written without one."""
    label = value.get(key)
    if isinstance(label, bool):
        return "true" if label else "false"
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, int | float):
        try:
            return str(label)
        except ValueError:  # more digits than Python writes
            raise DataError(f"field {key!r}: expected a label, got {said(label)}") from None
    if not isinstance(label, str) or not label.strip():
        raise DataError(f"field {key!r}: expected a label (a text or a number), got {said(label)}")
    return label


def _named(value: Mapping[str, Any]) -> bool:
    return found_name(value, TEXTS) is not None and found_name(value, LABELS) is not None


def _fits(value: Mapping[str, Any]) -> bool:
    text, label = value.get(found_name(value, TEXTS) or ""), value.get(found_name(value, LABELS) or "")
    return isinstance(text, str) and isinstance(label, str | int | float)


def _read(value: Mapping[str, Any]) -> Example:
    text_key, label_key = found_name(value, TEXTS) or "text", found_name(value, LABELS) or "label"
    text, label = text_field(value, text_key), _label(value, label_key)
    conversation = chat(optional_text(value, "system"), ("user", text), ("assistant", label))
    extra = rest(value, {text_key, label_key, "system"})
    return Example("classification", conversation, text=text, label=label, extra=extra)


def _write(example: Example) -> dict[str, Any]:
    pair = pair_of(example.messages)
    system = {} if pair.system is None else {"system": pair.system}
    return {"text": pair.asked, "label": pair.answered, **system}


CLASSIFICATION = make_format(
    "classification",
    f"a text ({', '.join(TEXTS)}) and a label ({', '.join(LABELS)})",
    fields=frozenset({*TEXTS, *LABELS, "system"}),
    named=_named,
    fits=_fits,
    read=_read,
    write=_write,
    kinds=frozenset({"classification", "chat"}),
    loses=lambda example: pair_losses(example, frozenset({SYSTEM})),
    reserved=frozenset({"text", "label", "system"}),
)
