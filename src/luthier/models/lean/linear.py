"""Linear layers with a low-rank adapter that keep one copy of their input for the backward pass, and no more.

    y = x W^T + b + s (drop(x) A^T) B^T          LoRA, arXiv:2106.09685; A or W alone may train
    dx = dy W + s mask (dy B) A,  dA = s (dy B)^T drop(x),  dB = s dy^T (drop(x) A^T)

Written as modules, autograd keeps the product of each half, scales and adds them in passes over all of y, and does the
same again backwards. Here both halves go into one sum (`addmm`), and what is kept is x (which layers that read the same
x share), `drop(x) A^T` of rank channels, and one byte an entry for the mask where there is dropout.

The input may be a gated product, `act(gate) * up`: then the two factors are kept and the product is made again.
This file knows nothing of models.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from luthier.models.kept import product, product_back

Activation = Callable[[Tensor], Tensor]


def dropout_mask(x: Tensor, dropout: float) -> Tensor | None:
    """Drawn as torch.nn.Dropout draws it on the CPU, so that the same seed drops the same."""
    if dropout == 0.0:
        return None
    return torch.empty_like(x).bernoulli_(1 - dropout).bool()


def dropped(x: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    return x if mask is None else (x * mask).mul_(1 / (1 - dropout))


def _forward(
    ctx: Any,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lora_a: Tensor | None,
    lora_b: Tensor | None,
    scaling: float,
    dropout: float,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(y, the mask, drop(x) A^T) of a matrix x; the numbers are noted in `ctx`."""
    ctx.scaling, ctx.dropout = scaling, dropout
    y = product(x, weight, bias)
    if lora_a is None or lora_b is None:
        return y, None, None
    mask = dropout_mask(x, dropout)
    low = dropped(x, mask, dropout) @ lora_a.T
    return y.addmm_(low, lora_b.T, alpha=scaling), mask, low


def _backward(
    ctx: Any,
    needs: tuple[bool, ...],
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    lora_a: Tensor | None,
    lora_b: Tensor | None,
    mask: Tensor | None,
    low: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """Gradients of (x, weight, bias, A, B), those that `needs` asks for."""
    needs_x, needs_weight, needs_bias, needs_a, needs_b = needs
    dx = product_back(dy, weight) if needs_x else None
    d_weight = dy.T @ x if needs_weight else None
    d_bias = dy.sum(0) if needs_bias else None
    if lora_a is None or lora_b is None or low is None:
        return dx, d_weight, d_bias, None, None
    d_low = (dy @ lora_b).mul_(ctx.scaling)
    if dx is not None:
        if mask is None:
            dx.addmm_(d_low, lora_a)
        else:
            dx += dropped(d_low @ lora_a, mask, ctx.dropout)
    d_a = d_low.T @ dropped(x, mask, ctx.dropout) if needs_a else None
    d_b = (dy.T @ low).mul_(ctx.scaling) if needs_b else None
    return dx, d_weight, d_bias, d_a, d_b


class _Linear(torch.autograd.Function):
    """x (N, in), weight (out, in), bias (out) or None, A (rank, in) and B (out, rank) or None -> (N, out)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        lora_a: Tensor | None,
        lora_b: Tensor | None,
        scaling: float,
        dropout: float,
    ) -> Tensor:
        y, mask, low = _forward(ctx, x, weight, bias, lora_a, lora_b, scaling, dropout)
        ctx.save_for_backward(x, weight, lora_a, lora_b, mask, low)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = grad_outputs
        return *_backward(ctx, ctx.needs_input_grad[:5], dy, *ctx.saved_tensors), None, None


class _GatedLinear(torch.autograd.Function):
    """As `_Linear`, of x = activation(gate) * up, both (N, in)."""

    @staticmethod
    def forward(
        ctx: Any,
        gate: Tensor,
        up: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        lora_a: Tensor | None,
        lora_b: Tensor | None,
        scaling: float,
        dropout: float,
        activation: Activation,
    ) -> Tensor:
        x = activation(gate).mul_(up)
        y, mask, low = _forward(ctx, x, weight, bias, lora_a, lora_b, scaling, dropout)
        ctx.save_for_backward(gate, up, weight, lora_a, lora_b, mask, low)
        ctx.activation = activation
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = grad_outputs
        gate, up, weight, lora_a, lora_b, mask, low = ctx.saved_tensors
        needs_gate, needs_up, *others = ctx.needs_input_grad[:6]
        gate = gate.detach().requires_grad_()
        with torch.enable_grad():
            active = ctx.activation(gate)
        plain = active.detach()
        needs = (needs_gate or needs_up, *others)
        x = plain * up
        dx, *d_weights = _backward(ctx, needs, dy, x, weight, lora_a, lora_b, mask, low)
        del x
        d_gate = d_up = None
        if dx is not None:
            d_up = dx * plain
            (d_gate,) = torch.autograd.grad(active, gate, dx.mul_(up))
        return d_gate, d_up, *d_weights, None, None, None


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    lora_a: Tensor | None = None,
    lora_b: Tensor | None = None,
    scaling: float = 1.0,
    dropout: float = 0.0,
) -> Tensor:
    """x (..., in), weight (out, in), bias (out), A (rank, in), B (out, rank), of one dtype -> (..., out).

    A frozen weight may be narrower (see models.kept).
    """
    y: Tensor = _Linear.apply(  # type: ignore[no-untyped-call]
        x.reshape(-1, x.shape[-1]), weight, bias, lora_a, lora_b, scaling, dropout
    )
    return y.view(*x.shape[:-1], -1)


def gated_linear(
    gate: Tensor,
    up: Tensor,
    activation: Activation,
    weight: Tensor,
    bias: Tensor | None = None,
    lora_a: Tensor | None = None,
    lora_b: Tensor | None = None,
    scaling: float = 1.0,
    dropout: float = 0.0,
) -> Tensor:
    """`linear` of activation(gate) * up, both (..., in); the activation must not work in place."""
    y: Tensor = _GatedLinear.apply(  # type: ignore[no-untyped-call]
        gate.reshape(-1, gate.shape[-1]),
        up.reshape(-1, up.shape[-1]),
        weight,
        bias,
        lora_a,
        lora_b,
        scaling,
        dropout,
        activation,
    )
    return y.view(*gate.shape[:-1], -1)
