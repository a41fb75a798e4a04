"""The files that a verb was given: found, recognised, and read row by row with what could be made of each row.

Knows nothing of what is done with the rows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.checks.finding import RowKey, SplitName
from luthier.data.checks.row import CheckedRow, check_row
from luthier.data.formats import FileFormat, recognise_file
from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources import SourceFile, find_files, head_values, read_every_row, total_size_bytes
from luthier.errors import DataError

OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class Input:
    """One file: its index in the order of reading, how it is read, and what its rows were recognised as."""

    index: int
    source: SourceFile
    format: FileFormat

    @property
    def path(self) -> Path:
        return Path(self.source.place)

    def rows(
        self, split: SplitName = "train", on_bytes: OnBytes | None = None
    ) -> Iterator[tuple[Row | UnreadableRow, CheckedRow]]:
        """Every row and every line that is none, as read and as understood; nothing is raised for a single row."""
        for row in read_every_row(self.source, None, on_bytes=on_bytes):
            yield row, check_row(row, RowKey(self.index, row.number), split, self.format)

    def good_rows(self, on_bytes: OnBytes | None = None) -> Iterator[tuple[Row, CheckedRow]]:
        """Every row. Raises DataError at the first that is none, or that says nothing."""
        for row, checked in self.rows(on_bytes=on_bytes):
            if isinstance(row, UnreadableRow) or checked.problem is not None:
                raise DataError(
                    f"{checked.problem}\n  To leave such rows out: luthier data fix {self.source.place} --out FIXED"
                )
            yield row, checked

    def values(self, on_bytes: OnBytes | None = None) -> Iterator[tuple[Row, dict[str, Any]]]:
        """Every row and its fields under the names that the format knows, not looked into. Raises as `good_rows`."""
        for row in read_every_row(self.source, None, on_bytes=on_bytes):
            if isinstance(row, UnreadableRow):
                raise DataError(
                    f"{row.problem}\n  To leave such rows out: luthier data fix {self.source.place} --out FIXED"
                )
            yield row, self.format.rename(row.value)


def open_inputs(
    places: Iterable[str | Path],
    *,
    kind: str | None = None,
    format: str | None = None,
    fields: Mapping[str, str] | None = None,
    repair_encoding: bool = False,
    first_index: int = 0,
) -> list[Input]:
    """The files of all places (files, folders, globs), in their order. Raises DataError where a place names none."""
    found: list[Input] = []
    for place in places:
        for source in find_files(place, kind=kind, repair_encoding=repair_encoding):
            recognised = recognise_file(head_values(source), format=format, fields=fields)
            found.append(Input(first_index + len(found), source, recognised))
    return found


def input_paths(inputs: Sequence[Input]) -> list[Path]:
    """What must not be written over."""
    return [one.path for one in inputs]


def num_bytes(inputs: Sequence[Input]) -> int | None:
    """The size of all the files, for a progress bar; None where one is not known."""
    return total_size_bytes(one.source for one in inputs)
