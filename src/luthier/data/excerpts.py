"""The beginnings of texts on disk, in the order of the rows, so that a few of them can be shown in the end.

Knows nothing of what the texts are.
"""

import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np


class Excerpts:
    """Append-only; can be pickled. Text i is the i-th over all files."""

    def __init__(self, folder: Path, max_characters: int) -> None:
        self._folder = folder
        self._max_characters = max_characters
        self._files: list[Path] = []
        self._sizes: list[int] = []

    def append(self, texts: Sequence[str]) -> None:
        """Write the beginnings of texts. Raises OSError where the disk is full."""
        if not texts:
            return
        if not self._files:
            self._files.append(self._folder / f"excerpts-{uuid.uuid4().hex}.txt")
            self._sizes.append(0)
        path = self._files[-1]
        data = [text[: self._max_characters].encode("utf-8", "replace") for text in texts]
        with path.open("ab") as file:
            ends = file.tell() + np.cumsum([len(one) for one in data])
            file.write(b"".join(data))
        with path.with_suffix(".ends").open("ab") as file:
            file.write(ends.astype("<u8").tobytes())
        self._sizes[-1] += len(texts)

    def merge(self, later: "Excerpts") -> None:
        """Take over the texts of rows that come later."""
        self._files += later._files
        self._sizes += later._sizes

    def __len__(self) -> int:
        return sum(self._sizes)

    def __getitem__(self, index: int) -> str:
        for path, size in zip(self._files, self._sizes, strict=True):
            if index < size:
                before = max(0, index - 1)
                ends = np.fromfile(
                    path.with_suffix(".ends"), "<u8", index - before + 1, offset=8 * before
                ).tolist()
                start = 0 if index == 0 else ends[0]
                with path.open("rb") as file:
                    file.seek(start)
                    return file.read(ends[-1] - start).decode("utf-8")
            index -= size
        raise IndexError(index)
