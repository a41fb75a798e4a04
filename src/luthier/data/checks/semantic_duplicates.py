"""Check for rows that say the same as an earlier one in other words, where the user asks for it (`--semantic`).

Question and answer are turned into a vector of meaning; every pair of rows of a split is compared, so that the work
grows with the square of their number: no more than the first 20,000 rows of a split are looked at.
Knows nothing of the model that makes the vectors.
"""

from collections.abc import Iterable
from typing import Self

import numpy as np

from luthier.data.checks.check import Check, Context, Totals
from luthier.data.checks.finding import (
    MAX_EXAMPLES,
    MAX_ROWS_NAMED,
    SPLIT_WORDS,
    SPLITS,
    Finding,
    RowKey,
    SplitName,
)
from luthier.data.checks.near_duplicates import beside
from luthier.data.checks.row import CheckedRow
from luthier.data.excerpts import Excerpts
from luthier.data.semantic import nearest_earlier, open_embedder, require_embedder

# Among real sets, pairs over it say the same in other words; a little under it stand pairs that differ in a number.
THRESHOLD = 0.95
WARN_SHARE = 0.05
MAX_ROWS = 20_000

_MAX_CHARACTERS = 1200  # the model reads 256 tokens
_BATCH_ROWS = 1024
_BUFFERED_ROWS = 256
_RECORD = np.dtype([("file", "<u4"), ("number", "<u8"), ("split", "u1"), ("content", "<u8")])


class SemanticDuplicates(Check):
    """Texts on disk; turned into vectors when all rows were seen."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if context.semantic:
            require_embedder()  # now, not after all files were read
        self._texts = Excerpts(context.scratch, _MAX_CHARACTERS)
        self._records: list[tuple[int, int, int, int]] = []
        self._pending: list[str] = []
        self._num_seen: dict[SplitName, int] = {}

    def see(self, row: CheckedRow) -> None:
        seen = self._num_seen.get(row.split, 0)
        if not self.context.semantic or row.example is None or seen >= MAX_ROWS:
            return
        self._num_seen[row.split] = seen + 1
        self._records.append((row.key.file, row.key.number, SPLITS.index(row.split), row.content_id))
        if row.example.kind == "text":
            self._pending.append(row.example.text or "")
        else:
            self._pending.append(f"{row.asked[: _MAX_CHARACTERS // 2]}\n{row.answer or ''}")
        if len(self._pending) >= _BUFFERED_ROWS:
            self.finish()

    def finish(self) -> None:
        self._texts.append(self._pending)
        self._pending = []

    def merge(self, later: Self) -> None:
        self._records += later._records
        self._texts.merge(later._texts)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        if not self.context.semantic:
            return
        embed = open_embedder()
        records = np.array(self._records, _RECORD)
        for index, split in enumerate(SPLITS):
            rows = np.flatnonzero(records["split"] == index)[:MAX_ROWS]
            rows = rows[np.sort(np.unique(records["content"][rows], return_index=True)[1])]
            if len(rows) < 2:
                continue
            parts = [
                embed([self._texts[row] for row in rows[start : start + _BATCH_ROWS].tolist()])
                for start in range(0, len(rows), _BATCH_ROWS)
            ]
            pairs = [
                (rows[later], rows[earlier])
                for later, earlier in nearest_earlier(np.concatenate(parts), THRESHOLD)
            ]
            if pairs:
                yield self._finding(split, records, pairs, len(rows), totals)

    def _finding(
        self,
        split: SplitName,
        records: np.ndarray[tuple[int], np.dtype[np.void]],
        pairs: list[tuple[int, int]],
        num_looked_at: int,
        totals: Totals,
    ) -> Finding:
        total = totals.rows[split]
        looked_at = "" if num_looked_at == total else f" ({num_looked_at:,} distinct rows were compared)"
        named = records[[row for row, _ in pairs[:MAX_ROWS_NAMED]]]
        return Finding(
            name="semantic_duplicate_rows",
            severity="warning" if len(pairs) >= WARN_SHARE * num_looked_at else "note",
            split=split,
            message=f"{len(pairs):,} of {total:,} {SPLIT_WORDS[split]} rows say what an earlier one says in other "
            f"words{looked_at}",
            advice="Many wordings of one question help a small model; the same answer again and again does not. Keep "
            "what differs.",
            count=len(pairs),
            share=totals.share(len(pairs), split),
            rows=tuple(RowKey(int(row["file"]), int(row["number"])) for row in named),
            examples=tuple(beside(self._texts[b], self._texts[a]) for a, b in pairs[:MAX_EXAMPLES]),
        )
