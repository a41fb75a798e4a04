"""Beginnings that are kept computed: system prompts of specialists, and conversations that may go on.

What a token leaves in the cache depends on the adapter and on all tokens before it, so a beginning is found by both.
The least recently used go first when there are too many bytes. This file knows nothing of models.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.serving.engines.torch.cache import RowCache

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Kept:
    """A beginning: its ids, and as many tokens of cache."""

    owner: Hashable
    ids: Ids
    cache: RowCache


class Prefixes:
    """Beginnings of at most `max_bytes` together."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.num_bytes = max_bytes, 0
        self._kept: dict[Hashable, OrderedDict[int, Kept]] = {}
        self._order: OrderedDict[int, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def longest(self, owner: Hashable, ids: Ids) -> tuple[RowCache | None, int]:
        """What is kept of the beginning of `ids`, and how many of its tokens fit; (None, 0) where none does."""
        best, length = None, 0
        for kept in self._kept.get(owner, {}).values():
            if len(kept.ids) > length and (found := _common(kept.ids, ids)) > length:
                best, length = kept, found
        if best is None:
            return None, 0
        self._order.move_to_end(id(best))
        return best.cache, length

    def keep(self, owner: Hashable, ids: Ids, cache: RowCache) -> None:
        """Keep `cache`, which holds exactly `ids`; beginnings of it that were kept for themselves are dropped."""
        if cache.num_bytes > self.max_bytes:
            return
        for old in list(self._kept.get(owner, {}).values()):
            if len(old.ids) <= len(ids) and _common(old.ids, ids) == len(old.ids):
                self._drop(old)
        kept = Kept(owner, ids, cache)
        self._kept.setdefault(owner, OrderedDict())[id(kept)] = kept
        self._order[id(kept)] = kept
        self.num_bytes += cache.num_bytes
        while self.num_bytes > self.max_bytes:
            self._drop(next(iter(self._order.values())))

    def forget(self, owner: Hashable) -> None:
        for kept in list(self._kept.get(owner, {}).values()):
            self._drop(kept)

    def _drop(self, kept: Kept) -> None:
        del self._order[id(kept)]
        del self._kept[kept.owner][id(kept)]
        if not self._kept[kept.owner]:
            del self._kept[kept.owner]
        self.num_bytes -= kept.cache.num_bytes


def as_ids(ids: Sequence[int]) -> Ids:
    return np.asarray(ids, dtype=np.int64)


def _common(one: Ids, other: Ids) -> int:
    """How many ids are the same from the beginning on."""
    length = min(len(one), len(other))
    differing = np.nonzero(one[:length] != other[:length])[0]
    return int(differing[0]) if len(differing) else length
