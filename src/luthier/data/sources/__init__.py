"""Read rows from files, one at a time.

Every row keeps its number, so that whatever is wrong with it later can be said with its place.
This room knows nothing of what a row means.
"""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import zstandard

from luthier.data.rows import Row, UnreadableRow
from luthier.errors import DataError

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class SourceFile:
    """One file of rows: its place as the user would name it, how it is read, and why so.

    kind: jsonl, json, csv, tsv, parquet, arrow, pairs, ...; compression: gz, zst or None.
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


def find_files(place: str | Path, *, kind: str | None = None, repair_encoding: bool = False) -> list[SourceFile]:
    """The files that a person named: a file, a folder, a glob. Raises DataError where there is none."""
    return [SourceFile(str(place), repair_encoding=repair_encoding)]


def shards(file: SourceFile, max_bytes: int) -> list[Shard] | None:
    """The pieces of a file that can be read apart; None where it has to be read in one go."""
    return None


def read_every_row(file: SourceFile, shard: Shard | None = None) -> Iterator[Row | UnreadableRow]:
    """Every row of a file (or of a piece of it), and every line that is none.

    Raises DataError where the file as a whole cannot be read: missing, damaged, empty.
    """
    return read_every_line(Path(file.place))


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a `.jsonl` file (also `.jsonl.gz`, `.jsonl.zst`); blank lines are skipped.

    Raises DataError: no such file, not UTF-8 (byte offset), broken JSON (line and column), a row that is
    not an object, a JSON array, a damaged compressed file, a file without a single row.
    """
    for row in read_every_line(path):
        if isinstance(row, UnreadableRow):
            raise DataError(row.problem)
        yield row


def read_every_line(path: Path) -> Iterator[Row | UnreadableRow]:
    """Like `read_rows`, but a line that cannot be read is yielded, not raised: a check reports them all.

    Raises DataError where the file as a whole cannot be read.
    """
    found = False
    offset = 0
    for number, line in enumerate(_lines(path), start=1):
        start, offset = offset, offset + len(line)
        if not line.strip():
            continue
        if not found and line.removeprefix(_BOM).lstrip().startswith(b"["):
            raise DataError(
                f"{path}:{number}: the file begins with '[', as a JSON array does; expected JSON lines: one "
                f"object a line. To convert it: jq -c '.[]' {path.name} > {path.stem}.jsonl"
            )
        found = True
        yield _parse(path, number, line, start)
    if not found:
        raise DataError(f"{path}: the file is empty; expected one JSON object a line")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with _open(path) as file:
            yield from file
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError, EOFError) as error:
        raise DataError(f"{path}: the compressed file is damaged or cut short: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot read the data file: {error.strerror or error}") from error


def _open(path: Path) -> IO[bytes]:
    if path.is_dir():
        raise DataError(f"{path}: expected a file of JSON lines, got a folder; name the file inside it")
    if not path.exists():
        raise DataError(f"no such data file: {path}")
    if path.suffix == ".zst":
        reader = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True)
        return io.BufferedReader(reader)
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _parse(path: Path, number: int, line: bytes, line_offset: int) -> Row | UnreadableRow:
    place = f"{path}:{number}"
    bom = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
    try:
        text = line[bom:].rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError as error:
        byte = line_offset + bom + error.start
        problem = f"{place}: not UTF-8 at byte {byte} of the file: {error.reason}; save the file as UTF-8"
        return UnreadableRow(str(path), number, "not_utf8", problem)
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        problem = f"{place}:{error.pos + 1}: broken JSON: {error.msg}; expected one JSON object a line"
        return UnreadableRow(str(path), number, "broken_json", problem)
    except (RecursionError, ValueError) as error:
        return UnreadableRow(str(path), number, "broken_json", f"{place}: this JSON cannot be read: {error}")
    if not isinstance(value, dict):
        problem = f"{place}: expected a JSON object, got {type(value).__name__}"
        return UnreadableRow(str(path), number, "not_an_object", problem)
    return Row(str(path), number, value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value; write null or leave the field out")
