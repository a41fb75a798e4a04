"""The chosen and the rejected answer of each unit, as sums over their rows, and what is told of them.

Knows nothing of single objectives.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from luthier.training.objectives.log_probs import row_log_probs, rows_of
from luthier.training.objectives.objective import Outputs, RowTargets, Targets


@dataclass(frozen=True)
class Pairs:
    """U pairs. Log-probabilities of whole answers (weighted sums over tokens), and the weight of their tokens."""

    chosen_U: Tensor
    rejected_U: Tensor
    chosen_weight_U: Tensor
    rejected_weight_U: Tensor
    reference_chosen_U: Tensor
    reference_rejected_U: Tensor

    @property
    def chosen_ratio_U(self) -> Tensor:
        """log (policy / reference) of the chosen answers."""
        return self.chosen_U - self.reference_chosen_U

    @property
    def rejected_ratio_U(self) -> Tensor:
        """log (policy / reference) of the rejected answers."""
        return self.rejected_U - self.reference_rejected_U

    @property
    def chosen_mean_U(self) -> Tensor:
        """The log-probability per unit of weight of the chosen answers."""
        return self.chosen_U / self.chosen_weight_U

    @property
    def rejected_mean_U(self) -> Tensor:
        """The log-probability per unit of weight of the rejected answers."""
        return self.rejected_U / self.rejected_weight_U


def pairs_of(outputs: Outputs, targets: Targets) -> Pairs:
    """The pairs of a micro-batch; reference log-probabilities are 0 where none were asked for."""
    rows, found = rows_of(targets), row_log_probs(outputs, targets)
    chosen, rejected = side_sums(rows, found.sums_B)
    chosen_weight, rejected_weight = side_sums(rows, found.weights_B)
    reference_B = torch.zeros_like(found.sums_B) if rows.reference_B is None else rows.reference_B
    reference = side_sums(rows, reference_B.to(found.sums_B.dtype))
    return Pairs(chosen, rejected, chosen_weight, rejected_weight, *reference)


def side_sums(rows: RowTargets, values_B: Tensor) -> tuple[Tensor, Tensor]:
    """(sums over the chosen rows of each unit, over the rejected ones)."""
    zeros_U = torch.zeros(rows.num_units, dtype=values_B.dtype, device=values_B.device)
    better = rows.better_B
    return (
        zeros_U.index_add(0, rows.unit_B[better], values_B[better]),
        zeros_U.index_add(0, rows.unit_B[~better], values_B[~better]),
    )


def reward_metrics(chosen_U: Tensor, rejected_U: Tensor) -> dict[str, tuple[float, float]]:
    """What is told of the rewards of pairs: their means, their margin, the share in which the chosen one is higher."""
    count = float(len(chosen_U))
    return {
        "reward_chosen": (float(chosen_U.sum()), count),
        "reward_rejected": (float(rejected_U.sum()), count),
        "reward_margin": (float((chosen_U - rejected_U).sum()), count),
        "reward_accuracy": (float((chosen_U > rejected_U).sum()), count),
    }


def answer_metrics(pairs: Pairs) -> dict[str, tuple[float, float]]:
    """The mean log-probability per unit of weight of the chosen and of the rejected answers.

    A margin can grow while both fall: then the chosen answers become less likely too.
    """
    count = float(len(pairs.chosen_U))
    return {
        "logp_chosen": (float(pairs.chosen_mean_U.detach().sum()), count),
        "logp_rejected": (float(pairs.rejected_mean_U.detach().sum()), count),
    }
