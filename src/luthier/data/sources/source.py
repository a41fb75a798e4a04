"""What a file of rows is called, how it is read, and the limits that keep reading it safe.

Knows nothing of how any kind of file is read.
"""

from collections.abc import Callable
from dataclasses import dataclass

OnBytes = Callable[[int], None]
"""Told how many bytes of the file, as it lies on the disk, were read since the last call."""

BLOCK_BYTES = 1 << 18  # what is read at once: 256 KiB stay in the cache; larger blocks were slower
HEAD_BYTES = 1 << 18  # what is looked at to tell what a file is
MAX_LINE_BYTES = 64 << 20  # a line over this is refused unread: no text for a small model is so long
MAX_DEPTH = 100  # nesting of a value: no real row comes near it, and what reads rows later may recurse
MAX_UNPACKED_BYTES = 256 << 20  # a packed file may always unpack to this much, whatever its ratio
MAX_RATIO = 1000  # beyond that it may not be a bomb: text packs 3 to 100 times, gzip cannot pass 1032

TABLE_KINDS = frozenset({"csv", "tsv"})
BINARY_KINDS = frozenset({"parquet", "arrow"})


@dataclass(frozen=True)
class SourceFile:
    """One file of rows: its place as the user would name it, how it is read, and why so.

    kind: jsonl, json, csv, tsv, parquet, arrow, pairs, conll or hub; compression: gz, zst or None.
    how: from what the kind was told, in words.
    repair_encoding: bytes that are not UTF-8 are read as Windows-1252, and UTF-16 by its mark.
    """

    place: str
    kind: str = "jsonl"
    compression: str | None = None
    how: str = "by its ending"
    repair_encoding: bool = False


@dataclass(frozen=True)
class Shard:
    """A piece of a file of lines: bytes `start` to `end`, whose first line has the number `first_number`."""

    start: int
    end: int
    first_number: int


class OtherEncoding(Exception):
    """The file says by its first bytes that it is not UTF-8. For readers only: it becomes an UnreadableRow."""
