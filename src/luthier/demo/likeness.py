"""Is a question nearly one that was asked before? So that what measures asks in words of its own.

Questions come as words, without case and punctuation. Knows nothing of splits, frames or answers.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

_NEAR = 0.6  # stricter than what `luthier data check` calls near (0.7)
_LONG_RUN = 13  # words in a row that say that one text was taken from another

Pair = tuple[str, str]


class Asked:
    """Questions that were asked."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._sizes: list[int] = []
        self._holders: dict[Pair, list[int]] = defaultdict(list)
        self._runs: set[tuple[str, ...]] = set()

    def add(self, words: Sequence[str]) -> None:
        """Note a question."""
        pairs = _pairs(words)
        for pair in pairs:
            self._holders[pair].append(len(self._texts))
        self._texts.append(f" {' '.join(words)} ")
        self._sizes.append(len(pairs))
        self._runs.update(_runs(words))

    def knows(self, words: Sequence[str]) -> bool:
        """Was nearly this asked: by its pairs of neighbouring words, by thirteen words in a row, or inside another?"""
        pairs = _pairs(words)
        common = Counter(number for pair in pairs for number in self._holders.get(pair, ()))
        if any(both / (len(pairs) + self._sizes[number] - both) >= _NEAR for number, both in common.items()):
            return True
        if any(run in self._runs for run in _runs(words)):
            return True
        text = f" {' '.join(words)} "
        return any(text in other for other in self._texts)


def _pairs(words: Sequence[str]) -> set[Pair]:
    return set(pairwise(words)) or {(words[0], "")}


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + _LONG_RUN]) for i in range(len(words) - _LONG_RUN + 1)]
