"""Distillation: the student's distribution at each supervised token is drawn to that of a teacher.

With p the teacher and q the student, both at temperature T, the loss of a token is

    (1 - alpha) T^2 D + alpha (-log q_1(token)),   q_1 at temperature 1     Hinton et al. 2015, arXiv:1503.02531, 2

    forward   D = KL(p || q)
    reverse   D = KL(q || p)
    js        D = KL(p || m) / 2 + KL(q || m) / 2, m = (p + q) / 2          Agarwal et al. 2023, arXiv:2306.13649, eq. 1

Where only the teacher's K likeliest tokens are known, p and q are over K + 1 outcomes, the last being any other token:
a lower bound of D, and D itself where K is the vocabulary. Logits are made in chunks, and their gradients while they
are at hand. Knows nothing of teachers, models and data.
"""

import math
from typing import Any

import torch
from torch import Tensor

from luthier.models.forward import Head
from luthier.training.objective_config import DistillObjective
from luthier.training.objectives.log_probs import chunk_logits, chunks
from luthier.training.objectives.objective import LossSums, Objective, Outputs, SoftLogProbs, Targets


def divergence(teacher_MK: Tensor, student_MK: Tensor, kind: str) -> Tensor:
    """D of log-probabilities over the same K outcomes, shape (M,). `kind`: forward, reverse or js."""
    if kind == "forward":
        return _kl(teacher_MK, student_MK)
    if kind == "reverse":
        return _kl(student_MK, teacher_MK)
    mixture_MK = torch.logaddexp(teacher_MK, student_MK) - math.log(2)
    return (_kl(teacher_MK, mixture_MK) + _kl(student_MK, mixture_MK)) / 2


def _kl(of_MK: Tensor, from_MK: Tensor) -> Tensor:
    return (of_MK.exp() * (of_MK - from_MK)).sum(1)


def outcomes(log_probs_MV: Tensor, token_ids_MK: Tensor | None) -> Tensor:
    """Log-probabilities of some tokens and of all others together, shape (M, K + 1); of all tokens without ids."""
    if token_ids_MK is None:
        return log_probs_MV
    some_MK = log_probs_MV.gather(1, token_ids_MK)
    # Summed over the others, not 1 minus the sum: in float32 that difference would be noise.
    others_MV = log_probs_MV.scatter(1, token_ids_MK, -math.inf)
    rest_M1 = torch.logsumexp(others_MV, 1, keepdim=True).clamp_min(LEAST)
    return torch.cat([some_MK, rest_M1], 1)


LEAST = -60.0  # the log-probability of what does not happen: finite, so that 0 log 0 is 0


def token_losses(
    logits_MV: Tensor, targets_M: Tensor, teacher: SoftLogProbs, config: DistillObjective
) -> Tensor:
    """The loss of each token, shape (M,)."""
    student = outcomes((logits_MV / config.temperature).log_softmax(1), teacher.token_ids_MK)
    known = teacher.log_probs_MK.to(logits_MV.dtype)
    soft = config.temperature**2 * divergence(known, student, config.divergence)
    if not config.alpha:
        return soft
    hard = torch.nn.functional.cross_entropy(logits_MV, targets_M, reduction="none")
    return (1 - config.alpha) * soft + config.alpha * hard


class _ChunkedDistillation(torch.autograd.Function):
    """(sum of weighted token losses, each token's own loss). Only the sum has a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_MC: Tensor,
        weight_VC: Tensor,
        bias_V: Tensor | None,
        targets: Targets,
        scale: float,
        softcap: float,
        config: DistillObjective,
    ) -> tuple[Tensor, Tensor]:
        soft = targets.teacher
        assert soft is not None, "distillation needs a teacher's soft labels"
        low = hidden_MC.dtype
        precise = torch.float64 if low == torch.float64 else torch.float32
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.zeros_like(hidden_MC) if needs_hidden else None
        grad_weight = torch.zeros_like(weight_VC, dtype=precise) if needs_weight else None
        grad_bias = torch.zeros_like(bias_V, dtype=precise) if needs_bias and bias_V is not None else None
        losses_M = torch.empty(len(hidden_MC), dtype=precise, device=hidden_MC.device)
        head = Head(weight_VC, bias_V, scale, softcap)
        for part in chunks(len(hidden_MC), len(weight_VC)):
            hidden = hidden_MC[part]
            logits, slope = chunk_logits(hidden, head, low, precise)
            ids = None if soft.token_ids_MK is None else soft.token_ids_MK[part]
            known = SoftLogProbs(ids, soft.log_probs_MK[part])
            with torch.enable_grad():
                logits = logits.detach().requires_grad_()
                losses = token_losses(logits, targets.targets_M[part], known, config)
            losses_M[part] = losses.detach()
            if not any((needs_hidden, needs_weight, needs_bias)):
                continue
            weights = targets.weights_M[part].to(precise)
            (grad,) = torch.autograd.grad(losses, logits, weights)
            grad = grad * scale if slope is None else grad * scale * slope
            grad_low = grad.to(low)
            if grad_hidden is not None:
                grad_hidden[part] = grad_low @ weight_VC.to(low)
            if grad_weight is not None:
                grad_weight += grad_low.T @ hidden
            if grad_bias is not None:
                grad_bias += grad.sum(0)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        ctx.dtypes = (weight_VC.dtype, bias_V.dtype if bias_V is not None else None)
        ctx.mark_non_differentiable(losses_M)
        return (losses_M * targets.weights_M).sum(), losses_M

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_total = grad_outputs[0]
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        weight_dtype, bias_dtype = ctx.dtypes
        return (
            grad_hidden * grad_total.to(grad_hidden.dtype) if grad_hidden is not None else None,
            (grad_weight * grad_total).to(weight_dtype) if grad_weight is not None else None,
            (grad_bias * grad_total).to(bias_dtype) if grad_bias is not None else None,
            *[None] * 4,
        )


def distill(config: DistillObjective) -> Objective:
    """The objective with its numbers."""

    def loss(outputs: Outputs, targets: Targets) -> LossSums:
        head = outputs.head
        total, losses_M = _ChunkedDistillation.apply(  # type: ignore[no-untyped-call]
            outputs.hidden_MC, head.weight_VC, head.bias_V, targets, head.scale, head.softcap, config
        )
        return LossSums(total, losses_M=losses_M)

    return Objective("distill", rows="chat", loss=loss, teacher=config)
