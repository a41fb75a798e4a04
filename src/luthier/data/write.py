"""Write rows to a file, one at a time, in the container that the name's ending says.

Lines are written as they come. A table needs to know its columns before its first row, so its rows wait in a file
beside and are written at the end (`write_table`). Either way the file appears whole or not at all, and the memory
does not grow with it. Knows nothing of what a row means.
"""

import contextlib
import gzip
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

import zstandard

from luthier.data.write_table import write_arrow, write_csv, write_parquet, write_tsv
from luthier.errors import DataError
from luthier.files import atomic_file

WriteRow = Callable[[Mapping[str, Any]], None]
_Sink = Callable[[IO[bytes], "Names"], "contextlib.AbstractContextManager[WriteRow]"]
_COMPRESSIONS = (".gz", ".zst")
PAIRS = (("prompt", "completion"), ("prompt", "response"), ("question", "answer"), ("instruction", "output"))


class Names(Protocol):
    """What a container needs to know of the file it fills: its name, for messages."""

    path: Path


class _Output:
    def __init__(self, path: Path) -> None:
        self.path = path


def container_of(path: Path) -> tuple[str, str | None]:
    """(container, compression) by the name's ending: ("jsonl", "gz"). Raises DataError for one that is unknown."""
    ending, compression = path.suffix.lower(), None
    if ending in _COMPRESSIONS:
        compression, ending = ending[1:], Path(path.stem).suffix.lower()
    if ending not in _CONTAINERS:
        known = ", ".join(_CONTAINERS)
        raise DataError(
            f"{path}: cannot tell from the ending {ending or 'of this name'!r} how to write rows; "
            f"expected one of: {known} (all but .parquet and .arrow also with .gz or .zst)"
        )
    if compression and ending in (".parquet", ".arrow"):
        raise DataError(f"{path}: {ending} files compress themselves; leave out .{compression}")
    return _CONTAINERS[ending][0], compression


def check_output(path: Path, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Raises DataError where `path` must not be written: an input, a folder, a known file without `force`."""
    container_of(path)
    if path.is_dir():
        raise DataError(f"{path}: this is a folder; expected the name of a file to write")
    for one in inputs:
        if one.exists() and path.exists() and os.path.samefile(one, path):
            raise DataError(f"{path}: this file is read; inputs are never written over. Choose another name")
    if path.exists() and not force:
        raise DataError(f"{path}: this file exists; choose another name, or write over it with --force")


@contextlib.contextmanager
def write_rows(path: Path, *, force: bool, inputs: Iterable[Path] = ()) -> Iterator[WriteRow]:
    """Yield a function that writes one row (an object of JSON values).

    The file takes its name when the block ends well; on any failure nothing is left and an older file stays.
    A list or an object becomes its JSON text in CSV and TSV, and in Parquet and Arrow where a column cannot hold it
    exactly; every reader of this room reads that text back. NaN and infinity, which JSON does not know, become null.

    Raises DataError: an unknown ending, a file that exists (without `force`) or is one of `inputs`, a row that the
    container cannot hold (named by its number and field).
    """
    check_output(path, force=force, inputs=inputs)
    container, compression = container_of(path)
    sink = next(one for name, one in _CONTAINERS.values() if name == container)
    with atomic_file(path) as file, _compressed(file, compression) as out, sink(out, _Output(path)) as write:
        yield write


@contextlib.contextmanager
def _compressed(file: IO[bytes], compression: str | None) -> Iterator[IO[bytes]]:
    """A file whose bytes are compressed on their way; no name and no time inside, so equal rows are equal bytes."""
    if compression is None:
        yield file
    elif compression == "gz":
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as out:
            yield out  # type: ignore[misc]
    else:
        with zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as out:
            yield out


def json_line(row: Mapping[str, Any], where: str) -> bytes:
    """A row as JSON in UTF-8, without a line end. Raises DataError naming the field that JSON cannot hold."""
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps({key: _finite(value) for key, value in row.items()}, ensure_ascii=False)
    except (TypeError, RecursionError):
        raise DataError(f"{where}: {_not_json(row)}") from None
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can say
        return json.dumps(row).encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def _not_json(row: Mapping[str, Any]) -> str:
    for key, value in row.items():
        try:
            json.dumps(value)
        except (TypeError, RecursionError) as error:
            return f"field {key!r} cannot be written as JSON: {error or 'nested too deeply'}"
    return "a field's name is not a text"


@contextlib.contextmanager
def _lines(file: IO[bytes], output: Names) -> Iterator[WriteRow]:
    number = 0

    def write(row: Mapping[str, Any]) -> None:
        nonlocal number
        number += 1
        file.write(json_line(row, f"{output.path}, row {number}") + b"\n")

    yield write


@contextlib.contextmanager
def _array(file: IO[bytes], output: Names) -> Iterator[WriteRow]:
    number = 0

    def write(row: Mapping[str, Any]) -> None:
        nonlocal number
        number += 1
        file.write(b"[\n" if number == 1 else b",\n")
        file.write(json_line(row, f"{output.path}, row {number}"))

    yield write
    file.write(b"\n]\n" if number else b"[]\n")


@contextlib.contextmanager
def _pairs(file: IO[bytes], output: Names) -> Iterator[WriteRow]:
    """Odd lines ask, even lines answer."""
    number = 0

    def write(row: Mapping[str, Any]) -> None:
        nonlocal number
        number += 1
        problems = pair_problems(row)
        if problems:
            raise DataError(f"{output.path}, row {number}: plain pairs cannot hold {', '.join(problems)}")
        asked, answered = pair_of(row)
        file.write(f"{asked}\n{answered}\n".encode("utf-8", errors="replace"))

    yield write


def pair_of(row: Mapping[str, Any]) -> tuple[Any, Any]:
    """What a row asks and answers, as plain pairs see it; (None, None) where it is no pair."""
    found = next((pair for pair in PAIRS if set(pair) <= row.keys()), None)
    return (row[found[0]], row[found[1]]) if found else (None, None)


def pair_problems(row: Mapping[str, Any]) -> list[str]:
    """What two plain lines cannot hold of a row, in words; empty where they hold it all."""
    found = next((pair for pair in PAIRS if set(pair) <= row.keys()), ())
    if not found:
        return ["rows without a question and an answer (expected the fields prompt and completion)"]
    problems = [
        f"field {key!r}" for key, value in row.items() if key not in found and value not in (None, "")
    ]
    for key in found:
        text = row[key]
        if not isinstance(text, str) or not text.strip():
            problems.append(f"a {key} that is not a text or is empty")
        elif len(text.splitlines()) > 1 or text.splitlines()[0] != text:
            problems.append("line breaks")
        elif text != text.strip():
            problems.append("spaces at the ends of a line")
        elif not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
            problems.append("half surrogate pairs")
    return list(dict.fromkeys(problems))


@contextlib.contextmanager
def _table(
    file: IO[bytes], output: Names, finish: Callable[[IO[bytes], IO[bytes], Path], None]
) -> Iterator[WriteRow]:
    """Rows wait beside as JSON lines; `finish(waiting, file, path)` makes the table of them."""
    import tempfile

    with tempfile.TemporaryFile(dir=output.path.parent) as waiting, _lines(waiting, output) as write:
        yield write
        waiting.seek(0)
        finish(waiting, file, output.path)


def _as_table(finish: Callable[[IO[bytes], IO[bytes], Path], None]) -> _Sink:
    return lambda file, output: _table(file, output, finish)


_CONTAINERS: dict[str, tuple[str, _Sink]] = {
    ".jsonl": ("jsonl", _lines),
    ".ndjson": ("jsonl", _lines),
    ".json": ("json", _array),
    ".csv": ("csv", _as_table(write_csv)),
    ".tsv": ("tsv", _as_table(write_tsv)),
    ".parquet": ("parquet", _as_table(write_parquet)),
    ".arrow": ("arrow", _as_table(write_arrow)),
    ".txt": ("pairs", _pairs),
}
