"""Reading needs the memory of the longest row, not of the file."""

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from luthier.data.sources import find_files, read_every_row

_ROWS = [{"prompt": f"question {n}", "completion": "x" * 1000} for n in range(12_000)]  # about 12 MB
_LINES = b"".join(json.dumps(row).encode() + b"\n" for row in _ROWS)
_CSV = b"prompt,completion\n" + b"".join(f"{r['prompt']},{r['completion']}\n".encode() for r in _ROWS)


def _parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(_ROWS), path, row_group_size=1000)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", lambda path: path.write_bytes(_LINES)),
        ("a.jsonl.gz", lambda path: path.write_bytes(gzip.compress(_LINES, 1))),
        ("a.json", lambda path: path.write_text(json.dumps(_ROWS))),
        ("b.json", lambda path: path.write_text(json.dumps({"data": _ROWS}, indent=1))),
        ("a.csv", lambda path: path.write_bytes(_CSV)),
        ("a.parquet", _parquet),
    ],
)
def test_a_large_file_in_little_memory(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    (file,) = find_files(path)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_every_row(file)) == len(_ROWS)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()
