"""When the loss of a step stands out from those before it.

A spike is found by a robust z-score: how many deviations (1.4826 times the median absolute deviation, which is the
standard deviation of a normal distribution) the loss lies above the median of the last steps. Knows nothing of
models or files.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median

WINDOW = 50
_FEWEST = 12  # steps before which no deviation is known
_DEVIATIONS = 8.0
_LEAST_SHARE = 0.25  # of the median: on a smooth curve a small step is many deviations


@dataclass
class SpikeWatch:
    """The losses of the last steps. After a resume it begins anew."""

    losses: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def see(self, loss: float) -> float | None:
        """Take in the loss of a step; its robust z-score where it is a spike, else None."""
        before = list(self.losses)
        self.losses.append(loss)
        if len(before) < _FEWEST:
            return None
        middle = median(before)
        deviation = 1.4826 * median(abs(one - middle) for one in before)
        score = (loss - middle) / max(deviation, 1e-9)
        return score if score >= _DEVIATIONS and loss - middle >= _LEAST_SHARE * abs(middle) else None

    @property
    def typical(self) -> float:
        """The median of the last losses; NaN before the first."""
        return median(self.losses) if self.losses else math.nan
