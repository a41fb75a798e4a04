"""A row of a file with its place, and a line that is no row with the reason.

Knows nothing of how a file is read and of what a row means.
"""

from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["line", "row"]
Defect = Literal["broken_json", "not_utf8", "not_an_object", "broken_table", "too_large"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the file as the user named it, a 1-based number, and the fields.

    `unit` says what the number counts: lines of the file (JSON lines, CSV, plain pairs), which an editor can open,
    or rows (JSON arrays, Parquet, Arrow).
    """

    file: str
    number: int
    value: dict[str, Any]
    unit: Unit = "line"

    @property
    def where(self) -> str:
        """`file:line`, as editors understand it, or `file, row N`."""
        return place_of(self.file, self.number, self.unit)


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A line that holds no row. `problem` begins with its place and says what is wrong with it."""

    file: str
    number: int
    defect: Defect
    problem: str
    unit: Unit = "line"


def place_of(file: str, number: int, unit: Unit = "line") -> str:
    """`file:line`, or `file, row N`."""
    return f"{file}:{number}" if unit == "line" else f"{file}, row {number}"
