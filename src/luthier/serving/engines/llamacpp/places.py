"""Who computes where: the sequence ids of one context, and beginnings that are kept computed.

What a finished answer left in the context stays there until its place is needed, so that whoever begins alike under the
same adapter (the same system prompt, a conversation that goes on) does not compute it again. Rows of one adapter get
neighbouring ids where there are any, because those are computed together. Knows nothing of queues or turns.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.serving.engines.llamacpp.context import SharedContext
from luthier.serving.engines.llamacpp.row import Row

_WORTH_COPYING = 16  # tokens: a copy moves the room of a whole sequence, and so many are computed as fast


@dataclass(frozen=True, eq=False)
class _Kept:
    """A sequence that nobody computes any more. lasting: it goes after those that are not."""

    sequence: int
    adapter: int
    ids: NDArray[np.int32]
    lasting: bool


class Places:
    """The sequences of `context`: empty, computed by a row, or kept."""

    def __init__(self, context: SharedContext) -> None:
        self._context = context
        self._empty = set(range(context.num_sequences))
        self._rows: dict[int, Row] = {}
        self._kept: dict[int, _Kept] = {}  # the longest unused first

    def admit(self, row: Row) -> None:
        """Give a row a sequence that begins with what is computed already. There must be one without a row."""
        source, length = self._nearest(row)
        candidates = [*sorted(self._empty), *self._kept]  # the first of the best
        place = max(candidates, key=lambda one: (self._value(one, source), self._company(one, row)))
        if place != source:
            self._clear(place)
            if source is not None:
                self._context.share(source, place, length)
                if source in self._kept:
                    self._kept[source] = self._kept.pop(source)  # used last
        else:
            self._context.cut(place, length)
            del self._kept[place]
        self._empty.discard(place)
        row.sequence, row.num_computed = place, length
        self._rows[place] = row

    def release(self, row: Row, *, lasting: bool = False) -> None:
        """A row has ended: keep what it computed, and drop what was the beginning of it."""
        place = self._take(row)
        ids = np.array(row.ids[: row.num_computed], dtype=np.int32)
        for old in [kept for kept in self._kept.values() if kept.adapter == row.specialist.adapter]:
            if len(old.ids) <= len(ids) and _common(old.ids, ids) == len(old.ids) and not old.lasting:
                self._clear(old.sequence)
        self._kept[place] = _Kept(place, row.specialist.adapter, ids, lasting)

    def abandon(self, row: Row) -> None:
        """A row has failed: what its sequence holds is not to be trusted."""
        place = self._take(row)
        self._context.forget(place)
        self._empty.add(place)

    def forget(self, adapter: int) -> None:
        """Nothing that was computed with this adapter is needed any more."""
        for kept in [kept for kept in self._kept.values() if kept.adapter == adapter]:
            self._clear(kept.sequence)

    def _nearest(self, row: Row) -> tuple[int | None, int]:
        """The sequence that begins most like the row, and how many of its tokens fit.

        The prompt's last token is computed in any case: the first answer token comes from its logits.
        """
        found: tuple[int | None, int] = (None, 0)
        if not self._context.forgets_partly:
            return found
        prompt = np.array(row.ids[:-1], dtype=np.int32)
        adapter = row.specialist.adapter
        computed = [(kept.sequence, kept.ids) for kept in self._kept.values() if kept.adapter == adapter]
        computed += [
            (place, np.array(other.ids[: other.num_computed], dtype=np.int32))
            for place, other in self._rows.items()
            if other.specialist.adapter == adapter
        ]
        for place, ids in computed:
            if len(ids) > found[1] and (length := _common(ids, prompt)) > found[1]:
                found = place, length
        return found if found[1] >= _WORTH_COPYING else (None, 0)

    def _value(self, place: int, source: int | None) -> int:
        """What is lost least: an empty one, then what is kept and not lasting, then what is, then the source itself."""
        if place in self._empty:
            return 3
        return 0 if place == source else 1 if self._kept[place].lasting else 2

    def _company(self, place: int, row: Row) -> int:
        """How many neighbours are computed with the same adapter, less those with another."""
        neighbours = [self._rows[one] for one in (place - 1, place + 1) if one in self._rows]
        same = sum(one.specialist.adapter == row.specialist.adapter for one in neighbours)
        return 2 * same - len(neighbours)

    def _take(self, row: Row) -> int:
        assert row.sequence is not None
        place, row.sequence = row.sequence, None
        del self._rows[place]
        return place

    def _clear(self, place: int) -> None:
        if self._kept.pop(place, None) is not None:
            self._context.forget(place)
            self._empty.add(place)


def _common(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    """How many ids are the same from the beginning on."""
    length = min(len(one), len(other))
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if len(differing) else length
