"""An index of words: which piece holds which term how often, and the BM25 score of a question's terms.

    score(q, d) = sum over t in q of  idf(t) * f(t, d) * (k1 + 1) / (f(t, d) + k1 * (1 - b + b * |d| / mean |d|))
    idf(t) = log(1 + (N - n(t) + 0.5) / (n(t) + 0.5))

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009); the idf is Lucene's,
which is never negative. Terms are 64-bit hashes, so that counts of single documents can be joined without a common
vocabulary. Knows nothing of documents and files.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.serving.terms import terms

K1, B = 1.5, 0.75


@dataclass(frozen=True)
class Counts:
    """How often terms occur in the C pieces of a document: P entries, of which entry i says that piece piece_P[i] holds
    the term hash_P[i] count_P[i] times."""

    hash_P: NDArray[np.uint64]
    piece_P: NDArray[np.int32]
    count_P: NDArray[np.int32]
    length_C: NDArray[np.int32]


def count(texts: Sequence[str]) -> Counts:
    """The counts of C texts, one a piece."""
    hashes: list[int] = []
    pieces: list[int] = []
    counts: list[int] = []
    lengths: list[int] = []
    for piece, text in enumerate(texts):
        found = Counter(terms(text))
        hashes += map(hash_term, found)
        pieces += [piece] * len(found)
        counts += found.values()
        lengths.append(found.total())
    return Counts(
        np.array(hashes, np.uint64),
        np.array(pieces, np.int32),
        np.array(counts, np.int32),
        np.array(lengths, np.int32),
    )


def hash_term(term: str) -> int:
    """64 bits: of a million terms two fall together with a chance of one in thirty million."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Index:
    """The entries of all documents by term: those of term_T[t] are start_T1[t] to start_T1[t + 1] of piece_P and
    weight_P, where a weight is the term's whole addend to the score of that piece."""

    term_T: NDArray[np.uint64]
    start_T1: NDArray[np.int64]
    piece_P: NDArray[np.int32]
    weight_P: NDArray[np.float32]
    num_pieces: int

    def scores(self, question: str) -> NDArray[np.float32]:
        """(C,): of every piece; 0 where no word of the question is in it. A word that is asked twice counts twice."""
        found = np.zeros(self.num_pieces, np.float32)
        for term, times in Counter(terms(question)).items():
            hashed = np.uint64(hash_term(term))
            place = int(np.searchsorted(self.term_T, hashed))
            if place < len(self.term_T) and self.term_T[place] == hashed:
                entries = slice(self.start_T1[place], self.start_T1[place + 1])
                found[self.piece_P[entries]] += times * self.weight_P[entries]
        return found


def build_index(documents: Iterable[Counts]) -> Index:
    """The index of some documents' pieces, which are numbered through in the order of the documents."""
    all_counts = list(documents)
    if not all_counts:
        none = np.array([], np.int32)
        return Index(none.astype(np.uint64), np.zeros(1, np.int64), none, none.astype(np.float32), 0)
    first = np.cumsum([0, *(len(one.length_C) for one in all_counts)])
    length_C = np.concatenate([one.length_C for one in all_counts])
    hash_P = np.concatenate([one.hash_P for one in all_counts])
    piece_P = np.concatenate(
        [one.piece_P + start for one, start in zip(all_counts, first, strict=False)]
    ).astype(np.int32)
    count_P = np.concatenate([one.count_P for one in all_counts]).astype(np.float64)
    term_T, term_P, with_term_T = np.unique(hash_P, return_inverse=True, return_counts=True)
    num_pieces = len(length_C)
    idf_T = np.log1p((num_pieces - with_term_T + 0.5) / (with_term_T + 0.5))
    relative_P = length_C[piece_P] / max(length_C.mean(), 1e-9)
    weight_P = idf_T[term_P] * count_P * (K1 + 1) / (count_P + K1 * (1 - B + B * relative_P))
    order = np.argsort(term_P, kind="stable")
    start_T1 = np.concatenate([[0], np.cumsum(with_term_T)]).astype(np.int64)
    return Index(term_T, start_T1, piece_P[order], weight_P[order].astype(np.float32), num_pieces)
