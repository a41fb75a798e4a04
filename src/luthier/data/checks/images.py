"""Are the images of a row there, and are they images?

A file is opened, its kind and size are read from its first bytes and its end is looked at; pixels are not decoded.
Only ordinary files are ever opened. Images behind a URL are counted, not fetched. Knows nothing of models.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLITS, Finding, Severity, SplitName, rows_word
from luthier.data.checks.row import CheckedRow

_HEAD_BYTES = 1 << 18  # the size of a JPEG stands behind its metadata, previews among it
_TAIL_BYTES = 1 << 10
_MAX_REMEMBERED = 10_000


class _Trouble(NamedTuple):
    severity: Severity
    what: str
    advice: str


_TROUBLES: dict[str, _Trouble] = {
    "missing_images": _Trouble(
        "error",
        "name an image that does not exist",
        "Paths are taken from the folder of the data file: correct them, or put the images there.",
    ),
    "unreadable_images": _Trouble(
        "error",
        "name a file that cannot be read as an image",
        "Replace the file: it is damaged, cut or no image.",
    ),
}


class Images(Check):
    """Rows whose images are missing or damaged."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()
        self.counts: dict[SplitName, Counter[str]] = {split: Counter() for split in SPLITS}
        self._known: dict[Path, str | None] = {}

    def see(self, row: CheckedRow) -> None:
        if row.example is None or not row.example.images:
            return
        for image in row.example.images:
            self._look(row, image)

    def finish(self) -> None:
        self._known = {}

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)
        for split, counts in later.counts.items():
            self.counts[split].update(counts)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            tallies = self.tallies.of(split)
            for name, (severity, what, advice) in _TROUBLES.items():
                if name in tallies:
                    tally = tallies[name]
                    message = f"{tally.count:,} of {rows_word(totals.rows[split])} {what}"
                    yield tally.finding(name, severity, split, totals, message, advice)

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        known = {split: counts for split, counts in self.counts.items() if counts}
        words = ("read", "missing", "unreadable", "not_opened")
        return {"images": {s: {word: c[word] for word in words} for s, c in known.items()}} if known else {}

    def _look(self, row: CheckedRow, image: str) -> None:
        if ("://" in image and not image.startswith("file://")) or image.startswith("data:"):
            self.counts[row.split]["not_opened"] += 1
            return
        path = resolve(image, row.folder)
        if path not in self._known:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known = {}
            self._known[path] = problem_of(path)
        problem = self._known[path]
        word = "read" if problem is None else "missing" if problem == "no such file" else "unreadable"
        self.counts[row.split][word] += 1
        if problem is not None:
            name = f"{word}_images"
            tally = self.tallies[row.split, name]
            if not tally.rows or tally.rows[-1] != row.key:
                tally.add(row, f"{image}: {problem}")


def resolve(image: str, folder: str) -> Path:
    """Where an image lies: a path is taken from the folder of its data file."""
    return Path(folder) / (unquote(image.removeprefix("file://")) if image.startswith("file://") else image)


def problem_of(path: Path) -> str | None:
    """Why a file is no image that can be read, in words; None where all is well."""
    try:
        if not path.exists():
            return "no such file"
        if not path.is_file():
            return "not a file"
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read()
    except (OSError, ValueError) as error:
        return f"cannot be opened: {getattr(error, 'strerror', None) or error}"
    return _problem_of_bytes(head, tail, size)


def _problem_of_bytes(head: bytes, tail: bytes, size: int) -> str | None:
    if not head:
        return "the file is empty"
    dimensions = size_of(head)
    if dimensions is None:
        return "neither JPEG, PNG, GIF, WebP nor BMP"
    if 0 in dimensions:
        return "an image without a size"
    if head.startswith(b"\xff\xd8") and b"\xff\xd9" not in tail:
        return "the JPEG is cut short"
    if head.startswith(b"\x89PNG") and b"IEND" not in tail:
        return "the PNG is cut short"
    if head.startswith(b"RIFF") and size < int.from_bytes(head[4:8], "little") + 8:
        return "the WebP is cut short"
    return None


def size_of(head: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels from the first bytes of an image; None where it is of no known kind."""
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack(">II", head[16:24])
        if head[:6] in (b"GIF87a", b"GIF89a"):
            return struct.unpack("<HH", head[6:10])
        if head.startswith(b"BM"):
            width, height = struct.unpack("<ii", head[18:26])
            return width, abs(height)
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return _webp_size(head)
        return _jpeg_size(head) if head.startswith(b"\xff\xd8") else None
    except (struct.error, IndexError):
        return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """From the first frame header (ITU T.81, B.2.2)."""
    at = 2
    while at + 9 < len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
