"""Kahneman-Tversky optimisation (arXiv:2402.01306): single answers, each with a thumb up or down.

r = log(policy/reference) of an answer; its loss is

    desirable     desirable_weight   (1 - sigmoid(beta (r - z)))
    undesirable   undesirable_weight (1 - sigmoid(beta (z - r)))

z = max(0, mean of r over mismatched rows) estimates the KL divergence of the policy from the reference: each prompt of
the step with the answer of the row before it in the data (see `luthier.data.preferences`). It is measured over the
whole step before its gradients are formed, and is a constant in them. Knows nothing of models and data.
"""

import torch
from torch import Tensor

from luthier.training.objective_config import KtoObjective
from luthier.training.objectives.log_probs import row_log_probs, rows_of
from luthier.training.objectives.objective import LossSums, Objective, Outputs, Targets


def kto_losses(ratios_U: Tensor, desirable_U: Tensor, kl: float, config: KtoObjective) -> Tensor:
    """The loss of each answer, shape (U,). `kl` is z before it is bounded below by 0."""
    sign = torch.where(desirable_U, 1.0, -1.0).to(ratios_U.dtype)
    weight = torch.where(desirable_U, config.desirable_weight, config.undesirable_weight).to(ratios_U.dtype)
    return weight * (1 - torch.sigmoid(sign * config.beta * (ratios_U - max(0.0, kl))))


def _ratios(outputs: Outputs, targets: Targets) -> tuple[Tensor, Tensor]:
    """(log(policy/reference) of each unit, is it desirable?)."""
    rows, found = rows_of(targets), row_log_probs(outputs, targets)
    assert rows.reference_B is not None, "kto needs the reference's log-probabilities"
    zeros_U = torch.zeros(rows.num_units, dtype=found.sums_B.dtype, device=found.sums_B.device)
    ratios = zeros_U.index_add(0, rows.unit_B, found.sums_B - rows.reference_B.to(found.sums_B.dtype))
    desirable = torch.zeros_like(zeros_U, dtype=torch.bool)
    desirable[rows.unit_B] = rows.better_B
    return ratios, desirable


def kto(config: KtoObjective) -> Objective:
    """The objective with its numbers."""

    def loss(outputs: Outputs, targets: Targets) -> LossSums:
        ratios, desirable = _ratios(outputs, targets)
        rewards = config.beta * ratios.detach()
        count = float(len(ratios))
        metrics = {
            "reward_desirable": (float(rewards[desirable].sum()), float(desirable.sum())),
            "reward_undesirable": (float(rewards[~desirable].sum()), float((~desirable).sum())),
            "kl": (max(0.0, targets.baseline) * count, count),
        }
        losses_U = kto_losses(ratios, desirable, targets.baseline, config)
        return LossSums(losses_U.sum(), metrics, losses_U=losses_U.detach())

    def divergence(outputs: Outputs, targets: Targets) -> tuple[float, float]:
        ratios, _ = _ratios(outputs, targets)
        return float(ratios.sum()), float(len(ratios))

    return Objective("kto", rows="feedback", loss=loss, needs_reference=True, baseline=divergence)
