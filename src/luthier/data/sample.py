"""A random sample of rows for the eye: the same rows for a seed, every row as likely as any other, in one pass.

The rows with the smallest hashes of (seed, file, number) are taken, so a larger sample holds the smaller one of the
same seed. Knows nothing of what a person thinks of the rows.
"""

import hashlib
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.checks.row import CheckedRow
from luthier.data.inputs import OnBytes, open_inputs
from luthier.data.rows import Row, UnreadableRow
from luthier.errors import DataError
from luthier.hashing import hash_json


@dataclass(frozen=True)
class SampledRow:
    """A row of the sample, as it stands and as it is understood."""

    row: Row
    checked: CheckedRow

    @property
    def row_id(self) -> str:
        """The hash of the row's content, all its fields included."""
        return hash_json(self.row.value)

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values."""
        place = {"file": self.row.file, "number": self.row.number, "place": self.row.where}
        return {**place, "id": self.row_id, "row": self.row.value}


@dataclass(frozen=True)
class Sample:
    """The rows in the order of the files. `num_unreadable` lines could not be read and so not be drawn."""

    rows: tuple[SampledRow, ...]
    num_rows: int
    num_unreadable: int
    seed: int


def sample_rows(
    places: Iterable[str | Path],
    num_wanted: int,
    *,
    seed: int = 0,
    format: str | None = None,
    fields: Mapping[str, str] | None = None,
    on_bytes: OnBytes | None = None,
) -> Sample:
    """`num_wanted` rows, or all where there are fewer. Raises DataError where there is none to draw."""
    inputs = open_inputs(places, format=format, fields=fields)
    # A heap whose top is the largest hash kept: (-hash, -file, -number) never ties, so rows are not compared.
    kept: list[tuple[int, int, int, SampledRow]] = []
    num_rows = num_unreadable = 0
    for one in inputs:
        for row, checked in one.rows(on_bytes=on_bytes):
            if isinstance(row, UnreadableRow):
                num_unreadable += 1
                continue
            num_rows += 1
            rank = _hash(seed, one.index, row.number)
            if len(kept) < num_wanted:
                heapq.heappush(kept, (-rank, -one.index, -row.number, SampledRow(row, checked)))
            elif rank < -kept[0][0]:
                heapq.heapreplace(kept, (-rank, -one.index, -row.number, SampledRow(row, checked)))
    if not kept:
        named = ", ".join(str(place) for place in places)
        raise DataError(f"{named}: no row can be read, so there is nothing to sample; see luthier data check")
    kept.sort(key=lambda one: (-one[1], -one[2]))
    return Sample(tuple(one[3] for one in kept), num_rows, num_unreadable, seed)


def _hash(seed: int, file: int, number: int) -> int:
    data = f"{seed} {file} {number}".encode("ascii")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
