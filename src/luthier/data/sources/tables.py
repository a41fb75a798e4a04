"""CSV and TSV: a record becomes a row of texts, named by the header or by the place of the column.

A record may run over several lines; its number is the line where it begins.
Knows nothing of what the columns mean.
"""

import csv
from collections.abc import Iterator
from dataclasses import replace

from luthier.data.rows import Defect, Row, UnreadableRow
from luthier.data.sources.lines import BOM, Line, encoding_by_mark, repaired, text_lines
from luthier.data.sources.source import HEAD_BYTES, MAX_LINE_BYTES, OnBytes, Shard, SourceFile
from luthier.data.sources.streams import read_head
from luthier.data.sources.table_shape import TableShape, quoting_of, table_shape

_MAX_RECORD_LINES = 100_000  # a cell of more lines is a quote that was forgotten


def read_table(
    file: SourceFile, shard: Shard | None = None, on_bytes: OnBytes | None = None
) -> Iterator[Row | UnreadableRow]:
    """Every record, and every one that is broken or has another number of cells than there are columns."""
    head = read_head(file)
    shape = table_shape(head_text(head, file.repair_encoding), file.kind)
    columns, place = shape.columns, file.place
    skip_header = shape.header
    for record in _records(text_lines(file, on_bytes), shape):
        if record.defect is not None:
            yield UnreadableRow(
                place, record.number, record.defect, f"{place}:{record.number}: {record.reason}"
            )
        elif skip_header:
            skip_header = False
        elif len(record.cells) == len(columns):
            yield Row(place, record.number, dict(zip(columns, record.cells, strict=True)))
        else:
            problem = (
                f"{place}:{record.number}: expected {len(columns)} cells ({', '.join(columns)[:120]}), got "
                f"{len(record.cells)}; put quotes around a cell that holds a separator"
            )
            yield UnreadableRow(place, record.number, "broken_table", problem)


def head_text(head: bytes, repair: bool) -> str:
    """The first part of a text file up to its last whole line, for looking at."""
    encoding = encoding_by_mark(head)
    if encoding is not None:
        text = head.decode(encoding, errors="replace")
    else:
        head = head.removeprefix(BOM)
        text = repaired(head) if repair else head.decode(errors="replace")
    if len(head) >= HEAD_BYTES - len(BOM):
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    return text


class _Record:
    """One record with the line where it begins; with a defect, the reason."""

    def __init__(self, number: int, cells: list[str], defect: Defect | None = None, reason: str = "") -> None:
        self.number, self.cells, self.defect, self.reason = number, cells, defect, reason


def _records(lines: Iterator[Line], shape: TableShape) -> Iterator[_Record]:
    csv.field_size_limit(MAX_LINE_BYTES)
    feed = _Feed(lines)
    reader = csv.reader(feed, delimiter=shape.delimiter, quoting=quoting_of(shape.quoted), strict=True)
    while True:
        feed.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _NeverCloses:
            reason = f'broken table: a cell opens with " and does not close in {_span(feed)}; what follows was not read'
            yield _Record(feed.first, [], "broken_table", reason)
            return  # nothing says where the next record begins
        except csv.Error as error:
            reason = f"broken table: {_said(error, feed)}"
            yield _Record(feed.first, [], "broken_table", reason)
            continue
        if feed.bad is not None:
            yield _Record(feed.bad.number, [], feed.bad.defect, feed.bad.reason)
        elif cells:
            yield _Record(feed.first, cells)


def _said(error: csv.Error, feed: "_Feed") -> str:
    text = str(error)
    if "unexpected end of data" in text or "field larger" in text:
        return f'a cell opens with " and never closes; {_span(feed)} were read as one cell'
    if "expected after" in text:
        return "a quoted cell goes on after its closing quote; write a quote inside a cell twice"
    return text.partition(" - ")[0]


def _span(feed: "_Feed") -> str:
    return f"lines {feed.first} to {feed.last}"


class _NeverCloses(Exception):
    """The record has more lines, or more bytes, than one can have."""


class _Feed:
    """Gives the csv module its lines, and remembers which of them went into the present record."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self.begin()

    def begin(self) -> None:
        """A new record begins with the next line."""
        self.first = self.last = self._size = 0
        self.bad: Line | None = None

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.first = self.first or line.number
        self.last = line.number
        self._size += len(line.text)
        if line.defect is not None:
            self.bad = self.bad or line
        if self._size > MAX_LINE_BYTES or line.number - self.first > _MAX_RECORD_LINES:
            raise _NeverCloses
        return line.text


def describe_table(file: SourceFile, head: bytes) -> SourceFile:
    """The file with the shape of its table told in `how`."""
    shape = table_shape(head_text(head, file.repair_encoding), file.kind)
    return replace(file, how=f"{file.how}: {shape.how}")
