"""What differs between two sets of rows: added, removed, moved between splits, changed.

Two rows are the same where the model would see the same: ids, tags, spacing of the JSON and order do not count.
Every row becomes 30 bytes on disk, cut into parts by the hash of its prompt, and one part at a time is compared:
memory does not grow with the files. Knows nothing of terminals.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.finding import SPLITS, RowKey, SplitName
from luthier.data.checks.ledger import starts
from luthier.data.checks.row import check_row, identity
from luthier.data.inputs import Input, OnBytes, open_inputs
from luthier.data.places import choose_split, files_of
from luthier.data.rows import Row, UnreadableRow
from luthier.data.sources import find_files, read_at
from luthier.errors import DataError
from luthier.registry.dataset_refs import PREFIX, parse_ref
from luthier.registry.datasets import Store

_RECORD = np.dtype(
    [("key", "<u8"), ("content", "<u8"), ("number", "<u8"), ("file", "<u4"), ("side", "u1"), ("split", "u1")]
)
_NUM_PARTS = 64  # of a hundred million rows a part is then about 50 MB
_BUFFERED = 32_768
_FILE_ENDINGS = {".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".gz", ".zst"}
_STEMS: Mapping[str, SplitName] = {"valid": "valid", "validation": "valid", "dev": "valid", "test": "test"}

_File = tuple[int, SplitName, Input]  # which side (0 or 1), which split, the file
Counts = NDArray[np.int64]
Records = NDArray[np.void]


@dataclass(frozen=True)
class Side:
    """One of the two sets: what the user called it, and its files by split."""

    label: str
    splits: Mapping[SplitName, Sequence[str]]


@dataclass(frozen=True)
class Example:
    """A row that differs. `split` is where it was (or is, if it was added); `to` where it went, if it moved;
    `after` the new row, if it changed."""

    split: SplitName
    text: str
    to: SplitName | None = None
    after: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values, only those that are."""
        named = {"split": self.split, "to": self.to, "row": self.text, "after": self.after}
        return {key: value for key, value in named.items() if value is not None}


@dataclass
class Difference:
    """Counts of rows, per split in the order of SPLITS.

    rows, distinct, unreadable: of each side. kept: in both, in the same split. added, removed: without those that
    moved or changed; of them `added_copies` and `removed_copies` are further copies of rows that both sides have.
    changed: the same prompt in the same split, another answer. moved[i, j]: from split i to split j.
    """

    a: str
    b: str
    rows: Counts = field(default_factory=lambda: np.zeros((2, 3), np.int64))
    distinct: Counts = field(default_factory=lambda: np.zeros((2, 3), np.int64))
    unreadable: Counts = field(default_factory=lambda: np.zeros((2, 3), np.int64))
    kept: Counts = field(default_factory=lambda: np.zeros(3, np.int64))
    added: Counts = field(default_factory=lambda: np.zeros(3, np.int64))
    added_copies: Counts = field(default_factory=lambda: np.zeros(3, np.int64))
    removed: Counts = field(default_factory=lambda: np.zeros(3, np.int64))
    removed_copies: Counts = field(default_factory=lambda: np.zeros(3, np.int64))
    changed: Counts = field(default_factory=lambda: np.zeros(3, np.int64))
    moved: Counts = field(default_factory=lambda: np.zeros((3, 3), np.int64))
    examples: dict[str, list[Example]] = field(default_factory=dict)

    @property
    def is_same(self) -> bool:
        """Whether both sides have the same rows, as often, in the same splits."""
        differing = (self.added, self.removed, self.changed, self.moved)
        unreadable = bool((self.unreadable[0] != self.unreadable[1]).any())
        return not unreadable and not any(int(counts.sum()) for counts in differing)

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values."""
        return {
            "a": self.a,
            "b": self.b,
            "same": self.is_same,
            "splits": {name: self._split(i) for i, name in enumerate(SPLITS) if self._present(i)},
            "moved": [
                {"from": SPLITS[i], "to": SPLITS[j], "rows": int(self.moved[i, j])}
                for i in range(3)
                for j in range(3)
                if self.moved[i, j]
            ],
            "examples": {kind: [one.to_dict() for one in some] for kind, some in self.examples.items()},
        }

    def _present(self, split: int) -> bool:
        return bool(self.rows[:, split].any() or self.unreadable[:, split].any())

    def _split(self, split: int) -> dict[str, Any]:
        sides = {"rows": self.rows, "distinct_rows": self.distinct, "unreadable_rows": self.unreadable}
        counts = {
            f"{key}_{side}": int(some[n, split]) for key, some in sides.items() for n, side in enumerate("ab")
        }
        names = ("kept", "added", "added_copies", "removed", "removed_copies", "changed")
        return {
            **counts,
            **{name: int(getattr(self, name)[split]) for name in names},
            "moved_in": int(self.moved[:, split].sum()),
            "moved_out": int(self.moved[split].sum()),
        }


def open_side(place: str, store: Path) -> Side:
    """What `NAME`, `NAME@ID[/SPLIT]`, a file, a folder or a glob stands for.

    A place that exists is a file or a folder, unless `dataset:` stands before it. Several files are put into splits
    by their names (`valid`, `validation`, `dev`, `test`; any other is train); a single one counts as train.
    Raises DataError where nothing is called so.
    """
    if not place.startswith(PREFIX) and _is_path(place):
        files = find_files(place)
        by_split: dict[SplitName, list[str]] = {}
        for file in files:
            stem = Path(file.place).name.split(".")[0].lower()
            split = _STEMS.get(stem, "train") if len(files) > 1 else "train"
            by_split.setdefault(split, []).append(file.place)
        return Side(place, by_split)
    ref = parse_ref(place)
    version = Store(store).find(ref)
    names = [choose_split(version, ref)] if ref.split else list(version.splits)
    if unknown := set(names) - set(SPLITS):
        raise DataError(
            f"{ref}: cannot compare the splits {', '.join(sorted(unknown))}; known: {', '.join(SPLITS)}"
        )
    splits = {split: [str(path) for path in files_of(version, split)] for split in SPLITS if split in names}
    return Side(version.ref + (f"/{ref.split}" if ref.split else ""), splits)


def _is_path(place: str) -> bool:
    """Whether a file is meant: it exists, or it looks like nothing else, so that the error says "no such file"."""
    looks = "://" in place or place.startswith((".", "/", "~")) or any(sign in place for sign in "*?[")
    return looks or Path(place).exists() or Path(place).suffix in _FILE_ENDINGS


def compare_rows(a: Side, b: Side, *, num_examples: int = 3, on_bytes: OnBytes | None = None) -> Difference:
    """What differs from `a` to `b`. Raises DataError where a file as a whole cannot be read."""
    found = Difference(a.label, b.label)
    files = _open((a, b))
    with tempfile.TemporaryDirectory(prefix="luthier-diff-") as folder:
        parts = _Parts(Path(folder))
        for side, split, file in files:
            column = SPLITS.index(split)
            for row, checked in file.rows(split, on_bytes):
                if isinstance(row, UnreadableRow):
                    found.unreadable[side, column] += 1
                    continue
                found.rows[side, column] += 1
                content = checked.content_id or _raw_id(row)
                parts.add((checked.prompt_id or content, content, row.number, file.index, side, column))
        first = _First(num_examples)
        for records in parts.each():
            _compare(records, found, first)
    found.examples = first.read(files)
    return found


def _open(sides: Sequence[Side]) -> list[_File]:
    """The files of both sides; records name them by their place in this list."""
    files: list[_File] = []
    for number, side in enumerate(sides):
        for split, places in side.splits.items():
            files += [(number, split, one) for one in open_inputs(places, first_index=len(files))]
    return files


def _raw_id(row: Row) -> int:
    """A row that says nothing to a model is what its fields are."""
    return identity("raw", json.dumps(row.value, sort_keys=True, ensure_ascii=False, default=str))


class _Parts:
    """Records on disk, in parts by their key: equal keys meet in one part."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buffer: list[tuple[int, ...]] = []

    def add(self, record: tuple[int, ...]) -> None:
        self._buffer.append(record)
        if len(self._buffer) >= _BUFFERED:
            self._write()

    def each(self) -> Iterator[Records]:
        """The parts, each sorted by key, content, side, file and number."""
        self._write()
        for path in sorted(self._folder.iterdir()):
            records = np.fromfile(path, _RECORD)
            columns = ("number", "file", "side", "content", "key")
            yield records[np.lexsort([records[column] for column in columns])]

    def _write(self) -> None:
        records = np.array(self._buffer, dtype=_RECORD)
        self._buffer = []
        part = records["key"] % np.uint64(_NUM_PARTS)
        for number in np.unique(part):
            with (self._folder / f"{number}.bin").open("ab") as file:
                file.write(records[part == number].tobytes())


def _compare(records: Records, found: Difference, first: "_First") -> None:
    """Add what differs in one part to the counts. A group is the rows of one content."""
    groups = _starts_of_groups(records)
    group = np.repeat(np.arange(len(groups)), np.diff(groups, append=len(records)))
    cell = group * 6 + records["side"].astype(np.int64) * 3 + records["split"]
    counts = np.bincount(cell, minlength=6 * len(groups)).reshape(-1, 2, 3)
    found.distinct += (counts > 0).sum(axis=0)
    kept = counts.min(axis=1)
    found.kept += kept.sum(axis=0)
    left, came = counts[:, 0] - kept, counts[:, 1] - kept
    for i, j in np.ndindex(3, 3):
        moved = np.minimum(left[:, i], came[:, j])
        left[:, i] -= moved
        came[:, j] -= moved
        found.moved[i, j] += moved.sum()
        first.note("moved", records[groups[moved > 0]], SPLITS[i], to=SPLITS[j])
    in_both = (counts.sum(axis=2) > 0).all(axis=1)
    found.removed_copies += left[in_both].sum(axis=0)
    found.added_copies += came[in_both].sum(axis=0)
    found.removed += left[in_both].sum(axis=0)
    found.added += came[in_both].sum(axis=0)
    left[in_both] = 0
    came[in_both] = 0
    _compare_prompts(records[groups], left, came, found, first)


def _starts_of_groups(records: Records) -> NDArray[np.int64]:
    """Where the rows of one key and content begin."""
    same_key = records["key"][1:] == records["key"][:-1]
    same = same_key & (records["content"][1:] == records["content"][:-1])
    return np.flatnonzero(np.concatenate(([True], ~same)))


def _compare_prompts(heads: Records, gone: Counts, new: Counts, found: Difference, first: "_First") -> None:
    """Rows of one side only: under one prompt and in one split, as many as both sides have were changed.

    heads: the first record of each group; gone, new: rows by group and split, shape (num_groups, 3).
    """
    prompts = starts(heads["key"])
    gone_by_prompt, new_by_prompt = (np.add.reduceat(some, prompts, axis=0) for some in (gone, new))
    changed = np.minimum(gone_by_prompt, new_by_prompt)
    found.changed += changed.sum(axis=0)
    found.removed += (gone_by_prompt - changed).sum(axis=0)
    found.added += (new_by_prompt - changed).sum(axis=0)
    prompt = np.repeat(np.arange(len(prompts)), np.diff(prompts, append=len(heads)))
    for i, split in enumerate(SPLITS):
        in_gone, in_new = gone[:, i] > 0, new[:, i] > 0
        first.note("removed", heads[in_gone & (gone_by_prompt > changed)[prompt, i]], split)
        first.note("added", heads[in_new & (new_by_prompt > changed)[prompt, i]], split)
        pairs = changed[prompt, i] > 0
        old, after = heads[in_gone & pairs], heads[in_new & pairs]
        first.note("changed", old[starts(old["key"])], split, after=after[starts(after["key"])])


class _First:
    """The earliest rows of each kind of difference, to be shown."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._noted: dict[str, list[tuple[RowKey, SplitName, SplitName | None, RowKey | None]]] = {}

    def note(
        self,
        kind: str,
        records: Records,
        split: SplitName,
        *,
        to: SplitName | None = None,
        after: Records | None = None,
    ) -> None:
        """Keep the earliest of the records; `after` has for each the record that took its place."""
        order = np.lexsort((records["number"], records["file"]))[: self._limit]
        noted = self._noted.setdefault(kind, [])
        for at in order:
            noted.append((_key(records[at]), split, to, None if after is None else _key(after[at])))
        noted.sort(key=lambda one: one[0])
        del noted[self._limit :]

    def read(self, files: Sequence[_File]) -> dict[str, list[Example]]:
        """The examples, with the texts of their rows, which are read again."""
        noted = [one for some in self._noted.values() for one in some]
        texts = _texts(files, {key for one in noted for key in (one[0], one[3]) if key is not None})
        examples: dict[str, list[Example]] = {"added": [], "removed": [], "moved": [], "changed": []}
        for kind, some in self._noted.items():
            for key, split, to, after in some:
                examples[kind].append(Example(split, texts[key], to, None if after is None else texts[after]))
        return examples


def _texts(files: Sequence[_File], keys: Iterable[RowKey]) -> dict[RowKey, str]:
    """What rows say, in a line each."""
    wanted: dict[int, set[int]] = {}
    for key in keys:
        wanted.setdefault(key.file, set()).add(key.number)
    texts = {}
    for index, numbers in wanted.items():
        _, split, file = files[index]
        for number, row in read_at(file.source, numbers).items():
            key = RowKey(index, number)
            texts[key] = check_row(row, key, split, file.format).summary
    return texts


def _key(record: np.void) -> RowKey:
    return RowKey(int(record["file"]), int(record["number"]))
