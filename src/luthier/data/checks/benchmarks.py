"""Check against evaluation files: rows that hold thirteen words in a row of an item that the model will be measured on.

An item is turned into hashes of every thirteen neighbouring words of its question and of its answer (the measure of
GPT-3, Brown et al. 2020, appendix C). A question of 8 to 12 words is one hash and counts wherever a row holds it; one
of 5 to 7 words counts where a turn of a row says it and nothing else, as so few words occur by chance. Sequences that
many items of one benchmark share are its template and are left out. Hashes hold no text: a benchmark can be shipped
without giving its items away. Knows nothing of graders and scores.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLIT_WORDS, Finding, RowKey, Severity, SplitName
from luthier.data.checks.row import CheckedRow, check_row
from luthier.data.formats import recognise_file
from luthier.data.rows import Row, place_of
from luthier.data.shingles import Grams, Hashes, ngrams, words
from luthier.data.sources import find_files, read_every_row
from luthier.errors import DataError

WORDS = 13
MIN_CONTAINED_WORDS = 8
MIN_WORDS = 5
# A sequence of more items than this, and than this share of them, is what the benchmark always says.
MAX_ITEMS_ALIKE = 3
MAX_SHARE_ALIKE = 0.05
OWN = "luthier"

_SEVERITIES: dict[SplitName, Severity] = {"train": "error", "valid": "warning"}
_FILTER_BITS = 20
_BUFFERED_ROWS = 256
_BUFFERED_CHARACTERS = 1 << 18
_PIECE_CHARACTERS = 1 << 20
_OVERLAP_CHARACTERS = 1 << 10


@dataclass(frozen=True)
class Benchmark:
    """The frozen hashes of evaluation items; can be pickled.

    grams: number of words -> (hashes, ascending; the index in `places` of the first item that has each).
    places: how an item is named, `items.jsonl:12`.
    """

    name: str
    grams: Mapping[int, tuple[Hashes, NDArray[np.int32]]]
    places: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without any text of the items."""
        grams = {str(n): [hashes.tolist(), items.tolist()] for n, (hashes, items) in self.grams.items()}
        return {"name": self.name, "places": list(self.places), "grams": grams}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "Benchmark":
        grams = {
            int(n): (np.array(hashes, np.uint64), np.array(items, np.int32))
            for n, (hashes, items) in value["grams"].items()
        }
        return Benchmark(value["name"], grams, tuple(value["places"]))


def read_benchmarks(place: str | Path) -> list[Benchmark]:
    """The benchmarks that a place names: an evaluation file in any format, or `luthier` for Luthier's own.

    Raises DataError where a file cannot be read or holds nothing that could be compared.
    """
    return own_benchmarks() if str(place) == OWN else [read_benchmark(place)]


def own_benchmarks() -> list[Benchmark]:
    """The hashes of the test questions that Luthier ships."""
    folder = resources.files("luthier.data").joinpath("benchmark_hashes")
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".json")), key=lambda one: one.name)
    return [Benchmark.from_dict(json.loads(one.read_text("utf-8"))) for one in files]


def read_benchmark(place: str | Path) -> Benchmark:
    """The hashes of an evaluation file, folder or glob. Raises DataError as `read_benchmarks`."""
    places: list[str] = []
    texts: list[str] = []
    item_of: list[int] = []
    is_question: list[bool] = []
    for file in find_files(place):
        file_format = recognise_file(row.value for row in read_every_row(file) if isinstance(row, Row))
        for row in read_every_row(file):
            if not isinstance(row, Row):
                raise DataError(row.problem)
            checked = check_row(row, RowKey(0, row.number), "test", file_format)
            for question, text in _item_texts(checked):
                texts.append(text)
                item_of.append(len(places))
                is_question.append(question)
            places.append(place_of(row.file, row.number, row.unit))
    found = freeze(str(place), places, texts, item_of, is_question)
    if not found.grams:
        raise DataError(
            f"{place}: none of its {len(places)} items has a question of at least {MIN_WORDS} words, so nothing can "
            "be compared; expected evaluation items or rows with a question and an answer"
        )
    return found


def freeze(
    name: str,
    places: Sequence[str],
    texts: Sequence[str],
    item_of: Sequence[int],
    is_question: Sequence[bool],
) -> Benchmark:
    """The hashes of texts of items. Short texts count only where they are questions."""
    whole = words(texts)
    counts = np.diff(whole.offsets)
    items = np.array(item_of, np.int32)
    questions = np.array(is_question, np.bool_)
    grams = {}
    for n in range(MIN_WORDS, WORDS + 1):
        kept = (counts >= n) if n == WORDS else (counts == n) & questions
        part = ngrams(whole, n, short=False)
        sizes = np.diff(part.offsets)
        mine = np.repeat(kept, sizes)
        hashes, of = part.hashes[mine], np.repeat(items, sizes)[mine]
        hashes, of = _without_template(hashes, of, len(places))
        if len(hashes):
            grams[n] = (hashes, of)
    return Benchmark(name, grams, tuple(places))


class BenchmarkOverlap(Check):
    """Rows of train and valid that hold text of a benchmark."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._tallies = Tallies()
        self._pending: list[tuple[CheckedRow, int]] = []
        self._texts: list[str] = []
        self._num_characters = 0
        self._filters: dict[tuple[str, int], NDArray[np.bool_]] = {}

    def see(self, row: CheckedRow) -> None:
        if not self.context.benchmarks or row.split == "test" or row.example is None:
            return
        texts = [piece for text in row.texts() for piece in _pieces(text)]
        self._pending.append((row, len(texts)))
        self._texts += texts
        self._num_characters += sum(map(len, texts))
        if len(self._pending) >= _BUFFERED_ROWS or self._num_characters >= _BUFFERED_CHARACTERS:
            self._look()

    def finish(self) -> None:
        self._look()
        self._filters = {}

    def merge(self, later: Self) -> None:
        self._tallies.merge(later._tallies)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for (split, name), tally in self._tallies.items():
            total = totals.rows[split]
            yield tally.finding(
                "benchmark_overlap",
                _SEVERITIES[split],
                split,
                totals,
                f"{tally.count:,} of {total:,} {SPLIT_WORDS[split]} rows hold text of the benchmark {name}",
                "Remove them: a model that has read its exam is not measured by it.",
            )

    def _look(self) -> None:
        """Compare what is buffered with every benchmark."""
        if not self._pending:
            return
        row_of = np.repeat(np.arange(len(self._pending)), [count for _, count in self._pending])
        whole = words(self._texts)
        grams: dict[int, tuple[Hashes, NDArray[np.int64]]] = {}
        for name, benchmark in self.context.benchmarks.items():
            hits: dict[int, int] = {}
            for n, (hashes, items) in benchmark.grams.items():
                if n not in grams:
                    grams[n] = _grams_of_rows(whole, n, row_of)
                for row, item in self._hits(name, n, hashes, items, *grams[n]):
                    hits.setdefault(row, item)
            for row, item in sorted(hits.items()):
                checked = self._pending[row][0]
                example = f"{benchmark.places[item]} ~ {checked.summary}"
                self._tallies[checked.split, name].add(checked, example)
        self._pending, self._texts, self._num_characters = [], [], 0

    def _hits(
        self,
        name: str,
        n: int,
        hashes: Hashes,
        items: NDArray[np.int32],
        found: Hashes,
        row_of: NDArray[np.int64],
    ) -> Iterator[tuple[int, int]]:
        """(row, item) where a row's sequence is one of the benchmark's; most are ruled out by their last 20 bits."""
        low = np.uint64((1 << _FILTER_BITS) - 1)
        if (name, n) not in self._filters:
            known = np.zeros(1 << _FILTER_BITS, np.bool_)
            known[hashes & low] = True
            self._filters[name, n] = known
        maybe = np.flatnonzero(self._filters[name, n][found & low])
        place = np.minimum(np.searchsorted(hashes, found[maybe]), len(hashes) - 1)
        same = hashes[place] == found[maybe]
        return zip(row_of[maybe[same]].tolist(), items[place[same]].tolist(), strict=True)


def _grams_of_rows(whole: Grams, n: int, row_of: NDArray[np.int64]) -> tuple[Hashes, NDArray[np.int64]]:
    """The sequences of n words of every row, and the row of each; few words count only where they are all."""
    grams = ngrams(whole, n, short=False)
    sizes = np.diff(grams.offsets)
    rows = np.repeat(row_of, sizes)
    if n >= MIN_CONTAINED_WORDS:
        return grams.hashes, rows
    alone = np.repeat(sizes == 1, sizes)
    return grams.hashes[alone], rows[alone]


def _without_template(
    hashes: Hashes, items: NDArray[np.int32], num_items: int
) -> tuple[Hashes, NDArray[np.int32]]:
    """Distinct hashes in ascending order with the first item of each, without those of many items."""
    pairs = np.unique(np.stack((hashes, items.astype(np.uint64)), axis=1), axis=0)
    distinct, first, counts = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    kept = counts <= max(MAX_ITEMS_ALIKE, MAX_SHARE_ALIKE * num_items)
    return distinct[kept], pairs[first[kept], 1].astype(np.int32)


def _item_texts(row: CheckedRow) -> Iterator[tuple[bool, str]]:
    """(whether it is the question, text) of an item; of a row of no known format, every text that it holds."""
    if row.example is None:
        yield from ((True, text) for text in row.value.values() if isinstance(text, str))
        return
    if row.example.kind == "text":
        yield True, row.example.text or ""
        return
    yield from ((True, message.content) for message in row.before if message.role == "user")
    if row.answer:
        yield False, row.answer


def _pieces(text: str) -> Iterator[str]:
    """A very long text in pieces that overlap by more than thirteen words."""
    if len(text) <= _PIECE_CHARACTERS:
        yield text
        return
    for start in range(0, len(text), _PIECE_CHARACTERS - _OVERLAP_CHARACTERS):
        yield text[start : start + _PIECE_CHARACTERS]
