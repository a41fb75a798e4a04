"""Whose adapter's turn it is, and which tokens its rows compute in the next step.

A turn lasts some steps, because laying another adapter over the weights costs something; then the next adapter that
has rows comes, in a ring, so that none waits longer than one turn of each other. Knows nothing of llama.cpp.
"""

from collections.abc import Sequence

from luthier.serving.engines.llamacpp.context import Run
from luthier.serving.engines.llamacpp.row import Row


class Turns:
    """The ring of adapters that have something to compute; `num_steps`: how long a turn lasts while others wait."""

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self._current: int | None = None
        self._left = 0
        self._last_turn: dict[int, int] = {}
        self._count = 0

    def next(self, adapters: set[int]) -> int:
        """Whose step it is, of those that have rows (at least one)."""
        if self._current not in adapters or (self._left <= 0 and len(adapters) > 1):
            self._last_turn = {one: self._last_turn.get(one, -1) for one in adapters}
            others = adapters - {self._current} if self._current is not None else adapters
            self._current = min(others, key=lambda one: (self._last_turn[one], one))
            self._left = self._num_steps
            self._count += 1
            self._last_turn[self._current] = self._count
        self._left -= 1
        assert self._current is not None
        return self._current


def step_of(rows: Sequence[Row], block: int) -> list[tuple[Row, Run]]:
    """What is computed together: the last token of each answer that grows, and prompts as far as `block` reaches.

    In the order of their sequences. Prompts get room in the order they came, those without an answer last; the part of
    one that does not fit follows in later steps.
    """
    growing = [row for row in rows if row.num_missing == 1]
    reading = sorted((row for row in rows if row.num_missing > 1), key=lambda row: row.num_new == 0)
    step: list[tuple[Row, Run]] = []
    for row in (*growing, *reading):
        count = min(row.num_missing, block)
        if not count:
            break
        block -= count
        end = row.num_computed + count
        assert row.sequence is not None
        run = Run(
            row.sequence,
            row.num_computed,
            row.ids[row.num_computed : end],
            wanted=end == len(row.ids) and row.num_new > 0,
        )
        step.append((row, run))
    return sorted(step, key=lambda one: one[1].sequence)
