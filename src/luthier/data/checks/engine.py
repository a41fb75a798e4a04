"""From files to a report: every row goes past every check once, in one process or in several.

    plan      files -> pieces (a large file of lines is cut at line ends)
    scan      a piece -> a copy of every check that has seen its rows
    merge     the copies, in the order of the pieces
    conclude  findings, with the rows that they name read again for their examples

Memory is bounded by what checks keep, not by the files. Knows nothing of single checks or screens.
"""

import gc
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from luthier.data.checks.check import Check, Context, Totals
from luthier.data.checks.finding import SPLITS, Finding, RowKey, SplitName
from luthier.data.checks.habits import Habits, find_habits
from luthier.data.checks.ledger import Ledger
from luthier.data.checks.report import (
    FileSummary,
    Report,
    count_distinct,
    name_rows,
    name_worst,
    rows_to_read,
    sort_findings,
)
from luthier.data.checks.row import CheckedRow, check_row
from luthier.data.formats import FileFormat, recognise_file
from luthier.data.rows import Unit, place_of
from luthier.data.sources import (
    Shard,
    SourceFile,
    find_files,
    head_values,
    read_at,
    read_every_row,
    shards,
    size_bytes,
    total_size_bytes,
)
from luthier.errors import DataError

Place = str | Path
OnBytes = Callable[[int], None]

PIECE_BYTES = 8 << 20
_PIECES_WORTH_PROCESSES = 2  # with less to read, starting processes costs more than it saves


@dataclass(frozen=True)
class CheckedFile:
    """One file of a split, and what its rows were recognised as."""

    index: int
    split: SplitName
    source: SourceFile
    format: FileFormat


@dataclass(frozen=True)
class Piece:
    """A file, or a part of a large one."""

    file: CheckedFile
    shard: Shard | None = None


@dataclass
class FileCount:
    """What was counted of a file while it was read."""

    rows: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    unit: Unit = "line"
    damage: str | None = None

    def merge(self, later: "FileCount") -> None:
        self.rows += later.rows
        self.shapes.update(later.shapes)
        self.unit = later.unit if later.rows else self.unit
        self.damage = self.damage or later.damage


@dataclass
class Scan:
    """Every check, the ledger and the counts, after some pieces."""

    checks: list[Check]
    ledger: Ledger
    counts: dict[int, FileCount]

    def merge(self, later: "Scan") -> None:
        for check, more in zip(self.checks, later.checks, strict=True):
            check.merge(more)
        self.ledger.merge(later.ledger)
        for index, count in later.counts.items():
            self.counts.setdefault(index, FileCount()).merge(count)


def check_places(
    places: Mapping[SplitName, Sequence[Place]],
    check_classes: Sequence[type[Check]],
    context: Callable[[Path], Context],
    *,
    kind: str | None = None,
    format: str | None = None,
    fields: Mapping[str, str] | None = None,
    repair_encoding: bool = False,
    workers: int = 1,
    piece_bytes: int = PIECE_BYTES,
    on_bytes: OnBytes | None = None,
) -> Report:
    """Check the files of each split. `context` makes what the checks know from their scratch folder.

    With `workers` over 1, files of lines are cut into pieces of about `piece_bytes`; neither changes the report.

    Raises DataError where a place names no file; a file that turns out unreadable is a finding.
    """
    files = find_checked_files(places, kind, format, fields, repair_encoding)
    with tempfile.TemporaryDirectory(prefix="luthier-check-") as folder:
        known = context(Path(folder))
        known = replace(known, habits=read_habits(files))
        scan = _scan_all(files, known, check_classes, workers, piece_bytes, on_bytes)
        return conclude(files, scan)


def total_bytes(places: Iterable[Place]) -> int | None:
    """The size of all files that the places name, for a progress bar; None where it is not known."""
    return total_size_bytes(file for place in places for file in find_files(place))


def find_checked_files(
    places: Mapping[SplitName, Sequence[Place]],
    kind: str | None,
    format: str | None,
    fields: Mapping[str, str] | None,
    repair_encoding: bool,
) -> list[CheckedFile]:
    """The plan: every file of every split, recognised. Raises DataError where a place names no file."""
    files: list[CheckedFile] = []
    for split in SPLITS:
        for place in places.get(split, ()):
            for source in find_files(place, kind=kind, repair_encoding=repair_encoding):
                head = head_values(source)
                files.append(
                    CheckedFile(len(files), split, source, recognise_file(head, format=format, fields=fields))
                )
    return files


def read_habits(files: Sequence[CheckedFile]) -> dict[SplitName, Habits]:
    """What many answers of a measuring split share: read before all else, so that training rows are held to it."""
    habits: dict[SplitName, Habits] = {}
    for split in SPLITS[1:]:
        own = [file for file in files if file.split == split]
        if own:
            habits[split] = find_habits(row for file in own for row in _rows(Piece(file), FileCount()))
    return habits


def _rows(piece: Piece, count: FileCount, on_bytes: OnBytes | None = None) -> Iterator[CheckedRow]:
    """The rows of a piece as checks see them; counts them on the way."""
    file = piece.file
    folder = str(Path(file.source.place).parent)
    try:
        for row in read_every_row(file.source, piece.shard, on_bytes=on_bytes):
            checked = check_row(row, RowKey(file.index, row.number), file.split, file.format)
            checked.folder = folder
            count.rows += 1
            count.unit = row.unit
            count.shapes[checked.shape or "unknown"] += 1
            yield checked
    except DataError as error:
        count.damage = str(error)


def scan_pieces(
    pieces: Iterable[Piece],
    context: Context,
    check_classes: Sequence[type[Check]],
    on_bytes: OnBytes | None = None,
) -> Scan:
    """Fresh copies of the checks that have seen the rows of these pieces."""
    scan = Scan([one(context) for one in check_classes], Ledger(context.scratch), {})
    see = [check.see for check in scan.checks if type(check).see is not Check.see]
    for piece in pieces:
        count = scan.counts.setdefault(piece.file.index, FileCount())
        for row in _rows(piece, count, on_bytes):
            scan.ledger.see(row)
            for take_note in see:
                take_note(row)
    scan.ledger.finish()
    for check in scan.checks:
        check.finish()
    return scan


def _scan_all(
    files: Sequence[CheckedFile],
    context: Context,
    check_classes: Sequence[type[Check]],
    workers: int,
    piece_bytes: int,
    on_bytes: OnBytes | None,
) -> Scan:
    size = sum(size_bytes(file.source) or 0 for file in files)
    if workers == 1 or size < _PIECES_WORTH_PROCESSES * piece_bytes:
        return scan_pieces([Piece(file) for file in files], context, check_classes, on_bytes)
    whole: Scan | None = None
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for piece, scan in _in_order(pool, cut_pieces(files, piece_bytes), context, check_classes, workers):
            if whole is None:
                whole = scan
            else:
                whole.merge(scan)
            if on_bytes is not None:
                on_bytes(_size(piece))
    return whole or scan_pieces([], context, check_classes)


def cut_pieces(files: Iterable[CheckedFile], piece_bytes: int) -> Iterator[Piece]:
    """Files of lines in pieces of about `piece_bytes`, others whole, in the order of the rows."""
    for file in files:
        parts = shards(file.source, piece_bytes)
        yield from [Piece(file)] if parts is None else [Piece(file, part) for part in parts]


def _in_order(
    pool: ProcessPoolExecutor,
    pieces: Iterator[Piece],
    context: Context,
    check_classes: Sequence[type[Check]],
    workers: int,
) -> Iterator[tuple[Piece, Scan]]:
    """Scans in the order of their pieces, with a few in work at a time: what is done early waits, and is few."""
    waiting: list[tuple[Piece, Future[Scan]]] = []
    for piece in pieces:
        waiting.append((piece, pool.submit(_scan_in_worker, piece, context, check_classes)))
        if len(waiting) > 2 * workers:
            first, future = waiting.pop(0)
            yield first, future.result()
    for piece, future in waiting:
        yield piece, future.result()


def _scan_in_worker(piece: Piece, context: Context, check_classes: Sequence[type[Check]]) -> Scan:
    gc.freeze()  # what is loaded by now stays; looking for garbage in it took a fifteenth of the time
    return scan_pieces([piece], context, check_classes)


def _size(piece: Piece) -> int:
    if piece.shard is not None:
        return piece.shard.end - piece.shard.start
    return size_bytes(piece.file.source) or 0


def conclude(files: Sequence[CheckedFile], scan: Scan) -> Report:
    """The report, when all scans are merged."""
    rows: dict[SplitName, int] = dict.fromkeys(SPLITS, 0)
    for file in files:
        rows[file.split] += scan.counts[file.index].rows
    totals = Totals(rows, scan.ledger)
    found = [finding for check in scan.checks for finding in check.findings(totals)]
    found += _unreadable(files, scan.counts)
    figures: dict[str, Any] = {}
    for check in scan.checks:
        figures |= check.figures(totals)
    rows_told = _read_again(rows_to_read(found), files)

    def place(key: RowKey) -> str:
        return place_of(files[key.file].source.place, key.number, scan.counts[key.file].unit)

    paths = {file.source.place for file in files}
    return Report(
        files=tuple(_summaries(files, scan)),
        findings=sort_findings(name_rows(found, place, rows_told, paths)),
        worst=name_worst(found, place, rows_told, paths),
        figures=figures,
    )


def _unreadable(files: Sequence[CheckedFile], counts: Mapping[int, FileCount]) -> Iterator[Finding]:
    for file in files:
        count = counts[file.index]
        if count.damage is not None:
            yield Finding(
                "unreadable_file",
                "error",
                file.split,
                count.damage,
                "Nothing after this place was read. Put the file right, then check again.",
                count=1,
                share=0.0,
                examples=(),
            )


def _summaries(files: Sequence[CheckedFile], scan: Scan) -> Iterator[FileSummary]:
    distinct = {
        column: count_distinct(scan.ledger, column, len(files)) for column in ("content", "prompt", "answer")
    }
    for file in files:
        count = scan.counts[file.index]
        yield FileSummary(
            path=file.source.place,
            split=file.split,
            num_rows=count.rows,
            num_distinct_rows=distinct["content"][file.index],
            num_distinct_prompts=distinct["prompt"][file.index],
            num_distinct_answers=distinct["answer"][file.index],
            shapes=dict(count.shapes),
            read_as=f"{file.source.kind}, {file.source.how}",
            recognised=file.format.evidence,
        )


def _read_again(keys: Iterable[RowKey], files: Sequence[CheckedFile]) -> dict[RowKey, CheckedRow]:
    """The rows that examples are told from; each file is opened once."""
    wanted: dict[int, set[int]] = {}
    for key in keys:
        wanted.setdefault(key.file, set()).add(key.number)
    rows = {}
    for index, numbers in wanted.items():
        file = files[index]
        for number, row in read_at(file.source, numbers).items():
            key = RowKey(index, number)
            rows[key] = check_row(row, key, file.split, file.format)
    return rows
