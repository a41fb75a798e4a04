"""KTO: one answer and whether it is good, as `label` true or false beside messages or a prompt and a completion."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from luthier.data.example import Example
from luthier.data.formats.chat import MESSAGES_FIELDS, MESSAGES_HOLD, PAIRS, read_messages, write_messages
from luthier.data.formats.fields import rest, said
from luthier.data.formats.format import make_format
from luthier.data.formats.losses import DESIRABLE, feature_losses
from luthier.data.formats.sharegpt import FIELDS as SHAREGPT_FIELDS
from luthier.data.formats.sharegpt import read_sharegpt
from luthier.errors import DataError

_LABELS = ("label", "kto_tag")
_WORDS = {"true": True, "false": False}
_PAIR_FORMATS = PAIRS[:2]
FIELDS = frozenset({*_LABELS, *MESSAGES_FIELDS, *SHAREGPT_FIELDS, "prompt", "completion", "response"})


def thumb(label: Any) -> bool | None:
    """A label that says good or bad: true, false, their texts, 1 or 0; None for anything else."""
    if isinstance(label, bool):
        return label
    if isinstance(label, str):
        return _WORDS.get(label.strip().lower())
    return bool(label) if isinstance(label, int) and label in (0, 1) else None


def _turns_reader(value: Mapping[str, Any]) -> Any:
    if "messages" in value:
        return read_messages
    if "conversations" in value:
        return read_sharegpt
    return next((one.read for one in _PAIR_FORMATS if one.named(value)), None)


def _label_of(value: Mapping[str, Any]) -> str | None:
    return next((key for key in _LABELS if key in value), None)


def _named(value: Mapping[str, Any]) -> bool:
    return _label_of(value) is not None and _turns_reader(value) is not None


def _read(value: Mapping[str, Any]) -> Example:
    key = _label_of(value) or "label"
    desirable = thumb(value.get(key))
    if desirable is None:
        raise DataError(f"field {key!r}: expected true (a good answer) or false, got {said(value.get(key))}")
    read = _turns_reader(value)
    if read is None:
        raise DataError("field 'messages': expected messages, or prompt and completion, beside the label")
    example: Example = read(value)
    if example.answer is None:
        raise DataError("field 'messages': there is no turn of the assistant, so the label is about nothing")
    return replace(example, kind="feedback", desirable=desirable, extra=rest(example.extra, {key}))


def _write(example: Example) -> dict[str, Any]:
    if example.desirable is None or example.answer is None:
        raise DataError("an answer with a label needs an answer of the assistant and the label")
    return {**write_messages(example), "label": example.desirable}


KTO = make_format(
    "kto",
    "fields messages (or prompt, completion) and label (true or false)",
    fields=FIELDS,
    named=_named,
    read=_read,
    write=_write,
    kinds=frozenset({"feedback"}),
    loses=lambda example: feature_losses(example, example.messages, MESSAGES_HOLD | {DESIRABLE}),
    fits=lambda value: thumb(value.get(_label_of(value) or "")) is not None,
    reserved=frozenset({*_LABELS, *MESSAGES_FIELDS}),
)
