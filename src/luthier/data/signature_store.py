"""Signatures on disk, in the order of the rows: appended while rows are read, merged by joining lists of files.

4 bytes a place: 512 bytes a signature. Knows nothing of what the signatures are compared for.
"""

import uuid
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from luthier.data.minhash import NUM_PLACES, Signatures


class SignatureStore:
    """Append-only; can be pickled. Row i is the i-th signature over all files."""

    def __init__(self, folder: Path, num_places: int = NUM_PLACES) -> None:
        self._folder = folder
        self._num_places = num_places
        self._files: list[Path] = []
        self._sizes: list[int] = []

    def __len__(self) -> int:
        return sum(self._sizes)

    def append(self, signatures: Signatures) -> None:
        """Write signatures, shape (num_rows, num_places), after the others. Raises OSError where the disk is full."""
        if not self._files:
            self._files.append(self._folder / f"signatures-{uuid.uuid4().hex}.bin")
            self._sizes.append(0)
        with self._files[-1].open("ab") as file:
            file.write(np.ascontiguousarray(signatures, "<u4").data)
        self._sizes[-1] += len(signatures)

    def merge(self, later: "SignatureStore") -> None:
        """Take over the signatures of rows that come later."""
        self._files += later._files
        self._sizes += later._sizes

    def rows(self, indices: NDArray[np.int64]) -> Signatures:
        """The signatures of some rows, which may repeat, in the order asked: shape (len(indices), num_places)."""
        wanted, back = np.unique(indices, return_inverse=True)
        found = np.empty((len(wanted), self._num_places), "<u4")
        starts = np.concatenate(([0], np.cumsum(self._sizes))).astype(np.int64)
        borders = np.searchsorted(wanted, starts)
        for number, path in enumerate(self._files):
            first, last = int(borders[number]), int(borders[number + 1])
            if first == last:
                continue
            # Read row by row, not mapped: the pages of a map would count as memory of this process.
            with path.open("rb", buffering=0) as file:
                _read(file, wanted[first:last] - starts[number], found[first:last])
        return found[back]


def _read(file: FileIO, rows: NDArray[np.int64], into: Signatures) -> None:
    """Rows of one file, in ascending order."""
    row_bytes = 4 * into.shape[1]
    first, spread = int(rows[0]), int(rows[-1] - rows[0]) + 1
    if spread <= 2 * len(rows):  # nearly all of a stretch: one read of it
        file.seek(first * row_bytes)
        stretch = np.fromfile(file, "<u4", spread * into.shape[1]).reshape(spread, -1)
        into[:] = stretch[rows - first]
        return
    for place, row in enumerate(rows.tolist()):
        file.seek(row * row_bytes)
        file.readinto(into[place].data)
