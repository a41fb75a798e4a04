"""Parquet and Arrow IPC (files and streams), a batch of rows at a time, through pyarrow.

Every batch is validated before a value is taken from it: a damaged file must not reach past its own memory.
Knows nothing of what the columns mean.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from luthier.data.rows import Row, UnreadableRow, place_of
from luthier.data.sources.plain import NotPlain, plain
from luthier.data.sources.remote import is_remote, unreachable
from luthier.data.sources.source import BLOCK_BYTES, MAX_DEPTH, MAX_LINE_BYTES, OnBytes, Shard, SourceFile
from luthier.data.sources.streams import ByteStream, open_raw, raw_size
from luthier.errors import DataError

_BATCH_ROWS = 512
_FEW_ROWS = 50_000  # beyond it, a file of more rows than bytes is refused: a damaged length, or a bomb


def read_arrow(
    file: SourceFile, shard: Shard | None = None, on_bytes: OnBytes | None = None
) -> Iterator[Row | UnreadableRow]:
    """Every row of a Parquet or an Arrow file. Raises DataError for one that is damaged or holds bytes."""
    with _seekable(file) as opened, _said(file.place):
        max_rows = max(_FEW_ROWS, opened.seek(0, 2))
        opened.seek(0)
        batches = _parquet(opened, max_rows) if file.kind == "parquet" else _ipc(opened, max_rows)
        schema = next(batches)
        _refuse_bytes(file.place, schema)
        typed = any(_needs_plain(field.type) for field in schema)
        size, told, number = raw_size(file.place), 0, 0
        for batch in batches:
            batch.validate()
            yield from _rows(file.place, batch, number, typed)
            number += batch.num_rows
            if on_bytes is not None and file.compression is None and opened.tell() > told:
                on_bytes(opened.tell() - told)
                told = opened.tell()
        if on_bytes is not None and size is not None and size > told:
            on_bytes(size - told)


def _parquet(opened: IO[bytes], max_rows: int) -> Iterator[Any]:
    """The schema, then the batches."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(opened, pre_buffer=False, buffer_size=BLOCK_BYTES)
    _refuse_rows(table.metadata.num_rows, max_rows)
    yield table.schema_arrow
    yield from table.iter_batches(batch_size=_BATCH_ROWS, use_threads=False)


def _ipc(opened: IO[bytes], max_rows: int) -> Iterator[Any]:
    """The schema, then the batches, cut to a bounded number of rows."""
    import pyarrow as pa

    magic = opened.read(6)
    opened.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(opened)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        reader = pa.ipc.open_stream(opened)
        batches = iter(reader)
    yield reader.schema
    num_rows = 0
    for batch in batches:
        batch.validate()
        num_rows += batch.num_rows
        _refuse_rows(num_rows, max_rows)
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(start, _BATCH_ROWS)


def _refuse_rows(num_rows: int, max_rows: int) -> None:
    if num_rows > max_rows:
        raise ValueError(f"it says that it holds {num_rows:,} rows, more than it has bytes")


def _rows(place: str, batch: Any, before: int, typed: bool) -> Iterator[Row | UnreadableRow]:
    import pyarrow as pa

    values: list[Any] = []
    if batch.nbytes <= MAX_LINE_BYTES:
        try:
            batch.validate(full=True)
            values = batch.to_pylist(maps_as_pydicts="strict")
        except (pa.ArrowInvalid, ValueError, KeyError):
            values = []  # some row of it is wrong: they are taken one by one
    for at in range(batch.num_rows):
        number = before + at + 1
        try:
            value = values[at] if values else _one(batch.slice(at, 1))
            yield Row(place, number, plain(value) if typed else value, "row")
        except NotPlain as error:
            problem = f"{place_of(place, number, 'row')}: {error}"
            yield UnreadableRow(place, number, "broken_table", problem, "row")
        except (UnicodeDecodeError, pa.ArrowInvalid, KeyError) as error:
            yield _unreadable(place, number, error)


def _one(batch: Any) -> Any:
    """The one row of a batch. Raises what its values raise."""
    if batch.get_total_buffer_size() and batch.nbytes > MAX_LINE_BYTES:
        raise NotPlain(f"{batch.nbytes:,} bytes; a row may have {MAX_LINE_BYTES:,}")
    batch.validate(full=True)
    return batch.to_pylist(maps_as_pydicts="strict")[0]


def _unreadable(place: str, number: int, error: Exception) -> UnreadableRow:
    where = place_of(place, number, "row")
    if isinstance(error, KeyError):
        problem = f"{where}: a map holds the key {str(error)[:60]} twice"
        return UnreadableRow(place, number, "broken_table", problem, "row")
    if "utf" in str(error).lower():
        problem = f"{where}: a text of this row is not UTF-8: {error}"
        return UnreadableRow(place, number, "not_utf8", problem, "row")
    return UnreadableRow(place, number, "broken_table", f"{where}: damaged values: {error}", "row")


def _refuse_bytes(place: str, schema: Any) -> None:
    import pyarrow as pa

    def holds_bytes(kind: Any, depth: int = 0) -> bool:
        if depth > MAX_DEPTH:
            raise DataError(f"{place}: a column nests deeper than {MAX_DEPTH} levels")
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
            return True
        if pa.types.is_fixed_size_binary(kind):
            return True
        if pa.types.is_dictionary(kind):
            return holds_bytes(kind.value_type, depth + 1)
        return any(holds_bytes(kind.field(i).type, depth + 1) for i in range(kind.num_fields))

    names = [field.name for field in schema if holds_bytes(field.type)]
    if names:
        raise DataError(
            f"{place}: the column {', '.join(map(repr, names[:5]))} holds bytes, not text; rows are made of texts, "
            "numbers, lists and objects. Write it as text, or leave it out"
        )
    if len(set(schema.names)) != len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise DataError(f"{place}: the column {twice!r} stands twice; rename one")


def _needs_plain(kind: Any) -> bool:
    """Whether values of this type may be what JSON cannot hold."""
    import pyarrow as pa

    if kind.num_fields:
        return any(_needs_plain(kind.field(i).type) for i in range(kind.num_fields))
    is_plain = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    return not (is_plain or pa.types.is_boolean(kind) or pa.types.is_null(kind))


@contextmanager
def _seekable(file: SourceFile) -> Iterator[IO[bytes]]:
    """The unpacked file, for reading anywhere; a packed one is unpacked to the disk, where it is gone afterwards."""
    if file.compression is None:
        with open_raw(file.place) as opened:
            yield opened
        return
    with tempfile.TemporaryFile() as unpacked, ByteStream(file) as stream:
        while block := stream.read(BLOCK_BYTES):
            unpacked.write(block)
        unpacked.seek(0)
        yield unpacked


@contextmanager
def _said(place: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"{place}: the file is damaged or cut short, or no table: {reason}") from error
    except Exception as error:  # a remote backend raises its own
        if is_remote(place):
            raise unreachable(place, error) from error
        raise
