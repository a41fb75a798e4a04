"""Files in, rows out, one at a time, whatever the kind of file.

Every row keeps its number, so that whatever is wrong with it later can be said with its place.
This room knows nothing of what a row means.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources.arrow import read_arrow
from luthier.data.sources.conll import read_conll
from luthier.data.sources.find import find_all, find_files
from luthier.data.sources.hub import read_hub
from luthier.data.sources.json_values import read_json_values
from luthier.data.sources.jsonl import read_jsonl, read_jsonl_at
from luthier.data.sources.kinds import KINDS
from luthier.data.sources.lines import cut_lines
from luthier.data.sources.pairs import read_pairs
from luthier.data.sources.source import OnBytes, OtherEncoding, Shard, SourceFile
from luthier.data.sources.streams import raw_size
from luthier.data.sources.tables import read_table
from luthier.errors import DataError

__all__ = [
    "KINDS",
    "OnBytes",
    "Row",
    "Shard",
    "SourceFile",
    "UnreadableRow",
    "find_all",
    "find_files",
    "head_values",
    "read_at",
    "read_every_row",
    "read_rows",
    "shards",
    "size_bytes",
    "total_size_bytes",
]

_Reader = Callable[[SourceFile, Shard | None, OnBytes | None], Iterator[Row | UnreadableRow]]
_READERS: dict[str, _Reader] = {
    "jsonl": read_jsonl,
    "json": read_json_values,
    "csv": read_table,
    "tsv": read_table,
    "parquet": read_arrow,
    "arrow": read_arrow,
    "pairs": read_pairs,
    "conll": read_conll,
    "hub": read_hub,
}


def read_rows(place: str | Path, *, kind: str | None = None) -> Iterator[Row]:
    """Every row of the files that a person named (see `find_files`).

    Raises DataError at the first line that is no row, and where a file as a whole cannot be read.
    """
    for file in find_files(place, kind=kind):
        for row in read_every_row(file):
            if isinstance(row, UnreadableRow):
                raise DataError(row.problem)
            yield row


def read_every_row(
    file: SourceFile, shard: Shard | None = None, *, on_bytes: OnBytes | None = None
) -> Iterator[Row | UnreadableRow]:
    """Every row of a file (or of a piece of it), and everything in it that should be one and is not.

    `on_bytes` is told, every 256 KiB or so, how many bytes were read since the last call; all of them add up to
    `size_bytes`. Raises DataError where the file as a whole cannot be read: missing, damaged, empty.
    """
    rows = _READERS[file.kind](file, shard, on_bytes)
    try:
        first = next(rows, None)
    except OtherEncoding as error:
        problem = f"{file.place}:1: the file is {error} by the mark at its byte 0, not UTF-8; save the file as UTF-8"
        first = UnreadableRow(file.place, 1, "not_utf8", problem)
    if first is not None:
        yield first
        yield from rows
    elif shard is None:
        raise DataError(f"{file.place}: the file is empty; expected at least one row")


def head_values(file: SourceFile) -> Iterator[dict[str, Any]]:
    """The fields of a file's rows, to recognise it by; what cannot be read is told by whoever reads it as a whole."""
    try:
        for row in read_every_row(file):
            if isinstance(row, Row):
                yield row.value
    except DataError:
        return


def read_at(file: SourceFile, numbers: Collection[int]) -> dict[int, Row | UnreadableRow]:
    """The rows with these numbers, as far as there are such. Reads up to the last; lines between are not parsed."""
    if not numbers:
        return {}
    wanted, last = frozenset(numbers), max(numbers)
    found: dict[int, Row | UnreadableRow] = {}
    rows = read_jsonl_at(file, wanted, last) if file.kind == "jsonl" else read_every_row(file)
    try:
        for row in rows:
            if row.number in wanted:
                found.setdefault(row.number, row)
            if row.number >= last:
                break
    except OtherEncoding:
        return {row.number: row for row in read_every_row(file) if row.number in wanted}
    return found


def shards(file: SourceFile, max_bytes: int) -> list[Shard] | None:
    """The pieces of a file that can be read apart, in order, of about `max_bytes` each.

    None where it has to be read in one go: another kind than JSON lines, packed, no larger than one piece.
    """
    return cut_lines(file, max_bytes) if file.kind == "jsonl" else None


def total_size_bytes(files: Iterable[SourceFile]) -> int | None:
    """The size of several files, for a progress bar; None where one is not known."""
    sizes = [size_bytes(file) for file in files]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def size_bytes(file: SourceFile) -> int | None:
    """The size of the file as it lies on the disk; None where it is not known (a set of the hub)."""
    return None if file.kind == "hub" else raw_size(file.place)
