"""What it may mean that the loss or the gradient of a step is no number, and the error that says so.

Knows nothing of files, recipes or screens.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn

from luthier.data.batches import Batch
from luthier.errors import TrainingError
from luthier.training.spikes import SpikeWatch

_RISING = 1.5


def places_of(step_batches: Sequence[Batch]) -> list[str]:
    """The `file:line` of each row of a step."""
    return [place for batch in step_batches for place in batch.places_B]


def not_finite(
    step: int,
    loss: float,
    grad_norm: float,
    step_batches: Sequence[Batch],
    watch: SpikeWatch,
    learning_rate: float,
    model: nn.Module,
    compute_dtype: torch.dtype,
) -> TrainingError:
    """The error of step `step` (1-based), whose weights were not moved: its rows, and the likely cause."""
    places = places_of(step_batches)
    cause = why_not_finite(
        loss,
        grad_norm,
        before=list(watch.losses),
        weight_sum=sum(batch.weight_sum for batch in step_batches),
        learning_rate=learning_rate,
        float16=compute_dtype == torch.float16,
        broken_weight=next((name for name, p in model.named_parameters() if not p.isfinite().all()), None),
    )
    return TrainingError(
        f"step {step}: the loss is {loss} and the gradient norm {grad_norm}; expected finite numbers. "
        f"The weights were not moved. {cause}. Rows of this step: {', '.join(places[:16])}"
        f"{' ...' if len(places) > 16 else ''}"
    )


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
