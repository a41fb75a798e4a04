"""Passages that have to do with a question, by the words that they share (BM25).

score(q, d) = sum over words w of q: idf(w) * f (k1 + 1) / (f + k1 (1 - b + b |d| / mean |d|)), with f how often w
stands in d, idf(w) = ln(1 + (N - n + 0.5) / (n + 0.5)) and n the passages that hold w.
Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009); the idf that stays above
0 is that of Lucene. This file knows nothing of models and items.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from luthier.errors import EvaluationError
from luthier.hashing import hash_json

K1 = 1.2
B = 0.75
MAX_WORDS = 120


class Lookup:
    """Finds passages. Building reads every text once; a search reads only passages that share a word."""

    def __init__(self, texts: Iterable[str], *, max_words: int = MAX_WORDS) -> None:
        """Texts are cut into passages of at most `max_words`. Raises EvaluationError where there is no word."""
        self.passages = tuple(passage for text in texts for passage in _cut(text, max_words))
        if not self.passages:
            raise EvaluationError("expected documents with words in them, found none")
        counts = [Counter(_words(passage)) for passage in self.passages]
        mean = sum(count.total() for count in counts) / len(counts)
        self._weights: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for place, count in enumerate(counts):
            length = K1 * (1 - B + B * count.total() / mean) if mean else K1
            for word, times in count.items():
                self._weights[word].append((place, times * (K1 + 1) / (times + length)))

    @property
    def hash(self) -> str:
        """Of the passages, in order."""
        return hash_json(list(self.passages))

    def find(self, question: str, count: int) -> list[str]:
        """The best passages, best first; fewer where fewer share a word. Equal ones stand in their order."""
        scores: dict[int, float] = defaultdict(float)
        for word in _words(question):
            found = self._weights.get(word, [])
            rarity = math.log(1 + (len(self.passages) - len(found) + 0.5) / (len(found) + 0.5))
            for place, weight in found:
                scores[place] += rarity * weight
        best = sorted(scores, key=lambda place: (-scores[place], place))[:count]
        return [self.passages[place] for place in best]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _cut(text: str, max_words: int) -> Sequence[str]:
    words = text.split()
    if len(words) <= max_words:
        return [text.strip()] if _words(text) else []
    return [" ".join(words[start : start + max_words]) for start in range(0, len(words), max_words)]
