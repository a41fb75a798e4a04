"""Odds-ratio preference optimisation (arXiv:2403.07691): learn the chosen answer and push the odds apart, in one.

loss of a pair = nll - beta log sigmoid(log odds(chosen) - log odds(rejected)), where p is the geometric mean of an
answer's token probabilities, odds = p / (1 - p), and nll = -log p(chosen). No reference model. The paper calls beta
lambda. Knows nothing of models and data.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from luthier.training.objective_config import OrpoObjective
from luthier.training.objectives.objective import LossSums, Objective, Outputs, Targets
from luthier.training.objectives.pairs import Pairs, answer_metrics, pairs_of, reward_metrics


def _log_odds(mean_logps: Tensor) -> Tensor:
    # A probability that rounds to 1 has no odds.
    below = mean_logps.clamp(max=-torch.finfo(mean_logps.dtype).eps)
    return below - torch.log(-torch.expm1(below))


def odds_ratio_losses(pairs: Pairs, config: OrpoObjective) -> Tensor:
    """-beta log sigmoid of the log odds ratio of each pair, shape (U,)."""
    return -config.beta * logsigmoid(_log_odds(pairs.chosen_mean_U) - _log_odds(pairs.rejected_mean_U))


def orpo(config: OrpoObjective) -> Objective:
    """The objective with its numbers."""

    def loss(outputs: Outputs, targets: Targets) -> LossSums:
        pairs = pairs_of(outputs, targets)
        nll_U = -pairs.chosen_mean_U
        ratio_U = odds_ratio_losses(pairs, config)
        rewards = (config.beta * side.detach() for side in (pairs.chosen_mean_U, pairs.rejected_mean_U))
        metrics = (
            reward_metrics(*rewards)
            | answer_metrics(pairs)
            | {
                "nll": (float(nll_U.detach().sum()), float(len(nll_U))),
                "odds_ratio_loss": (float(ratio_U.detach().sum()), float(len(ratio_U))),
            }
        )
        losses_U = nll_U + ratio_U
        return LossSums(losses_U.sum(), metrics, losses_U=losses_U.detach())

    return Objective("orpo", rows="preference", loss=loss)
