"""Simple preference optimisation (arXiv:2405.14734): mean log-probabilities as rewards, a margin, no reference model.

loss of a pair = -log sigmoid(beta (mean log p(chosen) - mean log p(rejected)) - gamma).

Knows nothing of models and data.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid

from luthier.training.objective_config import SimpoObjective
from luthier.training.objectives.objective import LossSums, Objective, Outputs, Targets
from luthier.training.objectives.pairs import Pairs, answer_metrics, pairs_of, reward_metrics


def simpo_losses(pairs: Pairs, config: SimpoObjective) -> Tensor:
    """The loss of each pair, shape (U,)."""
    return -logsigmoid(config.beta * (pairs.chosen_mean_U - pairs.rejected_mean_U) - config.gamma)


def simpo(config: SimpoObjective) -> Objective:
    """The objective with its numbers."""

    def loss(outputs: Outputs, targets: Targets) -> LossSums:
        pairs = pairs_of(outputs, targets)
        rewards = (config.beta * side.detach() for side in (pairs.chosen_mean_U, pairs.rejected_mean_U))
        losses_U = simpo_losses(pairs, config)
        metrics = reward_metrics(*rewards) | answer_metrics(pairs)
        return LossSums(losses_U.sum(), metrics, losses_U=losses_U.detach())

    return Objective("simpo", rows="preference", loss=loss)
