"""Rows as they will be written: encoding and texts repaired; why a row cannot be learnt from; the text of a broken one.

Knows nothing of other rows and of what is done about them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from luthier.data.checks.finding import RowKey, SplitName, shorten
from luthier.data.checks.row import CheckedRow, check_row
from luthier.data.inputs import Input, OnBytes
from luthier.data.repair import repair_value
from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources import SourceFile, read_every_row
from luthier.data.sources.lines import Line, text_lines

_KINDS_OF_LINES = frozenset({"jsonl", "csv", "tsv", "pairs"})


@dataclass(frozen=True, slots=True)
class RepairedRow:
    """A row as it will be written, what can be made of it, the fields as they were read, and what was repaired.

    changes: the name of each repair -> an example in words; empty where nothing was to be done.
    """

    row: Row | UnreadableRow
    checked: CheckedRow
    before: Mapping[str, Any]
    changes: Mapping[str, str]


def broken_reason(row: CheckedRow) -> str | None:
    """Why a row cannot be learnt from, in the words of REASONS; None where it can."""
    if row.defect is not None:
        return row.defect
    if row.example is None or row.shape == "item":
        return None
    if row.example.kind == "text":
        return None if (row.example.text or "").strip() else "empty_answer"
    answers = [turn for turn in row.messages if turn.role == "assistant"]
    if not answers:
        return "no_assistant_turn"
    return "empty_answer" if any(not (turn.tool_calls or turn.content.strip()) for turn in answers) else None


def read_repaired(
    one: Input, split: SplitName, *, encoding: bool, on_bytes: OnBytes | None = None
) -> Iterator[RepairedRow]:
    """Every row of a file, repaired where `encoding` asks for it."""
    rows = _with_encoding(one, on_bytes) if encoding else _as_read(one, on_bytes)
    for row, was_not_utf8 in rows:
        changes = {"not_utf8": "read as Windows-1252"} if was_not_utf8 else {}
        before = row.value if isinstance(row, Row) else {}
        if encoding and isinstance(row, Row):
            done: set[str] = set()
            value = repair_value(before, done)
            if done:
                changes |= dict.fromkeys(sorted(done), shorten(_first_difference(before, value), 100))
                row = replace(row, value=value)
        yield RepairedRow(
            row, check_row(row, RowKey(one.index, row.number), split, one.format), before, changes
        )


def _as_read(one: Input, on_bytes: OnBytes | None) -> Iterator[tuple[Row | UnreadableRow, bool]]:
    return ((row, False) for row in read_every_row(one.source, None, on_bytes=on_bytes))


def _with_encoding(one: Input, on_bytes: OnBytes | None) -> Iterator[tuple[Row | UnreadableRow, bool]]:
    """Rows, and whether they were not UTF-8. Lines that are not are taken from a second, repairing reader.

    It is opened at the first such line and kept in step, so a file without one is read once. A file that is UTF-16
    as a whole ends at its first line for the first reader; the second one reads on.
    """
    second: Iterator[Row | UnreadableRow] | None = None
    last = 0
    for row in read_every_row(one.source, None, on_bytes=on_bytes):
        last = row.number
        if not (isinstance(row, UnreadableRow) and row.defect == "not_utf8"):
            yield row, False
            continue
        if second is None:
            second = read_every_row(replace(one.source, repair_encoding=True), None)
        repaired = next((other for other in second if other.number >= row.number), None)
        if repaired is not None:
            last = repaired.number
            yield repaired, True
    for repaired in second or ():
        if repaired.number > last:
            yield repaired, True


def _first_difference(before: Any, after: Any) -> str:
    """The first text that was changed: before -> after."""
    if isinstance(before, str):
        start = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(after))
        start = max(0, start - 20)
        return f"{before[start : start + 45]} -> {after[start : start + 45]}"
    pairs: Iterable[tuple[Any, Any]] = (
        ((before[key], after[key]) for key in before)
        if isinstance(before, Mapping)
        else zip(before, after, strict=True)
    )
    return next((_first_difference(a, b) for a, b in pairs if a is not b), "")


class RawLines:
    """The text of single lines of a file, asked for in rising order; a file that is never asked for is never read."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._lines: Iterator[Line] | None = None

    def at(self, number: int) -> str | None:
        """The line as text; None where the file has no lines (Parquet, a JSON array), or it is too long to hold."""
        if self._file.kind not in _KINDS_OF_LINES:
            return None
        if self._lines is None:
            self._lines = text_lines(replace(self._file, repair_encoding=True))
        found = next((line for line in self._lines if line.number >= number), None)
        return None if found is None or found.defect is not None else found.text.rstrip("\r\n")
