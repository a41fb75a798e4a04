"""Pairs of rows whose sets of shingles nearly agree, among millions: candidates by bands, then verified.

Signatures lie on disk, and so do the keys of the bands, one band after the other; in memory are the keys of one band
(about 40 bytes a row) and a few thousand signatures.

What all rows share makes no two of them alike. Rows made with a template (`Classify the following review: ...`) agree
in most shingles and differ in all that matters. So a value that stands at one place of the signatures of many rows is
`common`, and the places where it decides are left out: place k of the union of two sets holds the smaller of their two
values, so over the places where that smaller value is not common, the share that agrees estimates the similarity of
what is left of the two sets, without bias. Rows that are made of common shingles alone are compared by all places.

Knows nothing of texts, splits and findings.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from luthier.data.minhash import (
    NOTHING,
    NUM_BANDS,
    NUM_PLACES,
    PLACES_PER_BAND,
    Signatures,
    band_keys,
    similarity,
)
from luthier.data.shingles import Hashes
from luthier.data.signature_store import SignatureStore

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
# From the keys of a band, sorted, and the place of each in the chosen rows: pairs of places, the earlier row first.
Pairing = Callable[[Hashes, Indices], Iterator[tuple[Indices, Indices]]]

# A value is common in over a twentieth of the rows, and in no fewer than 50: below that, alike rows are the news.
COMMON_SHARE = 0.05
COMMON_MIN_ROWS = 50
# With fewer places left than this, all places are compared.
MIN_PLACES_LEFT = 4
# In a bucket of rows that agree in a band, a row is compared with so many before it, and with the first.
NUM_COMPARED = 8
_SAMPLED_ROWS = 20_000
_PAIRS_AT_A_TIME = 4096
_ROWS_AT_A_TIME = 8192


@dataclass(frozen=True)
class Common:
    """For each place of a signature the values that many rows have there."""

    values: tuple[NDArray[np.uint32], ...]

    def mask(self, signatures: Signatures, first_place: int = 0) -> Mask:
        """Where the signatures, or a piece of them from `first_place` on, hold a common value."""
        found = np.zeros(signatures.shape, np.bool_)
        for column in range(signatures.shape[1]):
            for value in self.values[first_place + column]:
                found[:, column] |= signatures[:, column] == value
        return found

    def similarity(self, first: Signatures, second: Signatures) -> NDArray[np.float64]:
        """The estimated Jaccard similarity of what is not common: shape (num_pairs,)."""
        left = ~self.mask(np.minimum(first, second))
        num_left = left.sum(axis=1)
        agreed = ((first == second) & left).sum(axis=1) / np.maximum(num_left, 1)
        return np.where(num_left < MIN_PLACES_LEFT, similarity(first, second), agreed)


def common_values(store: SignatureStore, chosen: Indices) -> Common:
    """What is common among the chosen rows, from at most 20,000 of them, evenly spread."""
    if len(chosen) < COMMON_MIN_ROWS:
        return Common((np.empty(0, np.uint32),) * NUM_PLACES)
    sampled = chosen[
        np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), _SAMPLED_ROWS)).astype(np.int64))
    ]
    least = max(COMMON_MIN_ROWS, COMMON_SHARE * len(sampled))
    signatures = store.rows(sampled)
    values = []
    for place in range(NUM_PLACES):
        distinct, counts = np.unique(signatures[:, place], return_counts=True)
        values.append(distinct[counts > least])
    return Common(tuple(values))


def near_pairs(
    store: SignatureStore,
    chosen: Indices,
    common: Common,
    threshold: float,
    pairing: Pairing,
    wanted: Callable[[Indices, Indices], Mask],
    scratch: Path,
) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of chosen rows that share a band, are `wanted`, and whose estimated similarity reaches the threshold.

    Yields (earlier, later) row indices, a band's worth at most at a time; a pair may come several times.
    `wanted` is asked anew for every few thousand pairs, so what was learned of earlier ones can spare work.
    """
    with tempfile.TemporaryFile(dir=scratch) as file:
        _write_keys(file, store, chosen, common)
        for band in range(NUM_BANDS):
            file.seek(8 * band * len(chosen))
            keys = np.fromfile(file, np.uint64, len(chosen))
            order = np.argsort(keys, kind="stable")
            order = order[np.searchsorted(keys, 0, side="right", sorter=order) :]
            for earlier, later in pairing(keys[order], order):
                for start in range(0, len(earlier), _PAIRS_AT_A_TIME):
                    first = chosen[earlier[start : start + _PAIRS_AT_A_TIME]]
                    second = chosen[later[start : start + _PAIRS_AT_A_TIME]]
                    asked = wanted(first, second)
                    first, second = first[asked], second[asked]
                    if len(first):
                        near = common.similarity(store.rows(first), store.rows(second)) >= threshold
                        yield first[near], second[near]


def among_all(keys: Hashes, order: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Each row of a bucket with the rows before it: the nearest few, and the first."""
    for lag in range(1, NUM_COMPARED + 1):
        same = keys[lag:] == keys[:-lag]
        if not same.any():
            return
        yield order[:-lag][same], order[lag:][same]
    starts, lengths = _runs(keys)
    rank = np.arange(len(keys)) - np.repeat(starts, lengths)
    far = rank > NUM_COMPARED
    yield order[np.repeat(starts, lengths)[far]], order[far]


def across(num_earlier: int) -> Pairing:
    """Each row from place `num_earlier` on with rows of its bucket that stand before that place."""

    def pairing(keys: Hashes, order: Indices) -> Iterator[tuple[Indices, Indices]]:
        starts, lengths = _runs(keys)
        is_earlier = order < num_earlier
        counts = np.add.reduceat(is_earlier, starts) if len(starts) else np.empty(0, np.int64)
        start_of, count_of = np.repeat(starts, lengths), np.repeat(counts, lengths)
        rank = np.arange(len(keys)) - start_of
        for step in range(NUM_COMPARED):
            later = np.flatnonzero(~is_earlier & (count_of > step))
            if not len(later):
                return
            # Neighbours in a bucket start at different rows, so that a large bucket is looked at all over.
            partner = start_of[later] + (rank[later] + step) % count_of[later]
            yield order[partner], order[later]

    return pairing


def _write_keys(file: IO[bytes], store: SignatureStore, chosen: Indices, common: Common) -> None:
    """The keys of each band after the other; 0 where a band holds only common values, or the set is empty."""
    for start in range(0, len(chosen), _ROWS_AT_A_TIME):
        signatures = store.rows(chosen[start : start + _ROWS_AT_A_TIME])
        keys = band_keys(signatures)
        for band in range(NUM_BANDS):
            first = band * PLACES_PER_BAND
            places = signatures[:, first : first + PLACES_PER_BAND]
            keys[band, common.mask(places, first).all(axis=1) | (places[:, 0] == NOTHING)] = 0
            file.seek(8 * (band * len(chosen) + start))
            file.write(keys[band].tobytes())


def _runs(keys: Hashes) -> tuple[Indices, Indices]:
    """Where each run of equal keys starts, and how long it is."""
    if not len(keys):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return starts, np.diff(starts, append=len(keys))
