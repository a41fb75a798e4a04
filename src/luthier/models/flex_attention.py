"""A forest's attention as one call of PyTorch's FlexAttention, which skips the blocks that nobody sees: for CUDA.

A node k is seen by node q where `k <= q < end(k)`, the end of k's subtree, and, under a window, where it is not too
many positions before. This file was written without a GPU: its masks are tested on the CPU, its speed is not measured.
"""

import functools
from typing import Any

import torch
from torch import Tensor


def block_mask(depths_N: Tensor, ends_N: Tensor, window: int | None) -> Any:
    """Which blocks of 128 x 128 hold anything to see; made once for a forest and a window."""
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        visible = (key <= query) & (query < ends_N[key])
        return visible if window is None else visible & (depths_N[query] - depths_N[key] < window)

    count = len(depths_N)
    return create_block_mask(seen, None, None, count, count, device=str(depths_N.device))


@functools.cache
def _compiled() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)  # forests differ in size from step to step


def forest_flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    compiled: bool = True,
) -> Tensor:
    """query (1, heads, N, D), key and value (1, key heads, N, D) -> (1, N, heads, D)."""
    from torch.nn.attention.flex_attention import flex_attention

    def bounded(score: Tensor, *_: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)  # type: ignore[operator]

    attend = _compiled() if compiled else flex_attention
    output: Tensor = attend(
        query,
        key,
        value,
        score_mod=None if softcap is None else bounded,
        block_mask=mask,
        scale=scaling,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return output.transpose(1, 2).contiguous()
