"""The norm by the root of the mean square (arXiv:1910.07467), keeping its input and one number a token.

    y = w * x r,   r = (mean(x^2) + eps)^(-1/2)
    dx = r (w dy - x r mean(w dy x r)),   dw = sum dy x r

Computed in float32 for lower dtypes, as models do. This file knows nothing of models.
"""

from typing import Any

import torch
from torch import Tensor


class _RmsNorm(torch.autograd.Function):
    """x (N, C), weight (C) -> (N, C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        norm_N1 = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        rate_N1 = norm_N1.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, rate_N1)
        y: Tensor = (wide * rate_N1).to(x.dtype) * weight
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = grad_outputs
        x, weight, rate_N1 = ctx.saved_tensors
        needs_x, needs_weight, _ = ctx.needs_input_grad
        wide = x.to(rate_N1.dtype) * rate_N1
        d_weight = (dy * wide.to(dy.dtype)).sum(0).to(weight.dtype) if needs_weight else None
        if not needs_x:
            return None, d_weight, None
        dx = (dy * weight).to(rate_N1.dtype)
        mean_N1 = torch.linalg.vecdot(dx, wide, dim=-1)[:, None].div_(-x.shape[-1])
        return dx.addcmul_(wide, mean_N1).mul_(rate_N1).to(x.dtype), d_weight, None


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x (..., C), weight (C) -> (..., C)."""
    y: Tensor = _RmsNorm.apply(x.reshape(-1, x.shape[-1]), weight, epsilon)  # type: ignore[no-untyped-call]
    return y.view(x.shape)
