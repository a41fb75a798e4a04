"""MinHash: 128 numbers that stand for a set of shingles, such that equal numbers count how alike two sets are.

Place k of a signature is the least `((x ^ c_k) * a_k) mod 2**32` over the set's shingles x, with odd a_k. The share of
places where two signatures agree estimates the Jaccard similarity |A and B| / |A or B| (Broder 1997) with a standard
error of sqrt(J (1 - J) / 128), at most 0.044; tests hold the estimate to it. The place-wise minimum of two signatures
is the signature of the union. For sets as small as the questions of a training file, 128 permutations are better than
one permutation hashing with densification, whose error grows when the set is smaller than the signature.

Banding (Indyk and Motwani 1998; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3): 25 bands of
5 places; two sets share a band with probability 1 - (1 - J**5)**25: 0.98 at J = 0.7 and more above.
Knows nothing of texts and of files.
"""

import numpy as np
from numpy.typing import NDArray

from luthier.data.shingles import Grams, Hashes, mix

Signatures = NDArray[np.uint32]

NUM_PLACES = 128
NUM_BANDS = 25
PLACES_PER_BAND = 5
# The value of a place where the set is empty.
NOTHING = np.uint32(0xFFFFFFFF)

_RANDOM = mix(np.arange(1, 2 * NUM_PLACES + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
_FACTORS = (_RANDOM[:NUM_PLACES] >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
_MASKS = (_RANDOM[NUM_PLACES:] >> np.uint64(32)).astype(np.uint32)
_BAND_FACTORS = mix(np.arange(1, PLACES_PER_BAND + 1, dtype=np.uint64)) | np.uint64(1)


def signatures(of: Grams) -> Signatures:
    """The signature of each set: shape (num_sets, 128). Of an empty set every place is `NOTHING`."""
    num_sets = len(of.offsets) - 1
    places = np.full((NUM_PLACES, num_sets), NOTHING, np.uint32)
    filled = np.flatnonzero(np.diff(of.offsets))
    if len(filled):
        starts = of.offsets[filled]
        values = (of.hashes >> np.uint64(32)).astype(np.uint32)
        hashed = np.empty_like(values)
        for place in range(NUM_PLACES):
            np.bitwise_xor(values, _MASKS[place], out=hashed)
            np.multiply(hashed, _FACTORS[place], out=hashed)
            places[place, filled] = np.minimum.reduceat(hashed, starts)
    return np.ascontiguousarray(places.T)


def union(first: Signatures, second: Signatures) -> Signatures:
    """The signatures of the unions of sets."""
    return np.minimum(first, second)


def similarity(first: Signatures, second: Signatures) -> NDArray[np.float64]:
    """The estimated Jaccard similarity of the sets of each row: shape (num_sets,)."""
    agreed: NDArray[np.float64] = (first == second).mean(axis=-1)
    return agreed


def band_keys(of: Signatures) -> Hashes:
    """Shape (25, num_sets): two sets are candidates where they have a key in common."""
    keys = np.zeros((NUM_BANDS, len(of)), np.uint64)
    for band in range(NUM_BANDS):
        for position in range(PLACES_PER_BAND):
            column = of[:, band * PLACES_PER_BAND + position].astype(np.uint64)
            keys[band] += column * _BAND_FACTORS[position]
    return mix(keys) | np.uint64(1)  # never 0, which stands for "no key"
