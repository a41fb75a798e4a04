"""Token-weighted cross-entropy from hidden states, without ever holding all logits.

loss = sum_t weight_t * (logsumexp(logits_t) - logits_t[target_t]), a sum: the caller divides by the weight of
the whole optimizer step, so that micro-batches, however cut, add up to the large batch. With a label smoothing of s,
the target has 1 - s of the label and every token of the vocabulary s / V (Szegedy et al. 2016, arXiv:1512.00567).

Logits are made for the supervised positions only and in chunks; gradients of hidden states and of the head
are formed chunk by chunk in the forward pass, while the chunk's logits are still at hand (the idea of the
chunked linear cross-entropy of Liger Kernel, arXiv:2410.10989). This file knows nothing of models or data.
"""

from typing import Any

import torch
from torch import Tensor

from luthier.models.forward import Head
from luthier.training.objectives.kept_head import is_kept, kept_log_probs

_CHUNK_BYTES = 16 << 20  # float32 logits held at once; small enough to stay in the cache of a laptop


class _ChunkedCrossEntropy(torch.autograd.Function):
    """(sum of weighted token losses, each token's own loss); inputs (N, C), (V, C), (V) or None, targets (N),
    weights (N). Only the sum has a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NC: Tensor,
        weight_VC: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        weights_N: Tensor,
        scale: float,
        softcap: float,
        smoothing: float,
    ) -> tuple[Tensor, Tensor]:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        matrix_VC = weight_VC.to(hidden_NC.dtype)
        grad_hidden_NC = torch.empty_like(hidden_NC) if needs_hidden else None
        precise = torch.float64 if hidden_NC.dtype == torch.float64 else torch.float32
        grad_weight_VC = torch.zeros_like(weight_VC, dtype=precise) if needs_weight else None
        grad_bias_V = torch.zeros_like(bias_V, dtype=precise) if needs_bias and bias_V is not None else None
        losses_N = torch.empty(len(hidden_NC), dtype=precise, device=hidden_NC.device)
        total = torch.zeros((), dtype=precise, device=hidden_NC.device)
        chunk = max(1, _CHUNK_BYTES // (4 * len(weight_VC)))
        for start in range(0, len(hidden_NC), chunk):
            part = slice(start, start + chunk)
            hidden = hidden_NC[part]
            logits = (hidden @ matrix_VC.T).to(precise)
            if bias_V is not None:
                logits += bias_V
            if scale != 1.0:
                logits *= scale
            if softcap:
                logits = softcap * torch.tanh(logits / softcap)
            # d(softcap * tanh(x / softcap))/dx = 1 - tanh^2, wanted before the logits are overwritten.
            slope = 1 - (logits / softcap) ** 2 if softcap else None
            target_logits = logits.gather(1, targets_N[part, None])
            mean_logits = logits.mean(1, keepdim=True) if smoothing else None
            # In place: a pass that writes elsewhere would cost fresh memory of the chunk's size.
            highest = logits.amax(dim=1, keepdim=True)
            sums = logits.sub_(highest).exp_().sum(dim=1, keepdim=True)
            logsumexp = sums.log() + highest
            weights = weights_N[part, None].to(precise)
            losses = logsumexp - target_logits
            if mean_logits is not None:
                losses = (1 - smoothing) * losses + smoothing * (logsumexp - mean_logits)
            losses_N[part] = losses[:, 0]
            total += (losses * weights).sum()
            if not (needs_hidden or needs_weight or needs_bias):
                continue
            weights = weights * scale
            grad = logits.mul_(weights / sums)
            grad.scatter_add_(1, targets_N[part, None], weights * (smoothing - 1.0))
            if smoothing:
                grad -= weights * (smoothing / len(weight_VC))
            if slope is not None:
                grad *= slope
            grad_low = grad.to(hidden_NC.dtype)
            if grad_hidden_NC is not None:
                torch.mm(grad_low, matrix_VC, out=grad_hidden_NC[part])
            if grad_weight_VC is not None:
                grad_weight_VC += grad_low.T @ hidden
            if grad_bias_V is not None:
                grad_bias_V += grad.sum(0)
        ctx.save_for_backward(grad_hidden_NC, grad_weight_VC, grad_bias_V)
        ctx.dtypes = (weight_VC.dtype, bias_V.dtype if bias_V is not None else None)
        ctx.mark_non_differentiable(losses_N)
        return total, losses_N

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_total = grad_outputs[0]
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        weight_dtype, bias_dtype = ctx.dtypes
        return (
            grad_hidden * grad_total.to(grad_hidden.dtype) if grad_hidden is not None else None,
            (grad_weight * grad_total).to(weight_dtype) if grad_weight is not None else None,
            (grad_bias * grad_total).to(bias_dtype) if grad_bias is not None else None,
            *[None] * 5,
        )


def token_cross_entropy(
    hidden_MC: Tensor, head: Head, targets_M: Tensor, weights_M: Tensor, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """(the sum of weighted token losses, each token's loss without its weight, detached).

    In float32, or float64 where the hidden states are. hidden_MC: hidden states, targets_M: int64 id that each
    predicts, weights_M: float. Any common shape before C; a token of weight 0 has the loss 0.
    """
    chosen = weights_M != 0
    total, losses = chosen_cross_entropy(
        hidden_MC[chosen], head, targets_M[chosen], weights_M[chosen], label_smoothing
    )
    losses_M = torch.zeros(targets_M.shape, dtype=losses.dtype, device=losses.device)
    losses_M[chosen] = losses
    return total, losses_M


def chosen_cross_entropy(
    hidden_NC: Tensor, head: Head, targets_N: Tensor, weights_N: Tensor, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """`token_cross_entropy` where every position is known to count."""
    if is_kept(hidden_NC, head) and not label_smoothing:
        logps_N = kept_log_probs(hidden_NC, head, targets_N)
        return -(logps_N * weights_N.to(logps_N.dtype)).sum(), -logps_N.detach()
    found: tuple[Tensor, Tensor] = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_NC,
        head.weight_VC,
        head.bias_V,
        targets_N,
        weights_N,
        head.scale,
        head.softcap,
        label_smoothing,
    )
    return found


def weighted_cross_entropy(hidden_MC: Tensor, head: Head, targets_M: Tensor, weights_M: Tensor) -> Tensor:
    """The sum alone: a scalar (see `token_cross_entropy`)."""
    return token_cross_entropy(hidden_MC, head, targets_M, weights_M)[0]
