"""What is learnt: each objective turns the model's outputs on a micro-batch into a weighted loss sum.

An objective is a function `(outputs, batch) -> LossSums`; the loop divides by the weight of the whole step.
`sft` and `cpt` share the token-weighted cross-entropy: what differs is which tokens carry weight, and that
is settled when rows are rendered (`rows` says how).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from luthier.models.forward import Head
from luthier.training.objectives.cross_entropy import weighted_cross_entropy


@dataclass(frozen=True)
class Outputs:
    """What the backbone gave for a micro-batch: the final hidden states that the M targets are predicted from.

    hidden_MC: shape (M, channels); head: makes logits of them.
    """

    hidden_MC: Tensor
    head: Head


@dataclass(frozen=True)
class Targets:
    """What a micro-batch asks for. targets_M: ids to predict; weights_M: how much each counts, never 0."""

    targets_M: Tensor
    weights_M: Tensor


@dataclass(frozen=True)
class LossSums:
    """A loss as sums, so that it adds up over micro-batches. `metrics` are sums too."""

    loss_sum: Tensor
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """A name, how its rows are made (conversations or plain text), and its loss."""

    name: str
    rows: Literal["chat", "text"]
    loss: Callable[[Outputs, Targets], LossSums]


def _cross_entropy(outputs: Outputs, targets: Targets) -> LossSums:
    return LossSums(
        weighted_cross_entropy(outputs.hidden_MC, outputs.head, targets.targets_M, targets.weights_M)
    )


OBJECTIVES: dict[str, Objective] = {
    "sft": Objective("sft", rows="chat", loss=_cross_entropy),
    "cpt": Objective("cpt", rows="text", loss=_cross_entropy),
}
