"""Sort more records than fit into memory: sorted runs on disk, merged when they are read.

At most about `max_bytes` of records are in memory at a time. Knows nothing of what a record holds.
"""

import heapq
import struct
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

MAX_BYTES = 64 << 20
_MAX_RUNS = 64  # files that are merged, and so open, at a time
_RECORD_OVERHEAD_BYTES = 200  # what Python needs for a record beside its bytes
_HEADER = struct.Struct("<dQI")
_READ_BYTES = 1 << 18

Record = tuple[float, int, bytes]


class ExternalSort:
    """`add` records, then iterate over them once: by `key`, and by `tie` where keys are equal."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES, max_runs: int = _MAX_RUNS) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_runs = max_runs
        self._runs: list[Path] = []
        self._records: list[Record] = []
        self._held_bytes = 0

    def add(self, key: float, tie: int, data: bytes) -> None:
        """Take one record; `tie` is at least 0 and differs between records of one key. Raises OSError: disk full."""
        self._records.append((key, tie, data))
        self._held_bytes += len(data) + _RECORD_OVERHEAD_BYTES
        if self._held_bytes >= self._max_bytes:
            self._records.sort()
            self._runs.append(self._write(self._records))
            self._records, self._held_bytes = [], 0

    def __iter__(self) -> Iterator[bytes]:
        self._records.sort()
        runs = self._runs
        while len(runs) > self._max_runs:
            merged = self._write(heapq.merge(*map(_read, runs[: self._max_runs])))
            for done in runs[: self._max_runs]:
                done.unlink()
            runs = [*runs[self._max_runs :], merged]
        for _, _, data in heapq.merge(*map(_read, runs), self._records):
            yield data

    def _write(self, records: Iterable[Record]) -> Path:
        path = self._folder / f"run-{uuid.uuid4().hex}.bin"
        with path.open("wb", buffering=_READ_BYTES) as file:
            for key, tie, data in records:
                file.write(_HEADER.pack(key, tie, len(data)))
                file.write(data)
        return path


def _read(path: Path) -> Iterator[Record]:
    with path.open("rb", buffering=_READ_BYTES) as file:
        while header := file.read(_HEADER.size):
            key, tie, size = _HEADER.unpack(header)
            yield key, tie, file.read(size)
