"""Check for near-duplicates: rows that nearly repeat an earlier one, and questions that nearly stand in another split.

A row is compared by the pairs of neighbouring words of its questions and answers, system turns left out, with case and
punctuation folded. Rows nearly repeat each other where the estimated similarity of these pairs is 0.8 and their
answers are alike too (0.5): another label, number or name as the whole answer is another row. Questions are compared
alone, at 0.7. What a template gives to all rows is left out (`luthier.data.neighbours`).

Exact copies are not counted again: other checks find them. Knows nothing of what near-duplicates cost.
"""

from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.check import Check, Context, Totals
from luthier.data.checks.finding import (
    MAX_EXAMPLE_CHARACTERS,
    MAX_EXAMPLES,
    MAX_ROWS_NAMED,
    SPLIT_WORDS,
    SPLITS,
    Finding,
    RowKey,
    Severity,
    SplitName,
    shorten,
)
from luthier.data.checks.row import CheckedRow
from luthier.data.excerpts import Excerpts
from luthier.data.minhash import signatures, similarity, union
from luthier.data.neighbours import Indices, Mask, across, among_all, common_values, near_pairs
from luthier.data.shingles import shingles
from luthier.data.signature_store import SignatureStore

WORDS_PER_SHINGLE = 2
ROW_THRESHOLD = 0.8
QUESTION_THRESHOLD = 0.7
ANSWER_THRESHOLD = 0.5
# Below these shares a few coincidences are no trouble: a note instead of a warning.
WARN_SHARE_OF_ROWS = 0.05
WARN_SHARE_OF_LEAK = 0.01
# What is compared of one text, and how many rows: what bounds the memory.
MAX_CHARACTERS = 200_000
MAX_ROWS = 10_000_000

_BUFFERED_ROWS = 256
_BUFFERED_CHARACTERS = 1 << 18
_ANSWER_PLACES = 32
_EXCERPT_CHARACTERS = 600
_SHOWN_BEFORE = 30
_RECORD = np.dtype(
    [("file", "<u4"), ("number", "<u8"), ("split", "u1"), ("content", "<u8"), ("question", "<u8")]
)

Records = NDArray[np.void]
Pairs = NDArray[np.int64]  # (num_pairs, 2): a row, and the earlier row that it is near to


def question_text(row: CheckedRow) -> str:
    """What is asked: the turns before the answer without system turns; of a document, all of it."""
    if row.example is not None and row.example.kind == "text":
        return (row.example.text or "")[:MAX_CHARACTERS]
    return "\n".join(m.content for m in row.before if m.role != "system")[:MAX_CHARACTERS]


def answer_text(row: CheckedRow) -> str:
    """What is answered, the rejected answer too."""
    rejected = row.example.rejected if row.example is not None else ()
    return "\n".join([row.answer or "", *(m.content for m in rejected)])[:MAX_CHARACTERS]


class NearDuplicates(Check):
    """Signatures of questions and of rows on disk; compared band by band when all rows were seen."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._records: list[NDArray[np.void]] = []
        self._questions = SignatureStore(context.scratch)
        self._rows = SignatureStore(context.scratch)
        self._answers = SignatureStore(context.scratch, _ANSWER_PLACES)
        self._excerpts = Excerpts(context.scratch, _EXCERPT_CHARACTERS)
        self._pending: list[tuple[int, ...]] = []
        self._texts: list[str] = []
        self._num_characters = 0
        self._num_seen = 0

    def see(self, row: CheckedRow) -> None:
        if row.example is None or self._num_seen >= MAX_ROWS:
            return
        self._num_seen += 1
        question, answer = question_text(row), answer_text(row)
        asked = row.question_id or row.content_id
        self._pending.append((row.key.file, row.key.number, SPLITS.index(row.split), row.content_id, asked))
        self._texts += (question, answer)
        self._num_characters += len(question) + len(answer)
        if len(self._pending) == _BUFFERED_ROWS or self._num_characters >= _BUFFERED_CHARACTERS:
            self.finish()

    def finish(self) -> None:
        if not self._pending:
            return
        found = signatures(shingles(self._texts, WORDS_PER_SHINGLE))
        questions, answers = found[0::2], found[1::2]
        self._questions.append(questions)
        self._rows.append(union(questions, answers))
        self._answers.append(answers[:, :_ANSWER_PLACES])
        shown = zip(self._texts[0::2], self._texts[1::2], strict=True)
        self._excerpts.append(
            [f"{asked[:400]} -> {said}" if said.strip() else asked for asked, said in shown]
        )
        self._records.append(np.array(self._pending, dtype=_RECORD))
        self._pending, self._texts, self._num_characters = [], [], 0

    def merge(self, later: Self) -> None:
        self._records += later._records
        self._questions.merge(later._questions)
        self._rows.merge(later._rows)
        self._answers.merge(later._answers)
        self._excerpts.merge(later._excerpts)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        records = np.concatenate(self._records)[:MAX_ROWS] if self._records else np.empty(0, _RECORD)
        for index, split in enumerate(SPLITS):
            own = np.flatnonzero(records["split"] == index)
            own = own[_first_of_each(records["content"][own])]
            pairs = self._within(own)
            if len(pairs):
                yield self._repeated(split, records, pairs, len(own), totals)
        for later, earlier in ((1, 0), (2, 0), (2, 1)):
            pairs = self._between(records, later, earlier)
            if len(pairs):
                yield self._leaked(SPLITS[later], SPLITS[earlier], records, pairs, totals)

    def repeats(self, split: SplitName) -> tuple[Records, Records]:
        """(rows that nearly repeat an earlier one of the split, those rows), aligned: `file` and `number` of each."""
        records = np.concatenate(self._records)[:MAX_ROWS] if self._records else np.empty(0, _RECORD)
        own = np.flatnonzero(records["split"] == SPLITS.index(split))
        pairs = self._within(own[_first_of_each(records["content"][own])])
        return records[pairs[:, 0]], records[pairs[:, 1]]

    def _within(self, chosen: Indices) -> Pairs:
        """(row, earlier row that it nearly repeats), by row, among distinct rows of one split."""
        found: dict[int, int] = {}
        seen = np.zeros(int(chosen[-1]) + 1 if len(chosen) else 0, np.bool_)

        def wanted(_: Indices, later: Indices) -> Mask:
            return ~seen[later]

        common, scratch = common_values(self._rows, chosen), self.context.scratch
        for first, second in near_pairs(
            self._rows, chosen, common, ROW_THRESHOLD, among_all, wanted, scratch
        ):
            said = similarity(self._answers.rows(first), self._answers.rows(second)) >= ANSWER_THRESHOLD
            for earlier, later in zip(first[said].tolist(), second[said].tolist(), strict=True):
                found.setdefault(later, earlier)
                seen[later] = True
        return np.array(sorted(found.items()), np.int64).reshape(-1, 2)

    def _between(self, records: Records, later: int, earlier: int) -> Pairs:
        """(row, row of the earlier split whose question is nearly its own), by row; exact matches left out."""
        questions, contents = records["question"], records["content"]
        before = np.flatnonzero(records["split"] == earlier)
        rows = np.flatnonzero(records["split"] == later)
        same = np.isin(questions[rows], questions[before]) | np.isin(contents[rows], contents[before])
        rows = rows[~same]
        asked = rows[_first_of_each(questions[rows])]
        before = before[_first_of_each(questions[before])]
        if not len(asked) or not len(before):
            return np.empty((0, 2), np.int64)
        partner = np.full(len(records), -1, np.int64)

        def wanted(_: Indices, second: Indices) -> Mask:
            unpaired: Mask = partner[second] < 0
            return unpaired

        chosen = np.concatenate((before, asked))
        common, scratch = common_values(self._questions, chosen), self.context.scratch
        for first, second in near_pairs(
            self._questions, chosen, common, QUESTION_THRESHOLD, across(len(before)), wanted, scratch
        ):
            partner[second] = first
        order = np.argsort(questions[asked])
        of_row = asked[order[np.searchsorted(questions[asked], questions[rows], sorter=order)]]
        near = partner[of_row] >= 0
        return np.stack((rows[near], partner[of_row[near]]), axis=1)

    def _repeated(
        self, split: SplitName, records: Records, pairs: Pairs, num_distinct: int, totals: Totals
    ) -> Finding:
        distinct = "" if num_distinct == totals.rows[split] else "distinct "
        rows = f"{len(pairs):,} of {num_distinct:,} {distinct}{SPLIT_WORDS[split]} rows"
        return self._finding(
            "near_duplicate_rows",
            "warning" if len(pairs) >= WARN_SHARE_OF_ROWS * num_distinct else "note",
            split,
            f"{rows} nearly repeat an earlier one",
            "They teach little that is new: keep the best of each, or leave them where the small difference is the "
            "point. `luthier data split` keeps them on one side.",
            records,
            pairs,
            totals,
        )

    def _leaked(
        self, later: SplitName, earlier: SplitName, records: Records, pairs: Pairs, totals: Totals
    ) -> Finding:
        return self._finding(
            f"{later}_near_duplicates_in_{earlier}",
            "warning" if len(pairs) >= WARN_SHARE_OF_LEAK * totals.rows[later] else "note",
            later,
            f"{_counted(len(pairs), totals.rows[later], later)} ask nearly what a {SPLIT_WORDS[earlier]} row asks",
            "They measure memory as much as skill. Split with `luthier data split`, which keeps near-duplicates "
            "together, or ask in other words.",
            records,
            pairs,
            totals,
        )

    def _finding(
        self,
        name: str,
        severity: Severity,
        split: SplitName,
        message: str,
        advice: str,
        records: Records,
        pairs: Pairs,
        totals: Totals,
    ) -> Finding:
        named = records[pairs[:MAX_ROWS_NAMED, 0]]
        examples = (beside(self._excerpts[a], self._excerpts[b]) for b, a in pairs[:MAX_EXAMPLES].tolist())
        return Finding(
            name=name,
            severity=severity,
            split=split,
            message=message,
            advice=advice,
            count=len(pairs),
            share=totals.share(len(pairs), split),
            rows=tuple(RowKey(int(row["file"]), int(row["number"])) for row in named),
            examples=tuple(examples),
        )


def beside(first: str, second: str) -> str:
    """Two texts in one line, `... ~ ...`, both from a little before the place where they begin to differ."""
    first, second = " ".join(first.split()), " ".join(second.split())
    same = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    start = first.rfind(" ", 0, max(0, same - _SHOWN_BEFORE)) + 1 if same > _SHOWN_BEFORE else 0
    mark = "… " if start else ""
    return " ~ ".join(
        mark + shorten(text[start:], MAX_EXAMPLE_CHARACTERS // 2 - 4) for text in (first, second)
    )


def _counted(count: int, total: int, split: SplitName) -> str:
    return f"{count:,} of {total:,} {SPLIT_WORDS[split]} rows"


def _first_of_each(values: NDArray[np.uint64]) -> Indices:
    """Where each value stands first, in order."""
    return np.sort(np.unique(values, return_index=True)[1])
