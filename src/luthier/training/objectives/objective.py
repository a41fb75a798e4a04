"""What an objective is: what it is given of a micro-batch, and what it answers.

Knows nothing of single objectives, of models and of the loop.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from luthier.models.forward import Head
from luthier.training.objective_config import DistillObjective

RowKind = Literal["chat", "text", "preference", "feedback", "comparison"]


@dataclass(frozen=True)
class Outputs:
    """What the backbone gave for a micro-batch: the final hidden states that the M targets are predicted from.

    hidden_MC: shape (M, channels); head: makes logits of them.
    """

    hidden_MC: Tensor
    head: Head


@dataclass(frozen=True)
class RowTargets:
    """Whose the targets are, where rows count and not single tokens. B rows, U units of rows that belong together.

    D entries, one for each supervised token of each row: index_D is its place among the M targets (rows may share
    one), row_D its row, weights_D how much it counts. unit_B: each row's unit. better_B: is it the chosen or desirable
    answer? reference_B: each row's log-probability under the reference model, where the objective asked for it.
    """

    index_D: Tensor
    row_D: Tensor
    weights_D: Tensor
    unit_B: Tensor
    better_B: Tensor
    num_units: int
    reference_B: Tensor | None = None


@dataclass(frozen=True)
class SoftLogProbs:
    """A teacher's log-probabilities of K tokens at each of M targets, and of all other tokens together.

    token_ids_MK, log_probs_MK of shape (M, K + 1); or no ids, and the log-probabilities of the whole vocabulary.
    """

    token_ids_MK: Tensor | None
    log_probs_MK: Tensor


@dataclass(frozen=True)
class Targets:
    """What a micro-batch asks for. targets_M: ids to predict; weights_M: how much each counts, never 0.

    rows: whose they are, where rows belong together. baseline: what the objective's `baseline` measured over the whole
    step, its mean. teacher: what a teacher says at each target.
    """

    targets_M: Tensor
    weights_M: Tensor
    rows: RowTargets | None = None
    baseline: float = 0.0
    teacher: SoftLogProbs | None = None


@dataclass(frozen=True)
class LossSums:
    """A loss as a sum, so that it adds up over micro-batches. `metrics`: (sum, what to divide it by in the end).

    Of what the sum is made, detached: losses_M of each target, or losses_U of each unit where rows belong together.
    """

    loss_sum: Tensor
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    losses_M: Tensor | None = None
    losses_U: Tensor | None = None


class Averages:
    """Adds up metrics over micro-batches."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, metrics: Mapping[str, tuple[float, float]]) -> None:
        """Add those of a micro-batch."""
        for name, (value, weight) in metrics.items():
            before = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = (before[0] + value, before[1] + weight)

    def means(self) -> dict[str, float]:
        """What was added, divided; a metric of nothing (no desirable answer in a step, say) is left out."""
        return {name: value / weight for name, (value, weight) in self._sums.items() if weight}


Loss = Callable[[Outputs, Targets], LossSums]
Baseline = Callable[[Outputs, Targets], tuple[float, float]]


@dataclass(frozen=True)
class Objective:
    """A name, how its rows are made, and its loss.

    needs_reference: the rows' log-probabilities under the model as it was before training have to be known.
    teacher: how the rows' soft labels are made, where it learns from those of another model.
    scores: it trains a scalar head, and the model writes no text.
    baseline: measured without gradient on the rows `beside` a step's batches, before the step: (sum, number); the mean
    over the whole step is handed to the loss.
    """

    name: str
    rows: RowKind
    loss: Loss
    needs_reference: bool = False
    baseline: Baseline | None = None
    teacher: DistillObjective | None = None
    scores: bool = False
