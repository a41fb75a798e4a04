"""Which rows belong together, so that no split tears them apart: same question, near-duplicates, same document.

Rows are seen one by one; identities (about 40 bytes a row) stay in memory, signatures lie on disk. Rows are joined
where they ask the same, where the pairs of neighbouring words of their questions nearly agree, and where a field that
the user names (a document, a paraphrase family) has the same value; what is joined with the same row is joined
(connected components). A group is named by its earliest row in the order of reading, so that rows which come later do
not rename it.

The threshold lies under the one at which `luthier data check` speaks of a leak, so that an estimate on the border
never puts two rows on two sides that the check would then find. Knows nothing of sides.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.data.checks.near_duplicates import WORDS_PER_SHINGLE, question_text
from luthier.data.checks.row import CheckedRow, identity
from luthier.data.minhash import signatures
from luthier.data.neighbours import Indices, Mask, among_all, common_values, near_pairs
from luthier.data.shingles import Hashes, shingles
from luthier.data.signature_store import SignatureStore
from luthier.hashing import canonical_json

GROUP_THRESHOLD = 0.6
# A template is learned from so many distinct questions, the first: later rows must not change what is one.
TEMPLATE_ROWS = 1000

_BUFFERED_ROWS = 256
_BUFFERED_CHARACTERS = 1 << 18
_JOINED_AT_A_TIME = 1 << 16


@dataclass(frozen=True)
class Groups:
    """first: for each row the index of the earliest row of its group; names: 64 bits that name the group."""

    first: Indices
    names: Hashes


class Grouping:
    """`see` every row, then ask for the `groups`. The scratch folder must outlive it."""

    def __init__(self, scratch: Path, *, near_duplicates: bool = True) -> None:
        self._scratch = scratch
        self._near_duplicates = near_duplicates
        self._store = SignatureStore(scratch)
        self._records: list[Hashes] = []
        self._pending: list[tuple[int, int, int]] = []
        self._texts: list[str] = []
        self._num_characters = 0

    def see(self, row: CheckedRow, family: Any = None) -> None:
        """Take note of a row; `family` is the value of the field that says which rows belong together, or None."""
        content = row.content_id or identity(
            "row", canonical_json(row.value).decode("utf-8", "surrogatepass")
        )
        of_family = 0 if family is None else identity("family", str(family))
        self._pending.append((content, row.question_id or content, of_family))
        text = question_text(row) if self._near_duplicates else ""
        self._texts.append(text)
        self._num_characters += len(text)
        if len(self._pending) == _BUFFERED_ROWS or self._num_characters >= _BUFFERED_CHARACTERS:
            self._flush()

    def groups(self) -> Groups:
        """The groups of all rows that were seen."""
        self._flush()
        records = np.concatenate(self._records) if self._records else np.empty((0, 3), np.uint64)
        contents, questions, families = (np.ascontiguousarray(records[:, i]) for i in range(3))
        first = np.arange(len(records), dtype=np.int64)
        first = _joined(first, *_chains(questions))
        first = _joined(first, *_chains(families))
        if self._near_duplicates and len(first):
            first = self._with_near_duplicates(first, questions)
        named = np.where(families != 0, families, contents)
        return Groups(first, named[first])

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._near_duplicates:
            self._store.append(signatures(shingles(self._texts, WORDS_PER_SHINGLE)))
        self._records.append(np.array(self._pending, np.uint64))
        self._pending, self._texts, self._num_characters = [], [], 0

    def _with_near_duplicates(self, first: Indices, questions: Hashes) -> Indices:
        chosen = np.sort(np.unique(questions, return_index=True)[1])
        found: list[tuple[Indices, Indices]] = []

        def wanted(earlier: Indices, later: Indices) -> Mask:
            apart: Mask = first[earlier] != first[later]
            return apart

        common = common_values(self._store, chosen[:TEMPLATE_ROWS])
        for pair in near_pairs(
            self._store, chosen, common, GROUP_THRESHOLD, among_all, wanted, self._scratch
        ):
            found.append(pair)
            if sum(len(earlier) for earlier, _ in found) >= _JOINED_AT_A_TIME:
                first = _joined(first, *map(np.concatenate, zip(*found, strict=True)))
                found = []
        return _joined(first, *map(np.concatenate, zip(*found, strict=True))) if found else first


def _chains(values: Hashes) -> tuple[Indices, Indices]:
    """Pairs that link all rows of equal values in a chain; 0 is no value."""
    order = np.argsort(values, kind="stable")
    same = (values[order[1:]] == values[order[:-1]]) & (values[order[1:]] != 0)
    return order[:-1][same], order[1:][same]


def _joined(first: Indices, one: Indices, other: Indices) -> Indices:
    """The earliest row of each row's group, after pairs of rows were joined."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(one):
        return first
    size = len(first)
    rows = np.concatenate((np.arange(size, dtype=np.int64), one))
    columns = np.concatenate((first, other))
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(size, size))
    num_groups, labels = connected_components(graph, directed=False)
    earliest = np.full(num_groups, size, np.int64)
    np.minimum.at(earliest, labels, np.arange(size, dtype=np.int64))
    found: Indices = earliest[labels]
    return found
