"""Which rows a run never learnt, and which it learnt and lost again: read from their losses over time.

A row is learnt when its loss is at most half of what it was when it was first seen, or below 0.1 nats. Forgetting as in
Toneva et al. 2019, arXiv:1812.05159, with a loss in place of right and wrong:

    never learnt   the most that it gained, as a share of its first loss, is less than half of what the median row
                   gained, and it ends above the median of the rows' last losses
    forgotten      learnt at some time, and at the end more than half of that gain is lost again

Knows nothing of models and of how the losses were measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from luthier.training.row_history import RowHistory

_LEARNT = 0.5
_LEAST_GAIN = 0.05  # of the median row: below it nothing was learnt by any, and no row stands out
_NEAR_ZERO = 0.1  # nats per token: the right token has 90%
_SHOWN = 5


@dataclass(frozen=True)
class RowFindings:
    """Rows by name, the worst first. num_seen: how many were seen twice at least, so that something can be said."""

    num_rows: int
    num_seen: int
    never_learnt: Sequence[RowHistory] = ()
    forgotten: Sequence[RowHistory] = ()

    @property
    def lines(self) -> list[str]:
        """The findings for a person to read; none where there is nothing to say."""
        said = []
        for rows, what, how in (
            (
                self.never_learnt,
                "never learnt",
                "the labels may be wrong, or the rows contradict others: look at them",
            ),
            (
                self.forgotten,
                "learnt and forgotten",
                "other rows may say otherwise: look at them, or train more slowly",
            ),
        ):
            if rows:
                named = ", ".join(f"{one.place} ({one.first:.2f} to {one.last:.2f})" for one in rows[:_SHOWN])
                more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
                said.append(f"{len(rows):,} of {self.num_seen:,} rows were {what}: {named}{more}; {how}")
        return said

    def as_json(self) -> dict[str, object]:
        """For another program: the counts, and each row with its place and losses."""
        return {
            "num_rows": self.num_rows,
            "num_seen_twice": self.num_seen,
            "never_learnt": [vars(one) for one in self.never_learnt],
            "forgotten": [vars(one) for one in self.forgotten],
        }


def find_rows(histories: Sequence[RowHistory]) -> RowFindings:
    """What the losses say. Rows seen once say nothing."""
    seen = [one for one in histories if one.times > 1]
    if not seen:
        return RowFindings(len(histories), 0)
    middle = median(one.last for one in seen)
    gain = median(_gain(one) for one in seen)
    never = [one for one in seen if gain > _LEAST_GAIN and _gain(one) < gain / 2 and one.last > middle]
    forgotten = [one for one in seen if _forgotten(one)]
    return RowFindings(
        len(histories),
        len(seen),
        sorted(never, key=lambda one: -one.last),
        sorted(forgotten, key=lambda one: one.lowest - one.last),
    )


def _gain(one: RowHistory) -> float:
    return 1 - one.lowest / one.first if one.first > _NEAR_ZERO else 1.0


def _forgotten(one: RowHistory) -> bool:
    learnt = one.lowest <= _LEARNT * one.first or one.lowest < _NEAR_ZERO < one.first
    lost = one.last - one.lowest
    return learnt and lost > max(_NEAR_ZERO, (one.first - one.lowest) / 2)
