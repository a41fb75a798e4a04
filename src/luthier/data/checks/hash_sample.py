"""A random sample of rows that is the same however the rows are cut into pieces: those whose hashed place is smallest.

Every row is equally likely to be in it, and its order is random too (a bottom-k sketch). The randomness is that of
the hash of the row's file and number, so the same files give the same sample. Knows nothing of what is sampled.
"""

from typing import Generic, TypeVar

from luthier.data.checks.finding import RowKey

T = TypeVar("T")
_MASK = (1 << 64) - 1


class HashSample(Generic[T]):
    """At most `size` items. `add` what `wants` says yes to; `merge` samples of other rows."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._items: list[tuple[int, RowKey, T]] = []
        self._bound = 1 << 64

    def rank(self, key: RowKey, part: int = 0) -> int:
        """Where the row (or a part of it) stands in the random order. SplitMix64's finaliser (Steele et al. 2014)."""
        mixed = (key.file << 48) + (key.number << 8) + part + 0x9E3779B97F4A7C15
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def wants(self, rank: int) -> bool:
        """Can a row of this rank still be in the sample? To ask before anything dear is made of the row."""
        return rank < self._bound

    def add(self, rank: int, key: RowKey, item: T) -> None:
        self._items.append((rank, key, item))
        if len(self._items) >= 2 * self.size:
            self._trim()

    def merge(self, later: "HashSample[T]") -> None:
        self._items += later._items
        self._trim()

    def items(self) -> list[tuple[RowKey, T]]:
        """The sample in its random order."""
        self._trim()
        return [(key, item) for _, key, item in self._items]

    def _trim(self) -> None:
        self._items.sort(key=lambda one: one[:2])
        del self._items[self.size :]
        if len(self._items) == self.size:
            self._bound = self._items[-1][0]
