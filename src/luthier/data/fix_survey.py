"""What a first reading of all rows brings to light: which rows go and why, which texts change.

Identities lie on disk; of a row that goes, 21 bytes are in memory. Knows nothing of how files are written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.check import Context
from luthier.data.checks.finding import SPLITS, SplitName
from luthier.data.checks.identify import Keep, repeats, shared_pairs
from luthier.data.checks.ledger import Column, Ledger, Records
from luthier.data.checks.near_duplicates import NearDuplicates
from luthier.data.fix_rows import RepairedRow, broken_reason, read_repaired
from luthier.data.inputs import Input, OnBytes
from luthier.data.rows import Unit, place_of

Removals = NDArray[np.void]

# What a row is removed for, in words. Where there are several reasons, the first of them is given.
REASONS: dict[str, str] = {
    "broken_json": "not valid JSON",
    "not_utf8": "not UTF-8",
    "not_an_object": "JSON, but no object",
    "broken_table": "does not fit its table",
    "too_large": "too large to be one row",
    "unknown_shape": "no known format has these fields",
    "malformed_row": "a field cannot be read",
    "no_assistant_turn": "there is nothing to learn",
    "empty_answer": "an answer is empty",
    "row_in_test": "a test row says the same",
    "row_in_valid": "a validation row says the same",
    "row_in_train": "a training row says the same",
    "question_in_test": "a test row asks the same",
    "question_in_valid": "a validation row asks the same",
    "question_in_train": "a training row asks the same",
    "duplicate": "another row says the same",
    "near_duplicate": "another row says nearly the same",
}
CHANGES: dict[str, str] = {
    "not_utf8": "bytes that are not UTF-8, read as Windows-1252",
    "mojibake": "text that was read in the wrong encoding, read again",
    "control_characters": "control characters, removed",
    "not_nfc": "letters in another form than usual (Unicode NFC)",
}
LEAKS = tuple(name for name in REASONS if "_in_" in name)
CODES = {name: code for code, name in enumerate(REASONS)}
REMOVAL = np.dtype(
    [("file", "<u2"), ("number", "<u8"), ("reason", "u1"), ("of_file", "<u2"), ("of_number", "<u8")]
)
NUM_EXAMPLES = 2
_BUFFERED = 65_536
_LEAKING: tuple[tuple[Column, str], ...] = (("content", "row"), ("question", "question"))


@dataclass(frozen=True)
class FixOptions:
    """What is put right. `leaks_from`: the side that gives way where training and measuring rows are the same.

    What test shares with valid is always removed from valid: the test is measured with last.
    """

    broken: bool = True
    encoding: bool = True
    leaks: bool = True
    duplicates: bool = True
    near_duplicates: bool = False
    keep: Keep = "first"
    leaks_from: Literal["train", "valid"] = "train"


@dataclass
class FixedFile:
    """One file: where it is read, where it goes (None where it is only held against), and what was counted."""

    split: SplitName
    source: Input
    out: Path | None
    num_rows: int = 0
    num_removed: int = 0
    num_changed: int = 0
    unit: Unit = "line"

    def place(self, number: int) -> str:
        return place_of(self.source.source.place, number, self.unit)

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values."""
        return {
            "path": self.source.source.place,
            "split": self.split,
            "out": None if self.out is None else str(self.out),
            "rows": self.num_rows,
            "removed": self.num_removed,
            "kept": self.num_rows - self.num_removed,
            "changed": self.num_changed,
        }


@dataclass
class PlanItem:
    """One kind of thing that is put right in one split."""

    kind: Literal["remove", "change"]
    name: str
    split: SplitName
    count: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def why(self) -> str:
        return (REASONS if self.kind == "remove" else CHANGES)[self.name]

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values."""
        told = {"kind": self.kind, "reason": self.name, "split": self.split, "rows": self.count}
        return {**told, "why": self.why, "examples": self.examples}


class Survey:
    """What the first reading of all rows brings to light."""

    def __init__(self, files: Sequence[FixedFile], options: FixOptions, scratch: Path) -> None:
        self._files = files
        self._options = options
        self._ledger = Ledger(scratch)
        self._near = NearDuplicates(Context(scratch)) if options.near_duplicates else None
        self._broken: list[Removals] = []
        self._pending: list[tuple[int, int, int, int, int]] = []
        self.changes: dict[tuple[SplitName, str], PlanItem] = {}

    def read(self, on_bytes: OnBytes | None) -> None:
        for index, file in enumerate(self._files):
            for one in read_repaired(
                file.source, file.split, encoding=self._options.encoding, on_bytes=on_bytes
            ):
                file.num_rows += 1
                file.unit = one.row.unit
                reason = broken_reason(one.checked) if self._options.broken else None
                if reason is not None and file.out is not None:
                    self._pending.append((index, one.row.number, CODES[reason], 0, 0))
                    if len(self._pending) >= _BUFFERED:
                        self._flush()
                elif reason is None and one.checked.defect is None:
                    self._see(file, one)
        self._flush()
        self._ledger.finish()
        if self._near is not None:
            self._near.finish()

    def _see(self, file: FixedFile, one: RepairedRow) -> None:
        self._ledger.see(one.checked)
        if file.out is None:
            return
        if self._near is not None:
            self._near.see(one.checked)
        for name, example in one.changes.items():
            item = self.changes.setdefault((file.split, name), PlanItem("change", name, file.split))
            item.count += 1
            if len(item.examples) < NUM_EXAMPLES:
                item.examples.append(f"{file.place(one.row.number)}: {example}")

    def _flush(self) -> None:
        self._broken.append(np.array(self._pending, REMOVAL))
        self._pending = []

    def removals(self) -> Iterator[Removals]:
        """Rows that go, with their reasons; a row may come several times."""
        yield from self._broken
        if self._options.leaks:
            for goes, stays in self._leaking_pairs():
                for column, name in _LEAKING:
                    for rows, of in shared_pairs(self._ledger, column, stays, goes):
                        yield _as_removals(rows, of, f"{name}_in_{stays}")
        for split in SPLITS if self._options.duplicates else ():
            if self._is_written(split):
                for rows, of in repeats(self._ledger, "content", (split,), keep=self._options.keep):
                    yield _as_removals(rows, of, "duplicate")
        if self._near is not None:
            for split in SPLITS:
                if self._is_written(split):
                    yield _as_removals(*self._near.repeats(split), "near_duplicate")

    def _leaking_pairs(self) -> Iterator[tuple[SplitName, SplitName]]:
        """(the split that gives way, the split that it is held against)."""
        train: SplitName = "train"
        for split in SPLITS[1:]:
            goes, stays = (train, split) if self._options.leaks_from == "train" else (split, train)
            if self._is_written(goes):
                yield goes, stays
        if self._is_written("valid"):
            yield "valid", "test"

    def _is_written(self, split: SplitName) -> bool:
        return any(file.split == split and file.out is not None for file in self._files)


def _as_removals(rows: Records, of: Records, reason: str) -> Removals:
    made = np.empty(len(rows), REMOVAL)
    made["file"], made["number"], made["reason"] = rows["file"], rows["number"], CODES[reason]
    made["of_file"], made["of_number"] = of["file"], of["number"]
    return made
