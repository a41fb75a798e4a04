"""A text as a sparse vector: hashed words, pairs of words and pieces of words, weighted by how rare they are.

Nothing is learnt but the rarity of each bucket (inverse document frequency), so a router needs no vocabulary, and a
word that training never saw still has its pieces. A sentence embedder, where one is handed in, adds what a text means.
Knows nothing of specialists.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""N texts -> (N, E) vectors of their meaning, each of length 1."""

MAX_BUCKETS = 1 << 16  # of words, and as many of pieces
MAX_WEIGHT_BYTES = 1 << 27  # of features x classes in float32: many classes get fewer buckets
MAX_CHARACTERS = 4_000  # of a text: what it is about stands in its beginning, and a decision keeps its time


def num_buckets(num_classes: int) -> int:
    """How many buckets words are hashed into, a power of two."""
    fitting = MAX_WEIGHT_BYTES // (2 * num_classes * np.dtype(np.float32).itemsize)
    return min(MAX_BUCKETS, 1 << (fitting.bit_length() - 1))


@cache
def _vectorizers(buckets: int) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import HashingVectorizer

    settings = {"n_features": buckets, "alternate_sign": False, "norm": None, "dtype": np.float32}
    words = HashingVectorizer(analyzer="word", ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **settings)
    pieces = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), **settings)
    return words, pieces


def counts(texts: Sequence[str], buckets: int) -> csr_matrix:
    """How often each bucket occurs in each of N texts: (N, F = 2 * buckets), sublinear (1 + log of the count)."""
    cut = [text[:MAX_CHARACTERS] for text in texts]
    found: csr_matrix = hstack(
        [vectorizer.transform(cut) for vectorizer in _vectorizers(buckets)], format="csr", dtype=np.float32
    )
    np.log(found.data, out=found.data)
    found.data += 1
    return found


def inverse_document_frequency(counted: csr_matrix) -> NDArray[np.float32]:
    """(F,): log((1 + N) / (1 + texts with the bucket)) + 1, as scikit-learn's TfidfTransformer smooths it."""
    num_texts = counted.shape[0]
    frequency = np.bincount(counted.indices, minlength=counted.shape[1])
    return (np.log((1 + num_texts) / (1 + frequency)) + 1).astype(np.float32)


def weighted(counted: csr_matrix, idf_F: NDArray[np.float32]) -> csr_matrix:
    """Each row times the rarity of its buckets, at length 1; a text with no letter stays 0."""
    row_N = np.repeat(np.arange(counted.shape[0]), np.diff(counted.indptr))
    values = counted.data * idf_F[counted.indices]
    length_N = np.sqrt(np.bincount(row_N, weights=values**2, minlength=counted.shape[0]))
    values /= np.where(length_N > 0, length_N, 1)[row_N]
    return csr_matrix((values.astype(np.float32), counted.indices, counted.indptr), shape=counted.shape)


def with_meaning(vectors: csr_matrix, texts: Sequence[str], embed: Embed) -> csr_matrix:
    """(N, F + E): the words of N texts, and what they mean, each at length 1."""
    meaning_NE = embed([text[:MAX_CHARACTERS] for text in texts])
    found: csr_matrix = hstack([vectors, csr_matrix(meaning_NE)], format="csr", dtype=np.float32)
    return found


def strongest(
    text: str, weights_F: NDArray[np.float32], idf_F: NDArray[np.float32]
) -> list[tuple[str, float]]:
    """The words, pairs and pieces of a text with what each adds to a class of these weights, the largest first."""
    vector = weighted(counts([text], len(idf_F) // 2), idf_F)
    added = dict(
        zip(vector.indices.tolist(), (vector.data * weights_F[vector.indices]).tolist(), strict=True)
    )
    named = {name: added[bucket] for name, bucket in _buckets(text[:MAX_CHARACTERS], len(idf_F) // 2)}
    return sorted(named.items(), key=lambda item: -item[1])


def _buckets(text: str, buckets: int) -> Iterator[tuple[str, int]]:
    """Each word, pair and piece of a text with its bucket."""
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(n_features=buckets, input_type="string", alternate_sign=False)
    for number, vectorizer in enumerate(_vectorizers(buckets)):
        names = list(dict.fromkeys(vectorizer.build_analyzer()(text)))
        if names:
            found = hasher.transform([name] for name in names).indices + number * buckets
            yield from zip(names, found.tolist(), strict=True)
