"""What is learnt: each objective turns the model's outputs on a micro-batch into a loss sum.

An objective is a function `(outputs, targets) -> LossSums`; the loop divides by the weight of the whole step: of its
tokens, or the number of its units where rows belong together.
`sft` and `cpt` share the token-weighted cross-entropy: what differs is which tokens carry weight, and that
is settled when rows are rendered (`rows` says how). `distill` asks a teacher at the same tokens, `reward` trains a
head of its own; the others are functions of the log-probabilities of rows.
"""

from luthier.training.objective_config import (
    CptObjective,
    DistillObjective,
    DpoObjective,
    KtoObjective,
    ObjectiveConfig,
    OrpoObjective,
    RewardObjective,
    SftObjective,
    SimpoObjective,
)
from luthier.training.objectives.cross_entropy import token_cross_entropy
from luthier.training.objectives.distill import distill
from luthier.training.objectives.dpo import dpo
from luthier.training.objectives.kto import kto
from luthier.training.objectives.objective import (
    Averages,
    Baseline,
    Loss,
    LossSums,
    Objective,
    Outputs,
    RowKind,
    RowTargets,
    Targets,
)
from luthier.training.objectives.orpo import orpo
from luthier.training.objectives.reward import reward
from luthier.training.objectives.simpo import simpo

__all__ = [
    "OBJECTIVES",
    "Averages",
    "Baseline",
    "Loss",
    "LossSums",
    "Objective",
    "Outputs",
    "RowKind",
    "RowTargets",
    "Targets",
    "make_objective",
]


def of_tokens(name: str, rows: RowKind, label_smoothing: float = 0.0) -> Objective:
    """Token-weighted cross-entropy over rows of a kind."""

    def loss(outputs: Outputs, targets: Targets) -> LossSums:
        total, losses_M = token_cross_entropy(
            outputs.hidden_MC, outputs.head, targets.targets_M, targets.weights_M, label_smoothing
        )
        return LossSums(total, losses_M=losses_M)

    return Objective(name, rows=rows, loss=loss)


OBJECTIVES: dict[str, Objective] = {
    "sft": of_tokens("sft", "chat"),
    "cpt": of_tokens("cpt", "text"),
}
"""Those that need no numbers."""


def make_objective(config: ObjectiveConfig) -> Objective:
    """The objective that a recipe names, with its numbers."""
    match config:
        case DpoObjective():
            return dpo(config)
        case OrpoObjective():
            return orpo(config)
        case SimpoObjective():
            return simpo(config)
        case KtoObjective():
            return kto(config)
        case RewardObjective():
            return reward(config)
        case DistillObjective():
            return distill(config)
        case SftObjective():
            return of_tokens("sft", "chat", config.label_smoothing)
        case CptObjective():
            return of_tokens("cpt", "text", config.label_smoothing)
