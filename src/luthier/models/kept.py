"""Frozen weights kept in the dtype they are stored in, and widened piece by piece where they are used.

A bfloat16 checkpoint that computes in float32 would otherwise take twice its size. Linear layers and embeddings, nearly
all of a model, are kept; everything else is held in the dtype to compute in. Widening is exact, so products are those
of a float32 copy. The backward pass widens again: nothing wide is held between the two. This file knows nothing of
files, adapters or heads.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_PIECE_BYTES = 8 << 20  # of a widened weight at once: enough rows for a product at full speed


class KeptLinear(nn.Linear):
    """A linear layer whose weight is narrower than what it computes in; it trains as any other once it is not."""

    def __init__(self, linear: nn.Linear, compute_dtype: torch.dtype) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.compute_dtype = compute_dtype  # PEFT reads it: adapters begin in it

    def forward(self, x: Tensor) -> Tensor:
        return wide_linear(x.to(self.compute_dtype), self.weight, self.bias)


class KeptEmbedding(nn.Embedding):
    """An embedding whose rows are widened as they are looked up."""

    def __init__(self, embedding: nn.Embedding, compute_dtype: torch.dtype) -> None:
        super().__init__(
            embedding.num_embeddings, embedding.embedding_dim, embedding.padding_idx, device="meta"
        )
        self.weight = embedding.weight
        self.compute_dtype = compute_dtype

    def forward(self, token_ids: Tensor) -> Tensor:
        return super().forward(token_ids).to(self.compute_dtype)


_KINDS: Mapping[type[nn.Module], Callable[[Any, torch.dtype], nn.Module]] = {
    nn.Linear: KeptLinear,
    nn.Embedding: KeptEmbedding,
}


def keep_as_stored(model: nn.Module, stored_dtype: torch.dtype, compute_dtype: torch.dtype) -> None:
    """Hold the weights of linear layers and embeddings in `stored_dtype`, all others in `compute_dtype`.

    A weight that another kind of module reads too (Gemma 3 scales its embeddings, which are its head) is not kept.
    The model may be on the meta device.
    """
    modules = list(model.modules())
    plain = {id(module.weight) for module in modules if _is_plain(module)}
    plain -= {id(p) for module in modules if not _is_plain(module) for p in module._parameters.values()}
    for parent in modules:
        for name, child in list(parent.named_children()):
            if _is_plain(child) and id(child.weight) in plain:
                parent.register_module(name, _KINDS[type(child)](child, compute_dtype))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(stored_dtype if id(parameter) in plain else compute_dtype)


def _is_plain(module: nn.Module) -> bool:
    return type(module) in _KINDS and getattr(module, "max_norm", None) is None


def compute_dtypes(model: nn.Module) -> set[torch.dtype]:
    """The dtypes that the parameters of a model take part in products in."""
    return {
        module.compute_dtype if isinstance(module, KeptLinear | KeptEmbedding) else parameter.dtype
        for module in model.modules()
        for parameter in module._parameters.values()
        if parameter is not None
    }


def wide_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., in), a weight (out, in) that may be narrower, bias (out) -> (..., out), in the dtype of x."""
    if weight.dtype == x.dtype or (weight.requires_grad and torch.is_grad_enabled()):
        return nn.functional.linear(x, weight.to(x.dtype), bias)
    y: Tensor = _WideLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


class _WideLinear(torch.autograd.Function):
    """The weight does not train; of it a reference is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = grad_outputs
        (weight,) = ctx.saved_tensors
        dx = product_back(dy, weight) if ctx.needs_input_grad[0] else None
        d_bias = dy.flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None
        return dx, None, d_bias


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b as `wide_linear` gives it, unknown to autograd."""
    if weight.dtype == x.dtype:
        return nn.functional.linear(x, weight, bias)
    y: Tensor | None = None
    for rows, wide in widened(weight, x.dtype):
        part = nn.functional.linear(x, wide, bias[rows] if bias is not None else None)
        if len(wide) == len(weight):
            return part
        y = part.new_empty(*part.shape[:-1], len(weight)) if y is None else y
        y[..., rows] = part
    assert y is not None
    return y


def product_back(dy: Tensor, weight: Tensor) -> Tensor:
    """dy W: dy (..., out), weight (out, in), which may be narrower -> (..., in)."""
    if weight.dtype == dy.dtype:
        return dy @ weight
    dx: Tensor | None = None
    for rows, wide in widened(weight, dy.dtype):
        part = dy[..., rows] @ wide
        dx = part if dx is None else dx.add_(part)
    assert dx is not None
    return dx


def widened(
    weight: Tensor, dtype: torch.dtype, piece_bytes: int = _PIECE_BYTES
) -> Iterator[tuple[slice, Tensor]]:
    """Rows of a matrix in `dtype`, at most `piece_bytes` of them at once, and which they are.

    A piece is overwritten by the next one.
    """
    step = max(1, piece_bytes // (weight.shape[1] * dtype.itemsize))
    buffer = weight.new_empty((min(step, len(weight)), weight.shape[1]), dtype=dtype)
    for start in range(0, len(weight), step):
        rows = slice(start, min(start + step, len(weight)))
        piece = weight[rows]
        yield rows, piece if weight.dtype == dtype else buffer[: len(piece)].copy_(piece)
