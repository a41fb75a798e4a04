"""Attention by segment on the CPU, forwards and backwards, keeping each key and value once.

A segment of a forest attends over the keys of its path. Left to autograd, the path's keys and values are copied, and
repeated for every group of heads, for each segment; all copies are kept, and each slice's gradient is a tensor of the
whole size. Here what is kept is query, key, value and output as they are: a path's copies live for one call of torch's
own kernel and of its own backward, and gradients are added up in place.

A path is the (start, end) stretches of nodes from the root to the segment, which is the last. Knows nothing of models.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Path = Sequence[tuple[int, int]]
Mask = Callable[[int, int], Tensor]

_kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward_kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class _SegmentAttention(torch.autograd.Function):
    """query (1, heads, N, D), key and value (1, key heads, N, D) -> (1, N, heads, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        paths: Sequence[Path],
        mask: Mask,
        window: int | None,
        scaling: float | None,
    ) -> Tensor:
        _, heads, num_nodes, width = query.shape
        output = query.new_empty(1, num_nodes, heads, width)
        logsumexps = []
        for path in paths:
            start, end = path[-1]
            stretches, seen = visible(path, mask, window)
            keys, values = along(stretches, key), along(stretches, value)
            part, logsumexp = _kernel(
                query[:, :, start:end], keys, values, 0.0, seen is None, attn_mask=seen, scale=scaling
            )
            output[:, start:end] = part.transpose(1, 2)
            logsumexps.append(logsumexp)
        ctx.save_for_backward(query, key, value, output, *logsumexps)
        ctx.paths, ctx.mask, ctx.window, ctx.scaling = paths, mask, window, scaling
        return output

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, *logsumexps = ctx.saved_tensors
        grad_output = grad_outputs[0].transpose(1, 2)
        output = output.transpose(1, 2)
        # As (nodes, heads, D), which is how the layers that made them want their gradients.
        grad_query = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
        grad_key, grad_value = (
            torch.zeros_like(one.transpose(1, 2), memory_format=torch.contiguous_format)
            for one in (key, value)
        )
        for path, logsumexp in zip(ctx.paths, logsumexps, strict=True):
            start, end = path[-1]
            stretches, seen = visible(path, ctx.mask, ctx.window)
            grads = _backward_kernel(
                grad_output[:, :, start:end],
                query[:, :, start:end],
                along(stretches, key),
                along(stretches, value),
                output[:, :, start:end],
                logsumexp,
                0.0,
                seen is None,
                attn_mask=seen,
                scale=ctx.scaling,
            )
            grad_query[:, start:end] = grads[0].transpose(1, 2)
            _add_along(stretches, grad_key, grads[1].transpose(1, 2))
            _add_along(stretches, grad_value, grads[2].transpose(1, 2))
        transposed = (grad.transpose(1, 2) for grad in (grad_query, grad_key, grad_value))
        return *transposed, None, None, None, None


def visible(path: Path, mask: Mask, window: int | None) -> tuple[Path, Tensor | None]:
    """The stretches of a path that its segment sees in a window, and who of it sees whom; None: plain causal.

    Stretches that lie next to each other are one.
    """
    start, end = path[-1]
    stretches: list[tuple[int, int]] = []
    for one in path:
        if stretches and stretches[-1][1] == one[0]:
            stretches[-1] = (stretches[-1][0], one[1])
        else:
            stretches.append(one)
    num_keys = sum(e - s for s, e in stretches)
    hidden = max(0, num_keys - (end - start) - window + 1) if window is not None else 0
    while hidden:
        first_start, first_end = stretches.pop(0)
        left = first_end - first_start - hidden
        hidden = max(0, -left)
        if left > 0:
            stretches.insert(0, (first_end - left, first_end))
    num_keys = sum(e - s for s, e in stretches)
    plain = num_keys == end - start and (window is None or num_keys <= window)
    return stretches, None if plain else mask(end - start, num_keys)


def along(stretches: Path, nodes: Tensor) -> Tensor:
    """The nodes of some stretches. One stretch is a view."""
    parts = [nodes[:, :, start:end] for start, end in stretches]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _add_along(stretches: Path, total: Tensor, part: Tensor) -> None:
    """Add to the stretches of `total` (1, N, heads, D) what `part` (1, keys, heads, D) holds, one after the other."""
    done = 0
    for start, end in stretches:
        total[:, start:end] += part[:, done : done + end - start]
        done += end - start


def segment_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    paths: Sequence[Path],
    mask: Mask,
    *,
    window: int | None = None,
    scaling: float | None = None,
) -> Tensor:
    """query (1, heads, N, D), key and value (1, key heads, N, D) -> (1, N, heads, D); on the CPU, without dropout.

    `paths`: one for each segment. `mask(num_queries, num_keys)`: who sees whom of the last `num_queries` of `num_keys`
    positions in a row, to be added to the scores. `window`: how many positions a token sees, itself among them.
    """
    output: Tensor = _SegmentAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, paths, mask, window, scaling
    )
    return output
