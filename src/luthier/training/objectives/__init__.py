"""What is learnt: each objective turns the model's outputs on a micro-batch into a loss sum.

An objective is a function `(outputs, targets) -> LossSums`; the loop divides by the weight of the whole step: of its
tokens, or the number of its units where rows belong together.
`sft` and `cpt` share the token-weighted cross-entropy: what differs is which tokens carry weight, and that
is settled when rows are rendered (`rows` says how). The others are functions of the log-probabilities of rows.
"""

from luthier.training.objective_config import (
    DpoObjective,
    KtoObjective,
    ObjectiveConfig,
    OrpoObjective,
    SimpoObjective,
)
from luthier.training.objectives.cross_entropy import weighted_cross_entropy
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


def _cross_entropy(outputs: Outputs, targets: Targets) -> LossSums:
    return LossSums(
        weighted_cross_entropy(outputs.hidden_MC, outputs.head, targets.targets_M, targets.weights_M)
    )


OBJECTIVES: dict[str, Objective] = {
    "sft": Objective("sft", rows="chat", loss=_cross_entropy),
    "cpt": Objective("cpt", rows="text", loss=_cross_entropy),
}
"""Those that have no numbers of their own."""


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
        case _:
            return OBJECTIVES[config.name]
