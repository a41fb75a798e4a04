"""Word n-grams of many texts at once, as 64-bit hashes.

A text is compared by its words: case, punctuation and spacing do not count. Letters, digits and marks make words;
a sign of a script that is written without spaces (Chinese, Japanese kana, Thai, ...) is a word by itself.

No Python work is done per word. The texts of a batch are one array of code points c; the polynomial hash of the word
at positions s..e is the difference of two prefix sums, `(S[e] - S[s]) * B**-s` with `S[k] = sum(c[i] * B**i, i < k)`,
all modulo 2**64, where the odd B has an inverse (Rabin and Karp 1987). Words and n-grams are then mixed by the
finaliser of SplitMix64 (Steele, Lea and Flood 2014). The hashes are the same on every machine.
Knows nothing of rows, and of what the hashes are for.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

# A batch of about this many characters keeps its arrays (8 bytes a character) in the processor's cache.
BATCH_CHARACTERS = 1 << 17

_BASE = 0x9E3779B97F4A7C15
_STEP = 0xD6E8FEB86659FD93
_MASK = (1 << 64) - 1
_NUM_CLASSIFIED = 0x32000  # no letter has been given a code point above
_SPACE, _LETTER, _ALONE = 0, 1, 2
# Scripts without spaces between words: Thai to Myanmar, Khmer, kana and ideographs with their extensions.
_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3005, 0x3007),
    (0x3041, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x31FFF),
)


@dataclass(frozen=True)
class Grams:
    """Hashes of the words or n-grams of several texts: those of text i are `hashes[offsets[i]:offsets[i + 1]]`.

    hashes: shape (num_grams,), in the order of the texts. offsets: shape (num_texts + 1,), int64.
    """

    hashes: Hashes
    offsets: NDArray[np.int64]


def shingles(texts: Sequence[str], n: int) -> Grams:
    """The n-grams of each text; of a text of fewer than n words the one gram of all its words."""
    return ngrams(words(texts), n)


def words(texts: Sequence[str]) -> Grams:
    """The hash of every word."""
    parts = [_words(texts[start:end]) for start, end in _batches(texts)]
    if len(parts) == 1:
        return parts[0]
    counts = [np.diff(part.offsets) for part in parts]
    hashes = np.concatenate([part.hashes for part in parts]) if parts else np.empty(0, np.uint64)
    return Grams(hashes, _offsets(np.concatenate(counts) if counts else np.empty(0, np.int64)))


def ngrams(of: Grams, n: int, *, short: bool = True) -> Grams:
    """The n-grams of texts whose words are hashed; of a text of fewer words one gram of them all, if `short`."""
    size = len(of.hashes)
    counts = np.diff(of.offsets)
    num_whole = np.maximum(counts - n + 1, 0)
    rolled = np.zeros(size, np.uint64)
    for position in range(min(n, size)):
        rolled[: size - position] += of.hashes[position:] * np.uint64(pow(_STEP, position, 1 << 64))
    rolled = mix(rolled)
    first = of.offsets[:-1]
    if not short or not np.any((counts > 0) & (counts < n)):
        return Grams(rolled[_ranges(first, num_whole)], _offsets(num_whole))
    kept = np.where((counts > 0) & (counts < n), 1, num_whole)
    chosen = _ranges(first, kept)
    offsets = _offsets(kept)
    grams = rolled[chosen]
    few = np.flatnonzero((counts > 0) & (counts < n))
    whole = np.zeros(len(few), np.uint64)
    for position in range(n - 1):
        has = counts[few] > position
        whole[has] += of.hashes[first[few[has]] + position] * np.uint64(pow(_STEP, position, 1 << 64))
    grams[offsets[few]] = mix(whole)
    return Grams(grams, offsets)


def mix(values: Hashes) -> Hashes:
    """Spread values over all 64 bits, one to one (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where to cut the texts, so that a batch has few characters and at least one text."""
    start, size = 0, 0
    for index, text in enumerate(texts):
        if size and size + len(text) > BATCH_CHARACTERS:
            yield start, index
            start, size = index, 0
        size += len(text) + 1
    if start < len(texts):
        yield start, len(texts)


def _words(texts: Sequence[str]) -> Grams:
    points, lengths = _code_points(texts)
    classes = (
        _classes()[np.minimum(points, _NUM_CLASSIFIED - 1)] if points.itemsize > 1 else _classes()[points]
    )
    edges = np.zeros(len(points) + 2, np.uint8)
    edges[1:-1] = classes
    changes = edges[1:] != edges[:-1]
    if len(classes) and classes.max() == _ALONE:
        alone = edges == _ALONE
        changes |= alone[1:] & alone[:-1]  # two of them in a row: one word ends where the next begins
        starts = np.flatnonzero(changes & (edges[1:] != _SPACE))
        ends = np.flatnonzero(changes & (edges[:-1] != _SPACE))
    else:
        borders = np.flatnonzero(changes)
        starts, ends = borders[::2], borders[1::2]
    up, down = _powers(_rounded(len(points) + 1))
    sums = np.zeros(len(points) + 1, np.uint64)
    np.cumsum(points * up[: len(points)], out=sums[1:])
    hashes = mix((sums[ends] - sums[starts]) * down[starts])
    text_ends = np.cumsum(lengths + 1)
    return Grams(hashes, np.concatenate(([0], np.searchsorted(starts, text_ends))).astype(np.int64))


def _code_points(texts: Sequence[str]) -> tuple[NDArray[np.uint8] | NDArray[np.uint32], NDArray[np.int64]]:
    """The folded texts as code points with one line break between them, and the length of each."""
    joined = "\n".join(texts)
    if joined.isascii():
        points = np.frombuffer(joined.lower().encode("ascii"), np.uint8)
        return points, np.fromiter(map(len, texts), np.int64, len(texts))
    folded = [t.lower() if t.isascii() else unicodedata.normalize("NFKC", t).casefold() for t in texts]
    data = "\n".join(folded).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(data, np.dtype("<u4")), np.fromiter(map(len, folded), np.int64, len(folded))


@lru_cache(maxsize=1)
def _classes() -> NDArray[np.uint8]:
    """For each code point whether it is between words, in a word, or a word."""
    table = np.fromiter(
        (unicodedata.category(chr(point))[0] in "LMN" for point in range(_NUM_CLASSIFIED)),
        np.uint8,
        _NUM_CLASSIFIED,
    )
    for first, last in _WITHOUT_SPACES:
        table[first : last + 1] *= np.uint8(_ALONE)
    table[-1] = _SPACE
    return table


@lru_cache(maxsize=2)
def _powers(size: int) -> tuple[Hashes, Hashes]:
    """B**i and B**-i modulo 2**64, for i < size."""
    tables = []
    for base in (_BASE, pow(_BASE, -1, 1 << 64)):
        table = np.full(size, base & _MASK, np.uint64)
        table[0] = 1
        tables.append(np.cumprod(table, dtype=np.uint64))
    return tables[0], tables[1]


def _rounded(size: int) -> int:
    return max(2 * BATCH_CHARACTERS, 1 << (size - 1).bit_length())


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)


def _ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`starts[i], starts[i] + 1, ...`, `counts[i]` of each, one after the other."""
    offsets = _offsets(counts)
    return np.arange(offsets[-1], dtype=np.int64) + np.repeat(starts - offsets[:-1], counts)
