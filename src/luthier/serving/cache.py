"""Answers that were given before, for requests that are the same in everything that matters. Temperature 0 alone.

The least recently used go first once a limit in bytes is passed. Knows nothing of what makes a key.
"""

import sys
from collections import OrderedDict
from dataclasses import dataclass

from luthier.serving.protocol import Delta, Finished

Answer = tuple[Delta | Finished, ...]


@dataclass(slots=True)
class CacheCounts:
    """Since the start."""

    hits: int = 0
    misses: int = 0
    evicted: int = 0


class AnswerCache:
    """Keeps answers up to `max_bytes`; 0 keeps none."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.counts = CacheCounts()
        self._answers: OrderedDict[str, tuple[Answer, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> Answer | None:
        """The answer of that key, which is the last used from now on."""
        found = self._answers.get(key)
        if found is None:
            self.counts.misses += 1
            return None
        self._answers.move_to_end(key)
        self.counts.hits += 1
        return found[0]

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer. One that is larger than the whole cache is not kept."""
        size = sys.getsizeof(key) + _num_bytes(answer)
        if size > self.max_bytes:
            return
        self._forget(key)
        self._answers[key] = (answer, size)
        self.num_bytes += size
        while self.num_bytes > self.max_bytes:
            self._forget(next(iter(self._answers)))
            self.counts.evicted += 1

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()
        self.num_bytes = 0

    def _forget(self, key: str) -> None:
        if key in self._answers:
            self.num_bytes -= self._answers.pop(key)[1]


def _num_bytes(value: object) -> int:
    """What an answer takes, its texts and tuples with it; what is shared is counted each time."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(_num_bytes(key) + _num_bytes(item) for key, item in value.items())
    if isinstance(value, tuple | list):
        return size + sum(map(_num_bytes, value))
    names = getattr(type(value), "__dataclass_fields__", ())
    return size + sum(_num_bytes(getattr(value, name)) for name in names)
