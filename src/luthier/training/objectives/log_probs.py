"""Log-probabilities of tokens, and of rows as sums of them, without ever holding all logits.

The gradient of a row's loss is known only when the sums of the whole row are, so the backward pass makes each chunk's
logits again. Knows nothing of models, data or losses.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from luthier.models.forward import Head
from luthier.training.objectives.kept_head import is_kept, kept_log_probs
from luthier.training.objectives.objective import Outputs, RowTargets, Targets

_CHUNK_BYTES = 16 << 20  # float32 logits held at once


class _ChunkedLogProbs(torch.autograd.Function):
    """log p(target) of each of M positions; inputs (M, C), (V, C), (V) or None, targets (M)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_MC: Tensor,
        weight_VC: Tensor,
        bias_V: Tensor | None,
        targets_M: Tensor,
        scale: float,
        softcap: float,
    ) -> Tensor:
        device = hidden_MC.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_MC.dtype
        head = Head(weight_VC, bias_V, scale, softcap)
        precise = torch.float64 if low == torch.float64 else torch.float32
        logps_M = torch.empty(len(hidden_MC), dtype=precise, device=hidden_MC.device)
        logsumexp_M = torch.empty_like(logps_M)
        with torch.autocast(device, enabled=False):
            for part in chunks(len(hidden_MC), len(weight_VC)):
                logits, _ = chunk_logits(hidden_MC[part].to(low), head, low, precise)
                target_logits = logits.gather(1, targets_M[part, None])[:, 0]
                highest = logits.amax(dim=1)
                logsumexp_M[part] = logits.sub_(highest[:, None]).exp_().sum(dim=1).log_().add_(highest)
                logps_M[part] = target_logits - logsumexp_M[part]
        ctx.save_for_backward(hidden_MC, weight_VC, bias_V, targets_M, logsumexp_M)
        ctx.head, ctx.low, ctx.precise = (scale, softcap), low, precise
        return logps_M

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_M,) = grad_outputs
        hidden_MC, weight_VC, bias_V, targets_M, logsumexp_M = ctx.saved_tensors
        scale, softcap = ctx.head
        head, low, precise = Head(weight_VC, bias_V, scale, softcap), ctx.low, ctx.precise
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        matrix_VC = weight_VC.to(low)
        grad_hidden = torch.empty_like(hidden_MC) if needs_hidden else None
        grad_weight = torch.zeros_like(weight_VC, dtype=precise) if needs_weight else None
        grad_bias = torch.zeros_like(bias_V, dtype=precise) if needs_bias and bias_V is not None else None
        with torch.autocast(hidden_MC.device.type, enabled=False):
            for part in chunks(len(hidden_MC), len(weight_VC)):
                hidden = hidden_MC[part].to(low)
                logits, slope = chunk_logits(hidden, head, low, precise)
                # d log p(target) / d logits = onehot - softmax
                grad = logits.sub_(logsumexp_M[part, None]).exp_().neg_()
                grad.scatter_add_(1, targets_M[part, None], torch.ones_like(grad[:, :1]))
                grad *= grad_M[part, None].to(precise) * scale
                if slope is not None:
                    grad *= slope
                grad_low = grad.to(low)
                if grad_hidden is not None:
                    grad_hidden[part] = (grad_low @ matrix_VC).to(grad_hidden.dtype)
                if grad_weight is not None:
                    grad_weight += grad_low.T @ hidden
                if grad_bias is not None:
                    grad_bias += grad.sum(0)
        return (
            grad_hidden,
            grad_weight.to(weight_VC.dtype) if grad_weight is not None else None,
            grad_bias.to(bias_V.dtype) if grad_bias is not None else None,
            None,
            None,
            None,
        )


def chunks(count: int, vocabulary: int) -> list[slice]:
    size = max(1, _CHUNK_BYTES // (4 * vocabulary))
    return [slice(start, start + size) for start in range(0, count, size)]


def chunk_logits(
    hidden: Tensor, head: Head, low: torch.dtype, precise: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Logits, and d logits / d (logits before they were bounded) where they are."""
    logits = (hidden @ head.weight_VC.to(low).T).to(precise)
    if head.bias_V is not None:
        logits += head.bias_V
    if head.scale != 1.0:
        logits *= head.scale
    if not head.softcap:
        return logits, None
    logits = head.softcap * torch.tanh(logits / head.softcap)
    return logits, 1 - (logits / head.softcap) ** 2


def token_log_probs(hidden_MC: Tensor, head: Head, targets_M: Tensor) -> Tensor:
    """log p(target) at each of M positions: float32, or float64 where the hidden states are; shape (M,)."""
    if is_kept(hidden_MC, head):
        return kept_log_probs(hidden_MC, head, targets_M)
    logps: Tensor = _ChunkedLogProbs.apply(  # type: ignore[no-untyped-call]
        hidden_MC, head.weight_VC, head.bias_V, targets_M, head.scale, head.softcap
    )
    return logps


@dataclass(frozen=True)
class RowLogProbs:
    """Of each row: the weighted sum of its supervised tokens' log-probabilities, and the sum of their weights."""

    sums_B: Tensor
    weights_B: Tensor


def rows_of(targets: Targets) -> RowTargets:
    """Whose the targets are; an objective that asks had units of rows made for it."""
    assert targets.rows is not None, "this objective compares rows: its dataset needs units"
    return targets.rows


def row_log_probs(outputs: Outputs, targets: Targets) -> RowLogProbs:
    """The log-probabilities of rows; a token that rows share is computed once and counts in each."""
    rows = rows_of(targets)
    logps_M = token_log_probs(outputs.hidden_MC, outputs.head, targets.targets_M)
    weights_D = rows.weights_D.to(logps_M.dtype)
    zeros_B = torch.zeros(len(rows.unit_B), dtype=logps_M.dtype, device=logps_M.device)
    return RowLogProbs(
        zeros_B.index_add(0, rows.row_D, logps_M[rows.index_D] * weights_D),
        zeros_B.index_add(0, rows.row_D, weights_D),
    )
