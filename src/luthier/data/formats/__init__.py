"""The formats in which people keep examples: each is recognised by its fields, read into an `Example`, and written.

`FORMATS` is the table. A file's format is recognised from its first rows; a row that does not fit it is recognised
alone. This room knows nothing of files, tokens or templates.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from luthier.chat.messages import Conversation
from luthier.data.example import Example, Kind
from luthier.data.formats.alpaca import ALPACA
from luthier.data.formats.chat import INPUT_OUTPUT, MESSAGES, PAIRS, TEXT
from luthier.data.formats.choices import MULTIPLE_CHOICE
from luthier.data.formats.classification import CLASSIFICATION
from luthier.data.formats.extraction import EXTRACTION
from luthier.data.formats.feedback import KTO
from luthier.data.formats.fields import parse_fields
from luthier.data.formats.format import Format, UnknownFormat
from luthier.data.formats.preference import PREFERENCE_FORMATS
from luthier.data.formats.retrieval import RETRIEVAL
from luthier.data.formats.sharegpt import SHAREGPT
from luthier.data.formats.spans import SPAN_FORMATS
from luthier.errors import DataError

__all__ = [
    "FORMATS",
    "FileFormat",
    "Format",
    "UnknownFormat",
    "known_format",
    "parse_fields",
    "read_example",
    "recognise",
    "recognise_file",
    "to_conversation",
]

# The first format that fits a row is taken, so the ones that demand more come first.
FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        *PREFERENCE_FORMATS,
        KTO,
        MESSAGES,
        SHAREGPT,
        MULTIPLE_CHOICE,
        RETRIEVAL,
        ALPACA,
        *PAIRS,
        *SPAN_FORMATS,
        EXTRACTION,
        INPUT_OUTPUT,
        CLASSIFICATION,
        TEXT,
    )
}

_ROWS_LOOKED_AT = 200
_NOT_FOR_SFT: dict[Kind, str] = {
    "text": "a plain document, without a question and an answer; train on it with objective cpt",
    "preference": "a preference, a chosen and a rejected answer, which supervised training cannot learn from; "
    "keep the chosen answers: luthier data convert FILE OUT --to messages --lossy",
    "feedback": "an answer with a label good or bad, which supervised training would learn either way; "
    "keep the rows with label true, and convert them: luthier data convert FILE OUT --to messages --lossy",
}


@dataclass(frozen=True)
class FileFormat:
    """What a file's rows were recognised as, and from what.

    name: a name in FORMATS, None where no row looked like any. evidence: in words, for the report.
    fields: the file's own names -> the format's names (`--fields`), applied to each row before it is read.
    chosen: was the format named by the user? Then every row is read by it.
    """

    name: str | None
    evidence: str
    fields: Mapping[str, str] = field(default_factory=dict)
    chosen: bool = False

    def rename(self, value: dict[str, Any]) -> dict[str, Any]:
        """The row with its fields renamed. A field that has the new name already takes the old one."""
        return _renamed(value, self.fields) if self.fields else value

    def of(self, value: Mapping[str, Any]) -> str | None:
        """The format to read this row by: the file's where the row has its fields, else the one that it fits."""
        if self.name is not None and (self.chosen or FORMATS[self.name].named(value)):
            return self.name
        return recognise(value)


def _renamed(value: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    names = {old: new for old, new in fields.items() if old in value}
    swapped = {new: old for old, new in names.items() if new in value and new not in names}
    return {names.get(key, swapped.get(key, key)): one for key, one in value.items()}


def recognise(value: Mapping[str, Any]) -> str | None:
    """The name of the format of a row, or None."""
    return next((one.name for one in FORMATS.values() if one.fits(value)), None)


def known_format(name: str) -> Format:
    """The format of that name. Raises DataError that names the nearest one."""
    if name not in FORMATS:
        near = difflib.get_close_matches(name.lower(), FORMATS, n=1)
        hint = f"did you mean {near[0]!r}? Known" if near else "known"
        raise DataError(f"format {name!r} does not exist; {hint}: {', '.join(FORMATS)}")
    return FORMATS[name]


def recognise_file(
    values: Iterable[Mapping[str, Any]], *, format: str | None = None, fields: Mapping[str, str] | None = None
) -> FileFormat:
    """The format of a file, from its first 200 rows.

    Raises DataError where `format` is unknown, or no row has the fields that it needs.
    """
    fields = fields or {}
    first = [_renamed(value, fields) for value in islice(values, _ROWS_LOOKED_AT)]
    counts = Counter(recognise(value) for value in first)
    if format is not None:
        return _named_by_user(format, fields, first, counts)
    known = [name for name in FORMATS if counts[name]]
    if not known:
        return FileFormat(
            None, f"none of the first {len(first)} rows has the fields of a known format", fields
        )
    best = max(known, key=lambda name: counts[name])
    evidence = f"{FORMATS[best].evidence} in {counts[best]} of the first {len(first)} rows"
    return FileFormat(best, f"{evidence}{_others(counts, best)}", fields)


def _named_by_user(
    format: str, fields: Mapping[str, str], first: list[dict[str, Any]], counts: Counter[str | None]
) -> FileFormat:
    needs = known_format(format)
    have = sum(needs.named(value) for value in first)
    if first and not have:
        found = ", ".join(map(repr, list(first[0])[:8])) or "none"
        raise DataError(
            f"format {format}: none of the first {len(first)} rows has what it needs ({needs.evidence}); the first "
            f"has the fields {found}{_others(counts, format)}. Name another format, or rename fields: --fields new=old"
        )
    return FileFormat(
        format, f"named by you; {have} of the first {len(first)} rows have its fields", fields, True
    )


def _others(counts: Counter[str | None], best: str) -> str:
    """ "; 3 look like text, 2 like none"."""
    others = [(count, name) for name, count in counts.most_common() if name != best]
    return "".join(
        f"{'; ' if i == 0 else ', '}{count} {'look ' if i == 0 else ''}like {name or 'none'}"
        for i, (count, name) in enumerate(others)
    )


def read_example(value: Mapping[str, Any], *, where: str, format: str | None = None) -> tuple[str, Example]:
    """(the format's name, what the row says). Raises UnknownFormat or DataError that begins with `where`."""
    name = recognise(value) if format is None else format
    if name is None or not FORMATS[name].named(value):
        if name is None:
            expected = f"expected one of: those of a known format ({', '.join(FORMATS)})"
        else:
            expected = f"the format {name} needs: {FORMATS[name].evidence}"
        found = ", ".join(f"{key!r:.40}" for key in list(value)[:12]) or "none"
        raise UnknownFormat(f"{where}: this row's fields are {found}; {expected}")
    try:
        return name, FORMATS[name].read(value)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def to_conversation(value: Mapping[str, Any], *, where: str, format: str | None = None) -> Conversation:
    """The conversation that supervised training learns from a row. Raises DataError that begins with `where`.

    Documents, preferences and labelled answers teach something else, and pictures are not seen: they are refused.
    """
    name, example = read_example(value, where=where, format=format)
    if example.kind in _NOT_FOR_SFT:
        raise DataError(f"{where}: this row ({name}) is {_NOT_FOR_SFT[example.kind]}")
    if example.images:
        raise DataError(
            f"{where}: this row shows {len(example.images)} images, which are not trained on; remove it"
        )
    return example.conversation
