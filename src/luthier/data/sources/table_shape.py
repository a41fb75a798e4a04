"""What a table is: what stands between its cells, whether they are quoted, and what its columns are called.

All of it is told from the first part of the file. Knows nothing of reading the rest.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Literal

from luthier.data.sources.source import MAX_LINE_BYTES

_DELIMITERS = (",", ";", "\t", "|")
_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SAMPLE_ROWS = 1000
_ALIKE = 0.9  # share of records of one width from which on a character separates columns
_MAX_NAME_CHARACTERS = 40
_MAX_NAME_WORDS = 3
_NAME = re.compile(r"[^\W\d][\w .\-/()#:&]*", re.UNICODE)
_USUAL_NAMES = frozenset(
    {
        "text",
        "label",
        "prompt",
        "completion",
        "response",
        "question",
        "answer",
        "instruction",
        "input",
        "output",
    }
    | {
        "system",
        "context",
        "chosen",
        "rejected",
        "category",
        "class",
        "intent",
        "sentence",
        "message",
        "id",
        "tag",
    }
    | {"source", "target", "query", "tokens", "tags"}
)
_FEW_LABELS = 0.34  # a column is of labels where its distinct values are under this share of the rows


@dataclass(frozen=True)
class TableShape:
    """delimiter: one character. quoted: whether `"` holds cells together. columns: their names.

    header: whether the first record gives the names. how: all of it in words.
    """

    delimiter: str
    quoted: bool
    columns: tuple[str, ...]
    header: bool
    how: str


def table_shape(head: str, kind: str) -> TableShape:
    """The shape of a table of `kind` csv or tsv that begins with `head`."""
    delimiter = _delimiter(head, "\t" if kind == "tsv" else ",")
    quoted = _is_quoted(head, delimiter)
    records = sample(head, delimiter, quoted)
    header = bool(records) and has_header(records)
    names = records[0] if header else _invented(records)
    columns = tuple(_distinct(name.strip() or f"column{n}" for n, name in enumerate(names, start=1)))
    said = f"columns between {_WORDS[delimiter]}"
    said += (
        f", header {', '.join(columns)}"
        if header
        else f", no header, so columns are called {', '.join(columns)}"
    )
    return TableShape(delimiter, quoted, columns, header, said)


def sample(head: str, delimiter: str, quoted: bool) -> list[list[str]]:
    """The first records that are whole and not blank, as far as they can be read."""
    return [
        record for record in islice(_records(head, delimiter, quoted), _SAMPLE_ROWS) if record is not None
    ]


def common_width(records: Sequence[Sequence[str]]) -> tuple[int, float]:
    """(the number of cells that most records have, the share of records that have it); (0, 0) without records."""
    if not records:
        return 0, 0.0
    width, count = Counter(len(record) for record in records).most_common(1)[0]
    return width, count / len(records)


def has_header(records: Sequence[Sequence[str]]) -> bool:
    """Whether the first record names the columns: its cells look like names and differ in kind from the rest."""
    first, rest = records[0], [r for r in records[1:] if len(r) == len(records[0])]
    names = [cell.strip() for cell in first]
    if not any(names) or not all(not name or _is_name(name) for name in names):
        return False
    if any(name.lower() in _USUAL_NAMES for name in names):
        return not any(name and name in {row[i] for row in rest} for i, name in enumerate(names))
    columns = [[row[i] for row in rest] for i in range(len(names))]
    pairs = [(name, cells) for name, cells in zip(names, columns, strict=True) if cells and name]
    if any(name in cells for name, cells in pairs):
        return False
    return any(_other_kind(name, cells) for name, cells in pairs)


def _other_kind(name: str, cells: Sequence[str]) -> bool:
    """Whether a name is none of the values below it: those are numbers, far longer, or few and repeated."""
    filled = [cell for cell in cells if cell.strip()]
    if not filled:
        return False
    numbers = sum(_is_number(cell) for cell in filled) > _ALIKE * len(filled)
    longer = median(len(cell) for cell in filled) > max(3 * len(name), 20)
    repeated = len(filled) >= 10 and len(set(filled)) <= len(filled) / 5
    return numbers or longer or repeated


def _is_name(cell: str) -> bool:
    short = len(cell) <= _MAX_NAME_CHARACTERS and len(cell.split()) <= _MAX_NAME_WORDS
    return short and _NAME.fullmatch(cell) is not None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _invented(records: Sequence[Sequence[str]]) -> list[str]:
    """Names for the columns of a table without a header."""
    width, _ = common_width(records)
    whole = [record for record in records if len(record) == width]
    if width == 2 and len(whole) >= 6:
        counts = [len({record[i] for record in whole}) for i in (0, 1)]
        label = counts.index(min(counts))
        cells = [record[label] for record in whole]
        short = all(len(cell) <= _MAX_NAME_CHARACTERS for cell in cells)
        if short and counts[label] <= _FEW_LABELS * len(whole) and counts[1 - label] > 2 * counts[label]:
            return ["label", "text"] if label == 0 else ["text", "label"]
    return [f"column{number}" for number in range(1, width + 1)]


def _delimiter(head: str, usual: str) -> str:
    """The usual one, unless it separates nothing and another does."""
    for delimiter in (usual, *(d for d in _DELIMITERS if d != usual)):
        width, share = common_width(sample(head, delimiter, _is_quoted(head, delimiter)))
        if width > 1 and share >= _ALIKE:
            return delimiter
    return usual


def _is_quoted(head: str, delimiter: str) -> bool:
    """Whether `"` at the beginning of a cell opens a quotation.

    Between tabs it often is a plain character: it is one there unless every such cell closes properly.
    """
    opened = '"' in head and re.search(rf'(?:^|{re.escape(delimiter)})"', head, re.MULTILINE) is not None
    if delimiter != "\t":
        return True
    if not opened:
        return False
    records = list(islice(_records(head, delimiter, True), _SAMPLE_ROWS))
    plain = common_width(sample(head, delimiter, False))
    read = [record for record in records if record is not None]
    return len(read) == len(records) and common_width(read)[1] >= plain[1]


def _records(head: str, delimiter: str, quoted: bool) -> Iterator[list[str] | None]:
    """Records, None for one that is broken; blank ones are passed over."""
    csv.field_size_limit(MAX_LINE_BYTES)
    newline = "\r" if "\r" in head and "\n" not in head else "\n"
    lines = [line + "\n" for line in head.split(newline)]
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting_of(quoted), strict=True)
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error:
            if reader.line_num >= len(lines):
                return  # the part that was looked at ends inside a cell
            yield None
            continue
        if record:
            yield record


def quoting_of(quoted: bool) -> Literal[0, 3]:
    """The word of the csv module."""
    return csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE


def _distinct(names: Iterator[str]) -> Iterator[str]:
    """The names; one that stood before gets a number."""
    seen: set[str] = set()
    for name in names:
        new, number = name, 2
        while new in seen:
            new, number = f"{name}_{number}", number + 1
        seen.add(new)
        yield new
