"""The identities of every row, on disk: what questions across rows are answered from.

47 bytes a row in files of a scratch folder, written while rows are read. A question such as "which rows have the
same content" scatters the records by the identity into parts and takes one part at a time: rows with equal
identities always meet, and no more than about `MAX_RECORDS` of them (94 MB) are in memory, however many there are.
The same parts, one a machine, are how a cluster would do it. Knows nothing of what the identities stand for.
"""

import math
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.finding import SPLITS, RowKey, SplitName
from luthier.data.checks.row import CheckedRow
from luthier.data.example import Kind

Column = Literal["content", "prompt", "question", "answer"]
Records = NDArray[np.void]
KINDS: tuple[Kind, ...] = get_args(Kind)
_KIND_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}
_SPLIT_NUMBERS = {split: number for number, split in enumerate(SPLITS)}

RECORD = np.dtype(
    [
        ("file", "<u4"),
        ("number", "<u8"),
        ("split", "u1"),
        ("kind", "u1"),  # index in KINDS
        ("labelish", "u1"),  # an answer of a few words, as labels are
        ("content", "<u8"),
        ("prompt", "<u8"),
        ("question", "<u8"),
        ("answer", "<u8"),
    ]
)
MAX_RECORDS = 2_000_000
_BUFFERED = 16_384
_CHUNK_RECORDS = 1_000_000
_LABEL_MAX_WORDS = 3


class Ledger:
    """Append-only records of rows. `see` rows, `finish` to write the buffer, `merge` ledgers in row order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[Path] = []
        self._buffer: list[tuple[int, ...]] = []
        self.num_records = 0

    def see(self, row: CheckedRow) -> None:
        """Note a row's identities."""
        short = (
            row.answer is not None and len(row.answer.split(maxsplit=_LABEL_MAX_WORDS)) <= _LABEL_MAX_WORDS
        )
        kind = KINDS.index(row.example.kind) if row.example else 0
        ids = (row.content_id, row.prompt_id, row.question_id, row.answer_id)
        self._buffer.append((row.key.file, row.key.number, _SPLIT_NUMBERS[row.split], kind, int(short), *ids))
        self.num_records += 1
        if len(self._buffer) >= _BUFFERED:
            self.finish()

    def finish(self) -> None:
        """Write what is buffered. Raises OSError where the disk is full."""
        if not self._buffer:
            return
        if not self._files:
            self._files.append(self._folder / f"ledger-{uuid.uuid4().hex}.bin")
        with self._files[-1].open("ab") as file:
            file.write(np.array(self._buffer, dtype=RECORD).tobytes())
        self._buffer = []

    def merge(self, later: "Ledger") -> None:
        """Take over the records of rows that come later; both must have been finished."""
        self._files += later._files
        self.num_records += later.num_records

    def chunks(self, max_records: int = MAX_RECORDS) -> Iterator[Records]:
        """All records in the order of the rows, in arrays of at most `max_records`."""
        for path in self._files:
            size = path.stat().st_size // RECORD.itemsize
            for start in range(0, size, max_records):
                yield np.fromfile(
                    path, RECORD, count=min(max_records, size - start), offset=start * RECORD.itemsize
                )

    def sorted_by(
        self, column: Column, splits: Sequence[SplitName] = SPLITS, *, max_records: int | None = None
    ) -> Iterator[Records]:
        """Records of the splits that have the column, sorted by it, then by file and number.

        Equal values never stand in two arrays. Each array holds about `max_records` (more where one value is
        that common).
        """
        limit = MAX_RECORDS if max_records is None else max_records
        num_parts = max(1, math.ceil(self.num_records / limit))
        if num_parts == 1:
            kept = [_chosen(chunk, column, splits) for chunk in self.chunks(_CHUNK_RECORDS)]
            if sum(map(len, kept)):
                yield sort_records(np.concatenate(kept), column)
            return
        with tempfile.TemporaryDirectory(prefix="parts-", dir=self._folder) as folder:
            for path in self.scatter(column, num_parts, Path(folder), splits):
                if path.exists():
                    yield sort_records(np.fromfile(path, RECORD), column)

    def scatter(
        self, column: Column, num_parts: int, folder: Path, splits: Sequence[SplitName] = SPLITS
    ) -> list[Path]:
        """Write the records that have the column to one file for each remainder of its value by `num_parts`.

        One reading, one writing, however many parts: what a cluster calls a shuffle. A part without records has no
        file.
        """
        paths = [folder / f"part-{part}.bin" for part in range(num_parts)]
        for chunk in self.chunks(_CHUNK_RECORDS):
            records = _chosen(chunk, column, splits)
            parts = (records[column] % np.uint64(num_parts)).astype(np.int64)
            order = np.argsort(parts, kind="stable")
            borders = np.searchsorted(parts[order], np.arange(num_parts + 1))
            for part in np.unique(parts):
                with paths[part].open("ab") as file:
                    file.write(records[order[borders[part] : borders[part + 1]]].tobytes())
        return paths


def _chosen(records: Records, column: Column, splits: Sequence[SplitName]) -> Records:
    wanted = np.isin(np.arange(len(SPLITS)), [SPLITS.index(name) for name in splits])
    chosen: Records = records[(records[column] != 0) & wanted[records["split"]]]
    return chosen


def sort_records(records: Records, column: Column) -> Records:
    """The records by the column, then in the order of the rows."""
    return records[np.lexsort((records["number"], records["file"], records[column]))]


def starts(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where each run of equal values begins, in a sorted array: shape (num_distinct,)."""
    if not len(values):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))


def run_lengths(first: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """How long each run is, from where the runs begin."""
    return np.diff(first, append=size)


def keys(records: Records) -> list[RowKey]:
    """The rows of some records."""
    return [RowKey(int(r["file"]), int(r["number"])) for r in records]


class FirstRows:
    """The first few rows, in file order, of records that come in any order."""

    def __init__(self, limit: int) -> None:
        self.count = 0
        self._limit = limit
        self._rows: list[RowKey] = []

    def add(self, records: Records) -> None:
        """Count the records, and keep the earliest."""
        self.count += len(records)
        order = np.lexsort((records["number"], records["file"]))[: self._limit]
        self._rows = sorted([*self._rows, *keys(records[order])])[: self._limit]

    @property
    def rows(self) -> tuple[RowKey, ...]:
        return tuple(self._rows)


def merge_ledgers(ledgers: Iterable[Ledger], folder: Path) -> Ledger:
    """One ledger of several, in their order."""
    whole = Ledger(folder)
    for ledger in ledgers:
        whole.merge(ledger)
    return whole
