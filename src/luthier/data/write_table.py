"""Tables of rows that wait as JSON lines: CSV, TSV, Parquet and Arrow.

Two passes: the first learns the columns, the second writes them, a batch at a time. Knows nothing of what a row
means, but for one thing: in the turns of a conversation a missing field and a null one say the same.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from luthier.errors import DataError

_BATCH_BYTES = 16 * 2**20
_BATCH_ROWS = 10_000
_EXACT_IN_A_FLOAT = 2**53
_MAX_COLUMNS = 10_000
# An object with more fields than this is a table of its own (words -> counts): it stands as its JSON text.
_MAX_FIELDS = 200
_PART_FIELDS = frozenset({"type", "text", "value", "image", "image_url", "url", "path"})


def write_csv(waiting: IO[bytes], file: IO[bytes], path: Path) -> None:
    """CSV as RFC 4180 has it: a header, quotes where needed, CRLF."""
    _write_delimited(waiting, file, path, ",")


def write_tsv(waiting: IO[bytes], file: IO[bytes], path: Path) -> None:
    """The same with tabs."""
    _write_delimited(waiting, file, path, "\t")


def _write_delimited(waiting: IO[bytes], file: IO[bytes], path: Path, delimiter: str) -> None:
    columns = _names(waiting, path)
    waiting.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    # RFC 4180's line end: with it, a lone carriage return inside a field is quoted too.
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
    if columns:
        writer.writerow(columns)
    for number, line in enumerate(waiting, start=1):
        row = json.loads(line)
        try:
            writer.writerow([_cell(row.get(key)) for key in columns])
        except UnicodeEncodeError as error:
            raise DataError(f"{path}, row {number}: {_half_pair(row)}") from error
    text.flush()
    text.detach()


def _names(waiting: IO[bytes], path: Path) -> list[str]:
    names: dict[str, None] = {}
    for line in waiting:
        names.update(dict.fromkeys(json.loads(line)))
        if len(names) > _MAX_COLUMNS:
            raise DataError(
                f"{path}: the rows have over {_MAX_COLUMNS} different fields; write .jsonl instead"
            )
    return list(names)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _half_pair(row: Mapping[str, Any]) -> str:
    """Which field holds half a surrogate pair, which UTF-8 cannot write."""
    for key, value in row.items():
        try:
            _cell(value).encode("utf-8")
        except UnicodeEncodeError:
            return f"field {key!r} holds half a surrogate pair, which UTF-8 cannot write; remove it, or write .jsonl"
    return "a field's name holds half a surrogate pair"


@dataclass
class _Seen:
    """The kinds of value that a column (or a field inside it) has held so far.

    kinds: of null, bool, int, float, text, list, object, huge (an integer beyond 64 bits).
    items: what the lists hold. fields: what the objects hold. objects: how many objects there were.
    """

    kinds: set[str] = field(default_factory=set)
    items: "_Seen | None" = None
    fields: "dict[str, _Counted]" = field(default_factory=dict)
    objects: int = 0
    inexact: bool = False

    def see(self, value: Any) -> None:
        kind = _kind(value)
        self.kinds.add(kind)
        if kind == "int" and abs(value) > _EXACT_IN_A_FLOAT:
            self.inexact = True
        if kind == "list":
            self.items = self.items or _Seen()
            for one in value:
                self.items.see(one)
        elif kind == "object":
            self.objects += 1
            self._see_fields(value)

    def _see_fields(self, value: Mapping[str, Any]) -> None:
        for key, one in value.items():
            if len(self.fields) > _MAX_FIELDS:
                return
            seen, count = self.fields.get(key) or _Counted(_Seen(), 0)
            seen.see(one)
            self.fields[key] = _Counted(seen, count + 1)

    def says(self, key: str) -> bool:
        """Is this field there, and a text wherever it is?"""
        return key in self.fields and self.fields[key].seen.kinds <= {"text", "null"}

    @property
    def fields_may_be_absent(self) -> bool:
        """Is this a turn, a call of a tool or a part of a content? There a null field says what a missing one does."""
        call = self.fields["function"].seen if "function" in self.fields else self
        return (
            self.says("role")
            or self.says("from")
            or (call.says("name") and "arguments" in call.fields)
            or (self.says("type") and self.fields.keys() <= _PART_FIELDS)
        )


class _Counted(NamedTuple):
    seen: _Seen
    times: int


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "huge"
    return {float: "float", str: "text", list: "list", dict: "object"}[type(value)]


def _arrow_type(seen: _Seen) -> Any:
    """The Arrow type that holds the values exactly; None where only their JSON text does."""
    import pyarrow as pa

    kinds = seen.kinds - {"null"}
    if not kinds:
        return pa.null()
    if kinds == {"int", "float"} and not seen.inexact:
        return pa.float64()
    if len(kinds) > 1:
        return None
    (kind,) = kinds
    scalars = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    if kind in scalars:
        return scalars[kind]
    if kind == "list" and seen.items is not None:
        inner = _arrow_type(seen.items)
        return None if inner is None else pa.list_(inner)
    return _struct(seen) if kind == "object" else None


def _struct(seen: _Seen) -> Any:
    """A struct, where every object has the same fields, or is a turn: a struct fills the others with nulls."""
    import pyarrow as pa

    if not 0 < len(seen.fields) <= _MAX_FIELDS:
        return None
    if not seen.fields_may_be_absent and any(one.times < seen.objects for one in seen.fields.values()):
        return None
    types = {key: _arrow_type(one.seen) for key, one in seen.fields.items()}
    if (
        "arguments" in types
        and types["arguments"] is None
        and "text" not in seen.fields["arguments"].seen.kinds
    ):
        types["arguments"] = pa.string()  # as OpenAI has them; every reader takes them so
    return None if None in types.values() else pa.struct(list(types.items()))


def _columns(waiting: IO[bytes], path: Path) -> dict[str, Any]:
    columns: dict[str, _Seen] = {}
    for line in waiting:
        for key, value in json.loads(line).items():
            columns.setdefault(key, _Seen()).see(value)
        if len(columns) > _MAX_COLUMNS:
            raise DataError(
                f"{path}: the rows have over {_MAX_COLUMNS} different fields; write .jsonl instead"
            )
    types = {}
    for key, seen in columns.items():
        found = _arrow_type(seen)
        if found is None and "text" in seen.kinds:
            others = ", ".join(sorted(seen.kinds - {"text", "null"}))
            raise DataError(
                f"{path}: field {key!r} holds texts in some rows and other values ({others}) in others; a column of "
                f"this container holds one kind. Write .jsonl, or make the field one kind first"
            )
        types[key] = found
    return types


def _batches(waiting: IO[bytes], path: Path, types: Mapping[str, Any]) -> Iterator[Any]:
    import pyarrow as pa

    schema = pa.schema([(key, pa.string() if kind is None else kind) for key, kind in types.items()])
    rows: list[dict[str, Any]] = []
    size = 0

    def batch() -> Any:
        arrays = [
            pa.array([_fit(row.get(name), types[name]) for row in rows], type=schema.field(name).type)
            for name in schema.names
        ]
        return pa.record_batch(arrays, schema=schema)

    for number, line in enumerate(waiting, start=1):
        row = json.loads(line)
        if b"\\ud" in line.lower():
            try:
                json.dumps(row, ensure_ascii=False).encode("utf-8")
            except UnicodeEncodeError:
                raise DataError(f"{path}, row {number}: {_half_pair(row)}") from None
        rows.append(row)
        size += len(line)
        if size >= _BATCH_BYTES or len(rows) >= _BATCH_ROWS:
            yield batch()
            rows, size = [], 0
    if rows or not types:
        yield batch()


def _fit(value: Any, kind: Any) -> Any:
    """The value as its column takes it: objects and lists without an exact type as their JSON text."""
    import pyarrow as pa

    if value is None:
        return None
    if kind is None or (kind == pa.string() and not isinstance(value, str)):
        return json.dumps(value, ensure_ascii=False)
    if pa.types.is_list(kind):
        return [_fit(one, kind.value_type) for one in value]
    if pa.types.is_struct(kind):
        return {one.name: _fit(value.get(one.name), one.type) for one in kind}
    return value


def write_parquet(waiting: IO[bytes], file: IO[bytes], path: Path) -> None:
    """Parquet, compressed with zstd."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = _columns(waiting, path)
    waiting.seek(0)
    writer = None
    for batch in _batches(waiting, path, types):
        writer = writer or pq.ParquetWriter(pa.PythonFile(file, mode="w"), batch.schema, compression="zstd")
        writer.write_batch(batch)
    if writer is not None:
        writer.close()


def write_arrow(waiting: IO[bytes], file: IO[bytes], path: Path) -> None:
    """The Arrow file format (Feather 2)."""
    import pyarrow as pa

    types = _columns(waiting, path)
    waiting.seek(0)
    writer = None
    for batch in _batches(waiting, path, types):
        writer = writer or pa.ipc.new_file(pa.PythonFile(file, mode="w"), batch.schema)
        writer.write_batch(batch)
    if writer is not None:
        writer.close()
