"""Check for monotony: rows that begin alike, and prompts or answers that go round the same few word sequences.

Openings are the first four words of the last question and of the answer, without case and punctuation; a system prompt
is none. They are noted on disk and counted exactly, chunk by chunk: an opening that a share of all rows has, at least
that share of one chunk has, so a few candidates a chunk are enough. Distinct sequences of three words are counted by
sketch. Both are looked at in training rows that hold conversations, preferences or judged answers: labels, extracted
JSON and documents are alike by their nature. Knows nothing of duplicates.
"""

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.check import Check, Context, Totals
from luthier.data.checks.finding import (
    MAX_ROWS_NAMED,
    SPLITS,
    Finding,
    RowKey,
    Severity,
    SplitName,
)
from luthier.data.checks.row import CheckedRow, identity
from luthier.data.shingles import ngrams, words
from luthier.data.sketch import DistinctCount

Part = Literal["prompts", "answers", "documents"]

OPENING_WORDS = 4
WORDS_PER_SEQUENCE = 3
# Fewer rows than this begin alike by chance, or are a first try.
MIN_ROWS = 100
# Over this share of answers that begin alike, the opening is what the model learns first.
ALIKE_SHARE = 0.3
# Prompts that nearly all begin alike carry an instruction on purpose.
MEANT_SHARE = 0.9
# Real sets lie between 0.2 and 0.9; a set that goes round a few sentences lies under 0.03.
LOW_DIVERSITY = 0.03
MIN_SEQUENCES = 1000
# Openings under this share are not told.
TOLD_SHARE = 0.05

_KINDS = frozenset({"chat", "preference", "feedback"})
_STRUCTURED = ("{", "[", "<", "`", "|", "(")
_WORD = re.compile(r"[^\W_]+")
_OPENING_CHARACTERS = 200
_OPENING_BYTES = 48
_CHUNK_ROWS = 1 << 19
_BUFFERED_ROWS = 256
_BUFFERED_CHARACTERS = 1 << 18
_MAX_CHARACTERS = 200_000
_OPENING = np.dtype([("id", "<u8"), ("words", f"S{_OPENING_BYTES}")])
_RECORD = np.dtype([("file", "<u4"), ("number", "<u8"), ("prompts", _OPENING), ("answers", _OPENING)])
_NO_OPENING = (0, b"")


@dataclass
class Sequences:
    """Three-word sequences of one part of one split: all of them counted, the distinct ones estimated."""

    num_all: int = 0
    distinct: DistinctCount = field(default_factory=DistinctCount)

    def merge(self, later: "Sequences") -> None:
        self.num_all += later.num_all
        self.distinct.merge(later.distinct)

    @property
    def num_distinct(self) -> int:
        return min(self.num_all, self.distinct.estimate())

    @property
    def share(self) -> float:
        """Distinct sequences by all sequences, 0 to 1."""
        return self.num_distinct / self.num_all if self.num_all else 1.0


class WordDiversity(Check):
    """Distinct three-word sequences by all of them."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sequences: dict[tuple[SplitName, Part], Sequences] = {}
        self._texts: dict[tuple[SplitName, Part], list[str]] = {}
        self._num_texts = 0
        self._num_characters = 0
        self._num_rows = 0

    def see(self, row: CheckedRow) -> None:
        if row.example is None:
            return
        if row.example.kind == "text":
            self._note(row.split, "documents", row.example.text or "")
        elif row.example.kind in _KINDS:
            self._num_rows += row.split == "train"
            for message in row.before:
                if message.role == "user":
                    self._note(row.split, "prompts", message.content)
            self._note(row.split, "answers", row.answer or "")
        if self._num_texts >= _BUFFERED_ROWS or self._num_characters >= _BUFFERED_CHARACTERS:
            self.finish()

    def finish(self) -> None:
        for key, texts in self._texts.items():
            grams = ngrams(words(texts), WORDS_PER_SEQUENCE, short=False).hashes
            sequences = self._sequences.setdefault(key, Sequences())
            sequences.num_all += len(grams)
            sequences.distinct.add(grams)
        self._texts, self._num_texts, self._num_characters = {}, 0, 0

    def merge(self, later: Self) -> None:
        for key, sequences in later._sequences.items():
            self._sequences.setdefault(key, Sequences()).merge(sequences)
        self._num_rows += later._num_rows

    def findings(self, totals: Totals) -> Iterable[Finding]:
        if self._num_rows < MIN_ROWS:
            return
        parts: tuple[tuple[Part, str], ...] = (("answers", "Word the answers"), ("prompts", "Ask"))
        for part, advice in parts:
            found = self._sequences.get(("train", part))
            if found is None or found.num_all < MIN_SEQUENCES or found.share >= LOW_DIVERSITY:
                continue
            yield Finding(
                "low_diversity",
                "warning",
                "train",
                f"only {found.num_distinct:,} of {found.num_all:,} three-word sequences in the {part} are different "
                f"({found.share:.1%})",
                f"The model will learn these sentences by heart. {advice} in many ways; more passes over the same "
                "sentences are epochs, not rows.",
                count=self._num_rows,
                share=totals.share(self._num_rows, "train"),
                examples=(),
            )

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        told: dict[str, Any] = {}
        for split in SPLITS:
            for (where, part), found in sorted(self._sequences.items()):
                if where == split and found.num_all:
                    told.setdefault(split, {})[part] = {
                        "sequences": found.num_all,
                        "distinct_sequences": found.num_distinct,
                        "diversity": round(found.share, 4),
                    }
        return {"diversity": told} if told else {}

    def _note(self, split: SplitName, part: Part, text: str) -> None:
        text = text[:_MAX_CHARACTERS]
        self._texts.setdefault((split, part), []).append(text)
        self._num_texts += 1
        self._num_characters += len(text)


class RepeatedOpenings(Check):
    """Rows of train that begin with the same four words."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._files: list[Path] = []
        self._pending: list[tuple[Any, ...]] = []
        self._num_rows = 0

    def see(self, row: CheckedRow) -> None:
        if row.split != "train" or row.example is None or row.example.kind not in _KINDS:
            return
        asked, said = opening(row.asked), opening(row.answer or "")
        self._pending.append((row.key.file, row.key.number, asked, said))
        self._num_rows += 1
        if len(self._pending) >= _CHUNK_ROWS >> 5:
            self.finish()

    def finish(self) -> None:
        if not self._pending:
            return
        if not self._files:
            self._files.append(self.context.scratch / f"openings-{uuid.uuid4().hex}.bin")
        with self._files[-1].open("ab") as file:
            file.write(np.array(self._pending, dtype=_RECORD).tobytes())
        self._pending = []

    def merge(self, later: Self) -> None:
        self._files += later._files
        self._num_rows += later._num_rows

    def findings(self, totals: Totals) -> Iterable[Finding]:
        if self._num_rows < MIN_ROWS:
            return
        parts: tuple[tuple[Part, str, Severity], ...] = (
            ("answers", "answers", "warning"),
            ("prompts", "questions", "note"),
        )
        for part, word, severity in parts:
            for count, text, rows in self._common(part, ALIKE_SHARE):
                if part == "prompts" and count >= MEANT_SHARE * self._num_rows:
                    continue
                yield Finding(
                    "repeated_openings",
                    severity,
                    "train",
                    f'{count:,} of {self._num_rows:,} {word} begin with "{text}"',
                    "The model will begin so whatever is asked. Word the beginnings differently, unless it is meant."
                    if part == "answers"
                    else "Questions that begin otherwise may not be understood. Ask as your users will ask.",
                    count=count,
                    share=totals.share(count, "train"),
                    rows=rows,
                    shown=rows[:2],
                )

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        if self._num_rows < MIN_ROWS:
            return {}
        parts: tuple[Part, ...] = ("prompts", "answers")
        told = {
            part: [
                {"words": text, "count": count, "share": round(count / self._num_rows, 4)}
                for count, text, _ in self._common(part, TOLD_SHARE)
            ]
            for part in parts
        }
        return {"openings": told}

    def _common(self, part: Part, share: float) -> list[tuple[int, str, tuple[RowKey, ...]]]:
        """(count, words, first rows) of the openings that at least this share of the rows has, most frequent first."""
        candidates: set[int] = set()
        for chunk in self._chunks():
            ids, counts = np.unique(chunk[part]["id"], return_counts=True)
            candidates.update(ids[(counts >= share * len(chunk)) & (ids != 0)].tolist())
        counted = dict.fromkeys(candidates, 0)
        rows: dict[int, list[RowKey]] = {one: [] for one in candidates}
        texts: dict[int, str] = {}
        for chunk in self._chunks():
            for one in candidates:
                same = np.flatnonzero(chunk[part]["id"] == one)
                counted[one] += len(same)
                for record in chunk[same[: MAX_ROWS_NAMED - len(rows[one])]]:
                    rows[one].append(RowKey(int(record["file"]), int(record["number"])))
                    texts.setdefault(one, record[part]["words"].decode("utf-8", "ignore"))
        frequent = [one for one in candidates if counted[one] >= share * self._num_rows]
        frequent.sort(key=lambda one: (-counted[one], texts[one]))
        return [(counted[one], texts[one], tuple(rows[one])) for one in frequent]

    def _chunks(self) -> Iterator[NDArray[np.void]]:
        for path in self._files:
            size = path.stat().st_size // _RECORD.itemsize
            for start in range(0, size, _CHUNK_ROWS):
                count = min(_CHUNK_ROWS, size - start)
                yield np.fromfile(path, _RECORD, count=count, offset=start * _RECORD.itemsize)


def opening(text: str) -> tuple[int, bytes]:
    """(identity, words) of the first four words; (0, b"") of shorter texts and of those that begin as JSON or code."""
    text = text[:_OPENING_CHARACTERS].lstrip()
    first = [match.group() for match in islice(_WORD.finditer(text), OPENING_WORDS)]
    if len(first) < OPENING_WORDS or text.startswith(_STRUCTURED):
        return _NO_OPENING
    told = " ".join(first).casefold()
    return identity(told), told.encode("utf-8", "replace")[:_OPENING_BYTES]
