"""Read rows from JSONL files, plain or compressed, one at a time.

Every row keeps its line number, so that whatever is wrong with it later can be said with its place.
Memory is bounded by the longest line. This file knows nothing of what a row means.
"""

import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from luthier.errors import DataError


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its 1-based line number and its JSON object."""

    path: Path
    number: int
    value: dict[str, Any]

    @property
    def where(self) -> str:
        """`file:line`, as editors understand it."""
        return f"{self.path}:{self.number}"


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a `.jsonl` file (also `.jsonl.gz`, `.jsonl.zst`); blank lines are skipped.

    Raises DataError: no such file, not UTF-8 (byte offset), broken JSON (line and column), a row that is
    not an object, a file without a single row.
    """
    found = False
    with _open(path) as file:
        offset = 0
        for number, line in enumerate(file, start=1):
            start, offset = offset, offset + len(line)
            if not line.strip():
                continue
            found = True
            yield Row(path, number, _parse(path, number, line, start))
    if not found:
        raise DataError(f"{path}: the file is empty; expected one JSON object a line")


def _open(path: Path) -> IO[bytes]:
    if path.is_dir():
        raise DataError(f"{path}: expected a file of JSON lines, got a folder; name the file inside it")
    try:
        if path.suffix == ".zst":
            reader = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True)
            return io.BufferedReader(reader)  # type: ignore[type-var]
        if path.suffix == ".gz":
            return gzip.open(path, "rb")  # type: ignore[return-value]
        return path.open("rb")
    except FileNotFoundError as error:
        raise DataError(f"no such data file: {path}") from error


def _parse(path: Path, number: int, line: bytes, line_offset: int) -> dict[str, Any]:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = line_offset + error.start
        raise DataError(f"{path}:{number}: not UTF-8 at byte {byte} of the file: {error.reason}") from error
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{number}:{error.colno}: broken JSON: {error.msg}; expected one JSON object a line"
        ) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path}:{number}: this JSON cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}:{number}: expected a JSON object, got {type(value).__name__}")
    return value
