"""Log-probabilities under a frozen head that is narrower than the hidden states, widened once for all positions.

    log p(t) = l_t - log sum_v exp(l_v),      d log p(t) / dh = f'_t W_t - sum_v p_v f'_v W_v

with logits l = f(h W^T + b) and f the scale and bound of the head. The vocabulary is passed over in pieces. Both sums
are kept relative to the highest logit seen so far and put right when a higher one comes (the online softmax of
FlashAttention, arXiv:2205.14135, with rows of W in the place of values). So one pass gives the log-probabilities and
their gradients, which hold as many numbers as the hidden states. Knows nothing of models, data or losses.
"""

from typing import Any

import torch
from torch import Tensor

from luthier.models.forward import Head
from luthier.models.kept import widened

_PIECE_BYTES = 16 << 20  # of the widened head, and of float32 logits, at once


def is_kept(hidden: Tensor, head: Head) -> bool:
    """Is the head frozen, and narrower than the products that it takes part in?"""
    weight = head.weight_VC
    trains = weight.requires_grad or (head.bias_V is not None and head.bias_V.requires_grad)
    narrower = weight.dtype.itemsize < hidden.dtype.itemsize
    return narrower and not trains and not torch.is_autocast_enabled(hidden.device.type)


def kept_log_probs(hidden_NC: Tensor, head: Head, targets_N: Tensor) -> Tensor:
    """log p(target) of each position, in the dtype of the hidden states; shape (N,)."""
    logps: Tensor = _KeptLogProbs.apply(hidden_NC, head, targets_N)  # type: ignore[no-untyped-call]
    return logps


class _KeptLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_NC: Tensor, head: Head, targets_N: Tensor) -> Tensor:
        needs_grad, dtype = ctx.needs_input_grad[0], hidden_NC.dtype
        highest_N1 = hidden_NC.new_full((len(hidden_NC), 1), -torch.inf)
        sums_N1 = torch.zeros_like(highest_N1)
        mean_NC = torch.zeros_like(hidden_NC) if needs_grad else None  # sum_v exp(l_v) f'_v W_v
        rows_at_once = max(len(hidden_NC), head.weight_VC.shape[1])
        piece_bytes = _PIECE_BYTES * head.weight_VC.shape[1] // max(1, rows_at_once)
        for rows, weight in widened(head.weight_VC, dtype, piece_bytes):
            bias = head.bias_V[rows].to(dtype) if head.bias_V is not None else 0
            logits, slope = _bounded(hidden_NC @ weight.T + bias, head)
            before_N1 = highest_N1
            highest_N1 = torch.maximum(before_N1, logits.amax(1, keepdim=True))
            shrunk_N1 = (before_N1 - highest_N1).exp_()
            powers = logits.sub_(highest_N1).exp_()
            sums_N1 = sums_N1 * shrunk_N1 + powers.sum(1, keepdim=True)
            if mean_NC is not None:
                mean_NC.mul_(shrunk_N1).addmm_(powers.mul_(slope), weight)
        weight_NC = head.weight_VC[targets_N].to(dtype)
        bias = head.bias_V[targets_N, None].to(dtype) if head.bias_V is not None else 0
        target_N1, slope = _bounded((hidden_NC * weight_NC).sum(1, keepdim=True) + bias, head)
        if mean_NC is not None:
            mean_NC = weight_NC.mul_(slope).sub_(mean_NC.div_(sums_N1))
        ctx.save_for_backward(mean_NC)
        return (target_N1 - highest_N1 - sums_N1.log())[:, 0]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_N,) = grad_outputs
        (slopes_NC,) = ctx.saved_tensors
        return slopes_NC * grad_N[:, None], None, None


def _bounded(products: Tensor, head: Head) -> tuple[Tensor, Tensor | float]:
    """Logits, and d logits / d products."""
    logits = products * head.scale if head.scale != 1.0 else products
    if not head.softcap:
        return logits, head.scale
    tanh = torch.tanh(logits / head.softcap)
    return head.softcap * tanh, head.scale * (1 - tanh**2)
