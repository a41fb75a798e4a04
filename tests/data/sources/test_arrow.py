"""Parquet and Arrow: values as JSON holds them, damage told, bytes refused."""

import datetime
import decimal
import gzip
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from luthier.data.rows import UnreadableRow
from luthier.data.sources import find_files, read_at, read_every_row, size_bytes
from luthier.errors import DataError
from tests.data.sources.files import read, values

_ROWS = [
    {"messages": [{"role": "user", "content": "hi ä"}], "score": 0.5, "n": n, "tags": None}
    for n in range(1200)
]


def _write(path: Path, table: Any) -> Path:
    if path.name.startswith("stream") or path.name.startswith("file"):
        new = pa.ipc.new_stream if path.name.startswith("stream") else pa.ipc.new_file
        with path.open("wb") as sink, new(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=max(700, len(table) // 2))
    else:
        pq.write_table(table, path, row_group_size=max(500, len(table) // 2))
    return path


@pytest.mark.parametrize(
    "name", ["a.parquet", "file.arrow", "stream.arrow", "b.json", "file", "file.parquet"]
)
def test_rows_and_their_numbers(name: str, tmp_path: Path) -> None:
    path = _write(tmp_path / name, pa.Table.from_pylist(_ROWS))
    rows = read(path)
    assert values(rows) == _ROWS
    assert [row.number for row in rows] == list(range(1, 1201)) and {row.unit for row in rows} == {"row"}
    (file,) = find_files(path)
    told: list[int] = []
    list(read_every_row(file, on_bytes=told.append))
    assert sum(told) == size_bytes(file)
    assert values([read_at(file, {900})[900]]) == [_ROWS[899]]


def test_packed_parquet(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", pa.Table.from_pylist(_ROWS))
    packed = tmp_path / "a.parquet.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert values(read(packed)) == _ROWS


def test_typed_values_become_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "day": [datetime.date(2026, 1, 2)] * 2,
            "time": [datetime.datetime(2026, 1, 2, 3, 4)] * 2,
            "price": [decimal.Decimal("1.50")] * 2,
            "score": [math.nan, math.inf],
            "map": pa.array([[("k", 1)]] * 2, pa.map_(pa.string(), pa.int64())),
            "word": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    rows = read(_write(tmp_path / "a.parquet", table))
    first = {"day": "2026-01-02", "time": "2026-01-02T03:04:00", "price": "1.50", "score": None}
    assert values(rows) == [{**first, "map": {"k": 1}, "word": "a"}, "broken_table"]
    assert "'score' holds infinity" in rows[1].problem  # type: ignore[union-attr]


def test_bytes_and_doubled_columns_are_refused(tmp_path: Path) -> None:
    pictures = pa.table({"image": pa.array([{"bytes": b"x", "path": "a"}]), "text": ["a"]})
    with pytest.raises(DataError, match="column 'image' holds bytes"):
        read(_write(tmp_path / "a.parquet", pictures))
    doubled = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataError, match="'a' stands twice"):
        read(_write(tmp_path / "file.arrow", doubled))


def test_a_text_that_is_not_utf8_costs_only_its_row(tmp_path: Path) -> None:
    texts = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffb")]
    )
    rows = read(_write(tmp_path / "file.arrow", pa.table({"text": texts})))
    assert values(rows) == [{"text": "a"}, "not_utf8", {"text": "b"}]
    assert isinstance(rows[1], UnreadableRow) and "file.arrow, row 2" in rows[1].problem


@pytest.mark.parametrize("name", ["a.parquet", "file.arrow", "stream.arrow"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_cut_files_are_refused(name: str, share: float, tmp_path: Path) -> None:
    path = _write(tmp_path / name, pa.Table.from_pylist(_ROWS))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=rf"{name}: .*damaged or cut short"):
        read(path)


@pytest.mark.parametrize("name", ["a.parquet", "file.arrow", "stream.arrow"])
def test_more_rows_than_bytes_are_refused(name: str, tmp_path: Path) -> None:
    table = pa.table({"empty": pa.nulls(3_000_000)})
    with pytest.raises(DataError, match=r"holds [13],[05]00,000 rows, more than it has bytes"):
        read(_write(tmp_path / name, table))
