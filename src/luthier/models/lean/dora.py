"""Linear layers with a DoRA adapter that keep one product for the backward pass, and no copy of the weight.

    y = b + W (x - x') + r z,   z = W x' + s B A x',   r = m / |W + s B A|,   x' = drop(x)      arXiv:2402.09353
    dx' = (r dy) W + s (r dy B) A,   dr = sum dy z,   d(s B A) as of LoRA with r dy in the place of dy

The norms are of rows, and constants for the backward pass, as in the paper. PEFT forms s B A in full from an identity
matrix, and keeps three products a layer. This file knows nothing of models.
"""

from typing import Any

import torch
from torch import Tensor

from luthier.models.kept import product, product_back, widened
from luthier.models.lean.linear import dropout_mask, dropped


@torch.no_grad()
def row_norms(weight: Tensor, a: Tensor, b: Tensor, scaling: float) -> Tensor:
    """|W + s B A| of each row: W (out, in), A (rank, in), B (out, rank) -> (out,), in the dtype of A.

    Squared it is |W|^2 + s B (2 W A^T + s B A A^T), which holds nothing of the size of W. W may be narrower.
    """
    squares = torch.empty(len(weight), dtype=a.dtype, device=a.device)
    with torch.autocast(a.device.type, enabled=False):
        scaled, inner = scaling * b, a @ a.T
        for rows, wide in widened(weight, a.dtype):
            sides = torch.addmm(scaled[rows] @ inner, wide, a.T, alpha=2)
            squares[rows] = torch.linalg.vecdot(wide, wide) + (scaled[rows] * sides).sum(1)
    return squares.sqrt_()


class _Dora(torch.autograd.Function):
    """x (N, in), weight (out, in), bias (out) or None, A (rank, in), B (out, rank), ratio r (out) -> (N, out)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        lora_a: Tensor,
        lora_b: Tensor,
        ratio: Tensor,
        scaling: float,
        dropout: float,
    ) -> Tensor:
        ctx.scaling, ctx.dropout = scaling, dropout
        mask = dropout_mask(x, dropout)
        kept = dropped(x, mask, dropout)
        low = kept @ lora_a.T
        z = product(kept, weight).addmm_(low, lora_b.T, alpha=scaling)
        ctx.save_for_backward(x, weight, lora_a, lora_b, ratio, mask, low, z)
        if mask is not None:
            return product(x - kept, weight, bias).add_(z * ratio)
        y = z * ratio
        return (y if bias is None else y.add_(bias)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = grad_outputs
        x, weight, lora_a, lora_b, ratio, mask, low, z = ctx.saved_tensors
        dz = (dy * ratio).to(dy.dtype)
        d_low = (dz @ lora_b).mul_(ctx.scaling)
        dx = None
        if ctx.needs_input_grad[0] and mask is None:
            dx = product_back(dz, weight).addmm_(d_low, lora_a)
        elif ctx.needs_input_grad[0]:
            plain, through = product_back(torch.cat([dy, dz]), weight).chunk(2)
            dx = plain + dropped(through.addmm(d_low, lora_a).sub_(plain), mask, ctx.dropout)
        d_bias = dy.sum(0) if ctx.needs_input_grad[2] else None
        d_a = d_low.T @ dropped(x, mask, ctx.dropout)
        d_b = (dz.T @ low).mul_(ctx.scaling)
        d_ratio = torch.linalg.vecdot(dy.to(ratio.dtype), z.to(ratio.dtype), dim=0)
        return dx, None, d_bias, d_a, d_b, d_ratio, None, None


def dora_linear(
    x: Tensor,
    ratio: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lora_a: Tensor,
    lora_b: Tensor,
    scaling: float,
    dropout: float,
) -> Tensor:
    """x (..., in), a frozen weight (out, in), A (rank, in), B (out, rank), ratio (out) -> (..., out), dtype of x.

    `ratio`: the magnitudes over `row_norms`. The weight may be narrower than x (see models.kept).
    """
    y: Tensor = _Dora.apply(  # type: ignore[no-untyped-call]
        x.reshape(-1, x.shape[-1]), weight, bias, lora_a, lora_b, ratio, scaling, dropout
    )
    return y.view(*x.shape[:-1], -1)
