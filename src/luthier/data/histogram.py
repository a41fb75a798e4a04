"""How often each length occurs, in bounded memory, whatever the number of rows.

Lengths under 4,096 are counted exactly; a longer one is counted as the next lower number of 12 significant bits, at
most 0.05% below it. The sum, the count and the greatest length are exact. Two histograms add up to the one of all
rows. Knows nothing of what is long.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

_BITS = 12
_EXACT_BELOW = 1 << _BITS
_BINS = 20
PERCENTILES = (50, 90, 95, 99)


@dataclass
class Histogram:
    """Counts of lengths (whole numbers, 0 and up)."""

    counts: Counter[int] = field(default_factory=Counter)
    total: int = 0
    longest: int = 0

    def add(self, length: int) -> None:
        if length >= _EXACT_BELOW:
            shift = length.bit_length() - _BITS
            self.counts[length >> shift << shift] += 1
        else:
            self.counts[length] += 1
        self.total += length
        self.longest = max(self.longest, length)

    def merge(self, other: "Histogram") -> None:
        self.counts.update(other.counts)
        self.total += other.total
        self.longest = max(self.longest, other.longest)

    @property
    def num_rows(self) -> int:
        return self.counts.total()

    @property
    def mean(self) -> float:
        return self.total / self.num_rows if self.num_rows else 0.0

    def items(self) -> list[tuple[int, int]]:
        """(length, rows) from short to long."""
        return sorted(self.counts.items())

    def percentile(self, percent: float) -> int:
        """The length that `percent` of the rows do not exceed (the nearest rank); 0 where there are none."""
        rank = percent / 100 * self.num_rows
        lengths = self.items()
        for (length, _), so_far in zip(lengths, accumulate(count for _, count in lengths), strict=True):
            if so_far >= rank:
                return length
        return 0

    def num_over(self, length: float) -> int:
        """How many rows are longer."""
        return sum(count for one, count in self.counts.items() if one > length)

    def summary(self) -> dict[str, Any]:
        """`p50`, `p90`, `p95`, `p99`, `max`, `mean`: JSON values."""
        found: dict[str, Any] = {f"p{percent}": self.percentile(percent) for percent in PERCENTILES}
        return found | {"max": self.longest, "mean": round(self.mean, 2)}

    def bins(self) -> list[dict[str, int | None]]:
        """At most 20 bins of one round width, to draw: `from` inclusive, `to` exclusive, `count`.

        They begin with the shortest length. The last bin reaches to any length (`to` is None) where a few rows are
        far longer than the others.
        """
        if not self.counts:
            return []
        shortest, reach = min(self.counts), min(self.longest, 2 * self.percentile(99))
        width = next(w for w in _round_numbers() if reach // w - shortest // w < _BINS)
        first, last = shortest // width, reach // width
        drawn = [0] * (last - first + 1)
        for length, count in self.counts.items():
            drawn[min(length // width, last) - first] += count
        ends: list[int | None] = [(number + 1) * width for number in range(first, last + 1)]
        if self.longest >= (last + 1) * width:
            ends[-1] = None
        return [
            {"from": number * width, "to": end, "count": count}
            for number, end, count in zip(range(first, last + 1), ends, drawn, strict=True)
        ]


def _round_numbers() -> Iterator[int]:
    size = 1
    while True:
        yield from (size, 2 * size, 5 * size)
        size *= 10
