"""What became of each training row, read from per_row.jsonl. Needs no torch, so that a page is drawn at once."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "per_row.jsonl"


@dataclass
class RowHistory:
    """What became of a row: its losses when it was first and last seen, the lowest, and how often it was seen."""

    row: int
    place: str
    first: float
    lowest: float
    last: float
    times: int = 1


def read_row_losses(path: Path) -> list[RowHistory]:
    """The history of each row, in their order; empty where there is no such file. Memory is a few numbers a row."""
    histories: dict[int, RowHistory] = {}
    for record in read_records(path):
        row, loss = int(record["row"]), record["loss"]
        if loss is None:
            continue
        known = histories.get(row)
        if known is None:
            histories[row] = RowHistory(row, str(record["place"]), loss, loss, loss)
            continue
        known.lowest, known.last, known.times = min(known.lowest, loss), loss, known.times + 1
    return [histories[row] for row in sorted(histories)]


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of the file, line by line; one that a crash left torn at the end is passed over."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield json.loads(line)
