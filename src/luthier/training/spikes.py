"""When the loss of a step stands out from those before it, and what it may mean that it is no number.

A spike is found by a robust z-score: how many deviations (1.4826 times the median absolute deviation, which is the
standard deviation of a normal distribution) the loss lies above the median of the last steps. Knows nothing of
models or files.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

WINDOW = 50
_FEWEST = 12  # steps before which no deviation is known
_DEVIATIONS = 8.0
_LEAST_SHARE = 0.25  # of the median: on a smooth curve a small step is many deviations
NOT_FINITE = "expected finite numbers"  # stands in the reason of a run that such a step stopped
_RISING = 1.5


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


def why_not_finite(
    loss: float,
    grad_norm: float,
    *,
    before: Sequence[float],
    weight_sum: float,
    learning_rate: float,
    float16: bool,
    broken_weight: str | None,
) -> str:
    """What most likely made loss or gradient no number, with the evidence and what to do.

    before: the losses of the last steps. weight_sum: of the step's tokens. broken_weight: the name of a weight that was
    not finite before this step.
    """
    if weight_sum == 0:
        return "Likely cause: empty rows. No token of these rows carries a weight, so there is no mean; remove them"
    if broken_weight is not None:
        return (
            f"Likely cause: the weight {broken_weight} was not finite before this step: the model's files are broken, "
            "or its numbers do not fit in this dtype. Try train.dtype=float32, or fetch the model again"
        )
    if len(before) >= 2 and before[-1] > _RISING * min(before):
        return (
            f"Likely cause: the learning rate ({learning_rate:.3g}). The loss had risen from {min(before):.3g} to "
            f"{before[-1]:.3g} within the last {len(before)} steps. Try optim.learning_rate={learning_rate / 10:.1g}"
        )
    if float16:
        return (
            "Likely cause: float16 overflow: it holds numbers up to 65504. Try train.dtype=bfloat16, or float32 where "
            "the device has no bfloat16"
        )
    if not before:
        return (
            "It is the first step, so the model or these rows make it. Try train.dtype=float32; if that is no better, "
            "look at the rows: luthier data show"
        )
    said = (
        "the loss is a number, its gradient is not" if math.isfinite(loss) else "the loss before was ordinary"
    )
    return (
        f"The loss had not risen before ({before[-1]:.3g}), and {said}: look at these rows first (luthier data show), "
        f"then try train.dtype=float32 or optim.learning_rate={learning_rate / 10:.1g}"
    )
