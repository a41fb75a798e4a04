"""The formats in which people keep examples: each is recognised by its fields, read into an `Example`, and written.

`FORMATS` is the table. A file's format is recognised from its first rows; a row that does not fit it is recognised
alone. This room knows nothing of files, tokens or templates.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from luthier.chat.messages import Conversation
from luthier.data.example import Example
from luthier.data.formats.chat import CHAT_FORMATS
from luthier.data.formats.format import Format, UnknownFormat
from luthier.errors import DataError

__all__ = [
    "FORMATS",
    "FileFormat",
    "Format",
    "UnknownFormat",
    "read_example",
    "recognise",
    "recognise_file",
    "to_conversation",
]

# The first format that fits a row is taken, so the ones that demand more come first.
FORMATS: dict[str, Format] = {one.name: one for one in (*CHAT_FORMATS,)}

_ROWS_LOOKED_AT = 200


@dataclass(frozen=True)
class FileFormat:
    """What a file's rows were recognised as, and from what.

    name: a name in FORMATS, None where no row looked like any. evidence: in words, for the report.
    fields: the file's own names -> the format's names (`--fields`), applied to each row before it is read.
    """

    name: str | None
    evidence: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def rename(self, value: dict[str, Any]) -> dict[str, Any]:
        """The row with its fields renamed."""
        return {self.fields.get(key, key): one for key, one in value.items()} if self.fields else value

    def of(self, value: Mapping[str, Any]) -> str | None:
        """The format to read this row by: the file's where the row fits it, else the one that it fits."""
        if self.name is not None and FORMATS[self.name].fits(value):
            return self.name
        return recognise(value)


def recognise(value: Mapping[str, Any]) -> str | None:
    """The name of the format of a row, or None."""
    return next((one.name for one in FORMATS.values() if one.fits(value)), None)


def recognise_file(
    values: Iterable[Mapping[str, Any]], *, format: str | None = None, fields: Mapping[str, str] | None = None
) -> FileFormat:
    """The format of a file, from its first 200 rows. Raises DataError where `format` is unknown."""
    fields = fields or {}
    if format is not None:
        if format not in FORMATS:
            raise DataError(f"format {format!r} does not exist; known: {', '.join(FORMATS)}")
        return FileFormat(format, "named with --format", fields)
    counts: dict[str, int] = {}
    looked = 0
    for value in islice(values, _ROWS_LOOKED_AT):
        looked += 1
        renamed = {fields.get(key, key): one for key, one in value.items()}
        name = recognise(renamed)
        if name is not None:
            counts[name] = counts.get(name, 0) + 1
    if not counts:
        return FileFormat(None, f"none of the first {looked} rows has the fields of a known format", fields)
    best = max(counts, key=lambda name: counts[name])
    return FileFormat(best, f"{FORMATS[best].evidence} in {counts[best]} of the first {looked} rows", fields)


def read_example(
    value: Mapping[str, Any], *, where: str, format: str | None = None
) -> tuple[str, Example]:
    """(the format's name, what the row says). Raises UnknownFormat or DataError that begins with `where`."""
    name = recognise(value) if format is None else format
    if name is None:
        known = "; ".join(one.evidence for one in FORMATS.values())
        raise UnknownFormat(
            f"{where}: this row's fields are {', '.join(map(repr, value)) or 'none'}; "
            f"expected one of: {known}"
        )
    try:
        return name, FORMATS[name].read(value)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def to_conversation(value: Mapping[str, Any], *, where: str, format: str | None = None) -> Conversation:
    """The conversation in a row. Raises DataError that begins with `where`."""
    return read_example(value, where=where, format=format)[1].conversation
