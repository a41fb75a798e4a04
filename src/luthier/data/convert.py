"""Convert rows from the formats they are in to one other, and say what that cannot hold.

Knows nothing of single formats and containers, and of the command line.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.data.example import Example
from luthier.data.formats import Format, known_format, read_example, recognise
from luthier.data.inputs import Input, input_paths, open_inputs
from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources import read_every_row
from luthier.data.write import PAIRS, WriteRow, check_output, container_of, pair_problems, write_rows
from luthier.errors import DataError

_SHOWN_PLACES = 3
_TABLES_OF_TEXT = ("csv", "tsv")
_BORDER = "the border between the question and its context or choices is not kept; the text is whole"
_TYPES = "numbers, lists and objects stand as their JSON text"
_FOLDER = "image paths are relative to the folder of the input, and the output lies in another"


@dataclass
class Counted:
    """How many rows something is true of, and the first few of them."""

    rows: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        self.rows += 1
        if len(self.places) < _SHOWN_PLACES:
            self.places.append(place)


@dataclass
class Conversion:
    """What was read, written, left out and lost.

    lost: what the format cannot hold, in words. skipped: why rows were left out. remarks: what changed without
    loss of content. formats: rows by the format they were read in.
    """

    out: Path
    format: str
    container: str
    files: list[dict[str, Any]] = field(default_factory=list)
    rows_read: int = 0
    rows_written: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    lost: dict[str, Counted] = field(default_factory=dict)
    skipped: dict[str, Counted] = field(default_factory=dict)
    remarks: dict[str, Counted] = field(default_factory=dict)

    @property
    def rows_skipped(self) -> int:
        return sum(one.rows for one in self.skipped.values())

    def to_dict(self) -> dict[str, Any]:
        """The summary with stable keys."""

        def listed(found: Mapping[str, Counted]) -> list[dict[str, Any]]:
            return [{"what": what, "rows": one.rows, "places": one.places} for what, one in found.items()]

        return {
            "out": str(self.out),
            "format": self.format,
            "container": self.container,
            "files": self.files,
            "formats": dict(self.formats),
            "rows_read": self.rows_read,
            "rows_written": self.rows_written,
            "rows_skipped": self.rows_skipped,
            "skipped": listed(self.skipped),
            "lost": listed(self.lost),
            "remarks": listed(self.remarks),
        }


class _Skip(Exception):
    """A row that cannot be converted; why, for the count, and the whole message for the first of them."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def convert(
    places: Sequence[str | Path],
    out: Path,
    *,
    to: str,
    format: str | None = None,
    fields: Mapping[str, str] | None = None,
    drop_fields: bool = False,
    lossy: bool = False,
    skip_bad: bool = False,
    force: bool = False,
    repair_encoding: bool = False,
    on_bytes: Callable[[int], None] = lambda done: None,
) -> Conversion:
    """Write the rows of all files to `out` in the format `to`, in the container that its ending says.

    format, fields: how the input is read (see `recognise_file`). drop_fields: leave out fields that no format knows.
    Raises DataError, and writes nothing: rows that cannot be read or written (without `skip_bad`), rows of which
    something would be lost (without `lossy`), with how many and the first of them; an output that exists.
    """
    target = known_format(to)
    check_output(out, force=force)
    container, compression = container_of(out)
    inputs = open_inputs(places, format=format, fields=fields, repair_encoding=repair_encoding)
    done = Conversion(out, to, container if compression is None else f"{container}.{compression}")
    if container == "pairs" and not any(set(pair) <= target.fields for pair in PAIRS):
        raise DataError(
            f"{out}: plain pairs hold a question and an answer; convert --to prompt/completion for .txt"
        )
    problems: list[str] = []
    with ExitStack() as stack:
        write = stack.enter_context(write_rows(out, force=force, inputs=input_paths(inputs)))
        for one in inputs:
            _convert_file(one, target, done, write, problems, drop_fields, on_bytes)
        refused = _refusal(done, problems, lossy=lossy, skip_bad=skip_bad)
        if refused is not None:
            raise DataError(refused)  # the file that was begun goes with it
    return done


def _convert_file(
    one: Input,
    target: Format,
    done: Conversion,
    write: WriteRow,
    problems: list[str],
    drop_fields: bool,
    on_bytes: Callable[[int], None],
) -> None:
    rows = 0
    for row in read_every_row(one.source, None, on_bytes=on_bytes):
        rows += 1
        try:
            name, example = _read(row, one, drop_fields)
            written = _written(example, target, name, _place(row), done)
        except _Skip as skipped:
            done.skipped.setdefault(skipped.reason, Counted()).add(_place(row))
            if len(problems) < _SHOWN_PLACES:
                problems.append(str(skipped))
            continue
        if _is_elsewhere(example, one.path, done.out):
            done.remarks.setdefault(_FOLDER, Counted()).add(_place(row))
        done.formats[name] += 1
        done.rows_written += 1
        write(written)
    done.rows_read += rows
    evidence = {"format": one.format.name, "evidence": one.format.evidence, "kind": one.source.kind}
    done.files.append({"path": one.source.place, "rows": rows, **evidence})


def _place(row: Row | UnreadableRow) -> str:
    return row.where if isinstance(row, Row) else f"{row.file}:{row.number}"


def _read(row: Row | UnreadableRow, one: Input, drop_fields: bool) -> tuple[str, Example]:
    if isinstance(row, UnreadableRow):
        raise _Skip("cannot be read", row.problem)
    value = one.format.rename(row.value)
    try:
        name, example = read_example(value, where=row.where, format=one.format.of(value))
    except DataError as error:
        raise _Skip("cannot be read", str(error)) from error
    return name, replace(example, extra={}) if drop_fields else example


def _written(example: Example, target: Format, name: str, place: str, done: Conversion) -> dict[str, Any]:
    """The row in the target's format; what it loses is counted in `done`."""
    if example.kind not in target.kinds:
        reason = f"{target.name} cannot hold what {name} says"
        raise _Skip(reason, f"{place}: {reason}")
    losses = target.loses(example)
    try:
        row = target.write(example)
    except DataError as error:
        raise _Skip(
            f"{target.name} cannot hold them", f"{place}: {target.name} cannot hold this row: {error}"
        ) from error
    if not losses and (read_as := recognise(row)) != target.name and not _reads_back(row, target):
        losses.append(f"its format: with its other fields it looks like {read_as}")
    if done.container.startswith("pairs"):
        losses = [*losses, *pair_problems(row)]
        row = _two_lines(row)
    for what in losses:
        done.lost.setdefault(what, Counted()).add(place)
    for what in _remarks(example, row, target, done.container):
        done.remarks.setdefault(what, Counted()).add(place)
    return row


def _reads_back(row: Mapping[str, Any], target: Format) -> bool:
    """Two formats may share a row's fields (a class that is called true); what counts is what it says."""
    try:
        (_, found), meant = read_example(row, where=""), target.read(row)
    except DataError:
        return False
    return (found.kind, found.messages, found.rejected) == (meant.kind, meant.messages, meant.rejected)


def _two_lines(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as plain pairs hold it: one line each, nothing else."""
    pair = next(pair for pair in PAIRS if set(pair) <= row.keys())
    return {key: " ".join(row[key].split()) for key in pair}


def _remarks(example: Example, row: Mapping[str, Any], target: Format, container: str) -> Iterator[str]:
    if example.question is not None and target.read(row).question != example.question:
        yield _BORDER
    if container.startswith(_TABLES_OF_TEXT) and any(not isinstance(one, str | None) for one in row.values()):
        yield _TYPES


def _is_elsewhere(example: Example, read_from: Path, out: Path) -> bool:
    relative = any("://" not in path and not Path(path).is_absolute() for path in example.images)
    return relative and read_from.parent.resolve() != out.parent.resolve()


def _refusal(done: Conversion, problems: Sequence[str], *, lossy: bool, skip_bad: bool) -> str | None:
    """Why nothing is written, with counts and places; None where all is well or was asked for."""
    lines = []
    if done.skipped and not skip_bad:
        lines.append(f"{done.rows_skipped:,} of {done.rows_read:,} rows cannot be converted:")
        lines += [f"  {problem}" for problem in problems]
        if done.rows_skipped > len(problems):
            lines.append(f"  and {done.rows_skipped - len(problems):,} more")
        lines.append("  Correct them, or leave them out with --skip-bad")
    if done.lost and not lossy:
        lines.append(f"{done.format} cannot hold all that the rows say:")
        for what, counted in done.lost.items():
            share = f"{counted.rows:,} of {done.rows_read:,} rows"
            lines.append(f"  {what}: {share}, the first: {counted.places[0]}")
        lines.append("  Choose another format, or go on without these with --lossy")
        if any(what.startswith(("the field ", "its format")) for what in done.lost):
            lines.append("  Fields that are not needed are left out with --drop-fields")
    if not lines and not done.rows_written:
        lines.append("no row is left to write")
    return "\n".join([f"{done.out} is not written", *lines]) if lines else None
