"""Direct preference optimisation: raise the chosen answer over the rejected one, measured against the reference model.

delta = log(policy/reference)(chosen) - log(policy/reference)(rejected), of whole answers; the loss of a pair is

    sigmoid   -(1 - s) log sigmoid(beta delta) - s log sigmoid(-beta delta)     arXiv:2305.18290, eq. 7; s: smoothing
    ipo       (delta' - 1 / (2 beta))^2, delta' with each answer's ratio per unit of weight     arXiv:2310.12036, eq. 17
    hinge     max(0, 1 - beta delta)                                            arXiv:2305.10425

Rewards are beta log(policy/reference). Knows nothing of models and data.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from luthier.training.objective_config import DpoObjective
from luthier.training.objectives.objective import LossSums, Objective, Outputs, Targets
from luthier.training.objectives.pairs import Pairs, answer_metrics, pairs_of, reward_metrics


def dpo_losses(pairs: Pairs, config: DpoObjective) -> Tensor:
    """The loss of each pair, shape (U,)."""
    delta = pairs.chosen_ratio_U - pairs.rejected_ratio_U
    if config.loss == "ipo":
        # Per token, as the authors of the paper confirmed to TRL: else long answers would need a larger gap.
        chosen = pairs.chosen_ratio_U / pairs.chosen_weight_U
        rejected = pairs.rejected_ratio_U / pairs.rejected_weight_U
        return (chosen - rejected - 1 / (2 * config.beta)) ** 2
    if config.loss == "hinge":
        return torch.relu(1 - config.beta * delta)
    smoothing = config.label_smoothing
    return -(1 - smoothing) * logsigmoid(config.beta * delta) - smoothing * logsigmoid(-config.beta * delta)


def dpo(config: DpoObjective) -> Objective:
    """The objective with its numbers."""

    def loss(outputs: Outputs, targets: Targets) -> LossSums:
        pairs = pairs_of(outputs, targets)
        rewards = (config.beta * side.detach() for side in (pairs.chosen_ratio_U, pairs.rejected_ratio_U))
        losses_U = dpo_losses(pairs, config)
        metrics = reward_metrics(*rewards) | answer_metrics(pairs)
        return LossSums(losses_U.sum(), metrics, losses_U=losses_U.detach())

    return Objective("dpo", rows="preference", loss=loss, needs_reference=True)
