"""Attention over a forest: every token sees its ancestors and itself, as if each row went through alone.

Registered with transformers under the name `luthier`, so that every architecture that takes its attention from there
works unpatched. Outside `forest_layout` it is transformers' own scaled dot-product attention. Inside, all rows lie in
one sequence; ways to compute the same thing, the first two chosen by cost:

    by segment   one call for each unbranched stretch, over the keys of its path: work grows with what is seen
    dense        one call with a (nodes x nodes) mask: for small forests, where calls cost more than products
    flex         on CUDA: one call of FlexAttention, which skips what nobody sees

A sliding window counts positions in a row (depth), not places in the sequence. This file knows nothing of data.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from luthier.models.flex_attention import block_mask, forest_flex_attention
from luthier.models.segment_attention import along, segment_attention, visible

NAME = "luthier"
_CALL_COSTS_PAIRS = 20_000  # a call costs about as much as this many (query, key) pairs of one layer


@dataclass(frozen=True)
class Layout:
    """How the nodes of a forest lie in the sequence.

    paths: for each segment, the (start, end) stretches of nodes from its root, its own the last.
    depths_N, ends_N: a node's position in its row, and the end of its subtree, both int64 of shape (nodes,).
    """

    paths: Sequence[Sequence[tuple[int, int]]]
    depths_N: Tensor
    ends_N: Tensor
    _masks: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)
    _blocks: dict[int | None, Any] = field(default_factory=dict)

    @cached_property
    def dense(self) -> bool:
        """Is one call with a mask cheaper than a call for each segment?"""
        seen = sum((p[-1][1] - p[-1][0]) * sum(end - start for start, end in p) for p in self.paths)
        return len(self.depths_N) ** 2 < seen + _CALL_COSTS_PAIRS * len(self.paths)

    def mask(self, window: int | None) -> Tensor:
        """Who sees whom, bool of shape (nodes, nodes)."""
        key = ("dense", window)
        if key not in self._masks:
            index = torch.arange(len(self.depths_N), device=self.depths_N.device)
            seen = (index[None] <= index[:, None]) & (index[:, None] < self.ends_N[None])
            if window is not None:
                seen &= self.depths_N[:, None] - self.depths_N[None] < window
            self._masks[key] = seen
        return self._masks[key]

    def block_mask(self, window: int | None) -> Any:
        """The same for FlexAttention."""
        if window not in self._blocks:
            self._blocks[window] = block_mask(self.depths_N, self.ends_N, window)
        return self._blocks[window]

    def stretch_mask(self, num_queries: int, num_keys: int, window: int | None) -> Tensor:
        """The last `num_queries` of `num_keys` positions in a row, each seeing itself and those before it."""
        key = (num_queries, num_keys, window)
        if key not in self._masks:
            keys = torch.arange(num_keys, device=self.depths_N.device)
            queries = keys[num_keys - num_queries :, None]
            seen = keys <= queries
            if window is not None:
                seen &= queries - keys < window
            self._masks[key] = seen
        return self._masks[key]

    def added_mask(self, num_queries: int, num_keys: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """`stretch_mask` as a number to be added to scores: 0 or minus infinity."""
        key = (num_queries, num_keys, window, dtype)
        if key not in self._masks:
            seen = self.stretch_mask(num_queries, num_keys, window)
            self._masks[key] = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, float("-inf"))
        return self._masks[key]


_layout: Layout | None = None


@contextlib.contextmanager
def forest_layout(layout: Layout | None) -> Iterator[None]:
    """While it lasts, sequences are forests laid out so. It has to last through the backward pass as well."""
    global _layout
    before, _layout = _layout, layout
    try:
        yield
    finally:
        _layout = before


def forest_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query (1, heads, nodes, D), key and value (1, key heads, nodes, D) -> (1, nodes, heads, D)."""
    if _layout is None:
        if softcap is not None:
            groups = query.shape[1] // key.shape[1]
            mask = _as_bool(attention_mask, query.shape[2], key.shape[2], query.device)
            attend = _Attend(dropout, scaling, softcap, groups)
            return attend(query, key, value, mask).transpose(1, 2).contiguous(), None
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    groups = query.shape[1] // key.shape[1]
    attend = _Attend(dropout, scaling, softcap, groups)
    if query.device.type == "cuda" and not dropout:
        query, key, value = _as_products_are(query, key, value)
        blocks = _layout.block_mask(sliding_window)
        return forest_flex_attention(query, key, value, blocks, scaling=scaling, softcap=softcap), None
    if _layout.dense:
        return attend(query, key, value, _layout.mask(sliding_window)).transpose(1, 2).contiguous(), None
    if query.device.type == "cpu" and softcap is None and not dropout:
        query, key, value = _as_products_are(query, key, value)
        seen = functools.partial(_layout.added_mask, window=sliding_window, dtype=query.dtype)
        paths = _layout.paths
        return segment_attention(query, key, value, paths, seen, window=sliding_window, scaling=scaling), None
    return _by_segment(query, key, value, _layout, attend, sliding_window), None


def _as_products_are(*tensors: Tensor) -> tuple[Tensor, ...]:
    """In autocast's dtype, where it is on: it does so for torch's own attention, and for nobody else's."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors)


def _by_segment(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, attend: "_Attend", window: int | None
) -> Tensor:
    """A call for each segment, left to autograd: for dropout, bounded scores and other devices."""
    parts = []
    for path in layout.paths:
        start, end = path[-1]
        stretches, seen = visible(path, functools.partial(layout.stretch_mask, window=window), window)
        keys, values = along(stretches, key), along(stretches, value)
        parts.append(attend(query[:, :, start:end], keys, values, seen))
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous()


def _as_bool(mask: Tensor | None, num_queries: int, num_keys: int, device: torch.device) -> Tensor:
    """A mask of transformers (bool, additive, or None for causal) as bool: who is seen."""
    if mask is None:
        keys = torch.arange(num_keys, device=device)
        return keys <= keys[num_keys - num_queries :, None]
    return mask[..., :num_keys] if mask.dtype == torch.bool else mask[..., :num_keys] >= 0


@dataclass(frozen=True)
class _Attend:
    """One product of attention; mask None is plain causal."""

    dropout: float
    scaling: float | None
    softcap: float | None
    groups: int

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        key, value = repeat_kv(key, self.groups), repeat_kv(value, self.groups)
        if self.softcap is None:
            return scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=mask,
                dropout_p=self.dropout,
                is_causal=mask is None and query.shape[2] > 1,
                scale=self.scaling,
            )
        if mask is None:
            mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
        return _softcapped(query, key, value, mask, self.dropout, self.scaling, self.softcap)


def _softcapped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    dropout: float,
    scaling: float | None,
    softcap: float,
) -> Tensor:
    """Attention whose scores are bounded, as Gemma 2 does: softcap * tanh(scores / softcap)."""
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~mask, float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    return torch.dropout(weights.to(query.dtype), dropout, train=True) @ value


def register() -> None:
    """Make the name known to transformers; its masks outside a forest are those of scaled dot-product attention."""
    AttentionInterface.register(NAME, forest_attention)
    AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def use_forest_attention(model: Any) -> None:
    """Let every layer of a model take its attention from here."""
    register()
    model.set_attn_implementation(NAME)


def lay_out(
    starts_S: Sequence[int], ends_S: Sequence[int], parents_S: Sequence[int], depths_N: Tensor
) -> Layout:
    """The layout of a forest from its segments (see data.forest.Segments), on the device of `depths_N`."""
    paths: list[list[tuple[int, int]]] = []
    for start, end, parent in zip(starts_S, ends_S, parents_S, strict=True):
        above = paths[parent] if parent >= 0 else []
        paths.append([*above, (int(start), int(end))])
    last = list(ends_S)  # where the subtree of a segment ends; children come after their parents
    for segment in range(len(last) - 1, -1, -1):
        if parents_S[segment] >= 0:
            last[parents_S[segment]] = max(last[parents_S[segment]], last[segment])
    ends_N = torch.repeat_interleave(
        torch.tensor([int(one) for one in last]),
        torch.tensor([int(e) - int(s) for s, e in zip(starts_S, ends_S, strict=True)]),
    )
    return Layout(paths, depths_N, ends_N.to(depths_N.device))
