"""What tests of readers share: a file written and read in one go."""

from pathlib import Path
from typing import Any

from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources import find_files, read_every_row


def read(path: Path, **options: Any) -> list[Row | UnreadableRow]:
    """Every row of a file, and everything that is none."""
    (file,) = find_files(path, **options)
    return list(read_every_row(file))


def read_bytes(folder: Path, name: str, data: bytes, **options: Any) -> list[Row | UnreadableRow]:
    """The rows of a file with this name and content."""
    path = folder / name
    path.write_bytes(data)
    return read(path, **options)


def values(rows: list[Row | UnreadableRow]) -> list[Any]:
    """The fields of the rows; of what is none, its defect."""
    return [row.value if isinstance(row, Row) else row.defect for row in rows]
