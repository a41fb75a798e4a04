"""A reward model: a scalar head scores answers so that chosen ones win over rejected ones (Bradley-Terry).

loss of a pair = -log sigmoid(score(chosen) - score(rejected) - margin) + center (score(chosen) + score(rejected))^2

Ouyang et al. 2022, arXiv:2203.02155, eq. 1; the margin: Touvron et al. 2023, arXiv:2307.09288, eq. 2, there a number
for each pair; the second term: Eisenstein et al. 2023, arXiv:2312.09244. A score is read at the last token of an
answer: each row has one entry. Knows nothing of models and data.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from luthier.training.objective_config import RewardObjective
from luthier.training.objectives.log_probs import rows_of
from luthier.training.objectives.objective import LossSums, Objective, Outputs, Targets
from luthier.training.objectives.pairs import reward_metrics, side_sums


def reward_losses(chosen_U: Tensor, rejected_U: Tensor, config: RewardObjective) -> Tensor:
    """The loss of each pair, shape (U,)."""
    losses = -logsigmoid(chosen_U - rejected_U - config.margin)
    return losses + config.center_coefficient * (chosen_U + rejected_U) ** 2


def reward(config: RewardObjective) -> Objective:
    """The objective with its numbers."""

    def loss(outputs: Outputs, targets: Targets) -> LossSums:
        rows = rows_of(targets)
        scores_M = outputs.head.logits(outputs.hidden_MC)[:, 0]
        zeros_B = torch.zeros(len(rows.unit_B), dtype=scores_M.dtype, device=scores_M.device)
        scores_B = zeros_B.index_add(0, rows.row_D, scores_M[rows.index_D])
        chosen, rejected = side_sums(rows, scores_B)
        losses_U = reward_losses(chosen, rejected, config)
        metrics = reward_metrics(chosen.detach(), rejected.detach())
        return LossSums(losses_U.sum(), metrics, losses_U=losses_U.detach())

    return Objective("reward", rows="comparison", loss=loss, scores=True)
