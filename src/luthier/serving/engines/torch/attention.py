"""Attention of one step, in which all tokens of all rows lie in one sequence: each token sees its own row alone.

Registered with transformers under the name `luthier_rows`, so that every architecture that takes its attention from
there works unpatched. Outside a step it is the attention of models.attention. Inside, rows that answer have one token
each and go through one call for each pool; a stretch of a prompt takes a call of its own. Grouped heads lie beside each
other as if they were tokens, so keys and values are read once. A sliding window is a mask: nothing is dropped from the
cache. This file knows nothing of models, tokens or adapters.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from luthier.models.attention import forest_attention
from luthier.serving.engines.torch.cache import CacheShape, LayerShape, Pool, RowCache

NAME = "luthier_rows"
_running = threading.local()


@dataclass(frozen=True, slots=True)
class Scores:
    """How a layer weighs what it sees; None where it does nothing of the kind."""

    scaling: float | None
    window: int | None
    softcap: float | None


class Layout(Protocol):
    """Who sees whom in one step."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        """query (heads, N, D), key and value (key heads, N, D) -> (N, heads, D)."""
        ...


@contextlib.contextmanager
def attending(layout: Layout) -> Iterator[None]:
    """While it lasts, a forward pass in this thread is a step laid out so."""
    _running.layout = layout
    try:
        yield
    finally:
        _running.layout = None


def rows_attention(
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
    """query (1, heads, N, D), key and value (1, key heads, N, D) -> (1, N, heads, D)."""
    layout: Layout | None = getattr(_running, "layout", None)
    if layout is None:
        return forest_attention(
            module, query, key, value, attention_mask, dropout, scaling, sliding_window, softcap, **kwargs
        )
    scores = Scores(scaling, sliding_window, softcap)
    layer: Any = module.layer_idx
    return layout.attend(layer, query[0], key[0], value[0], scores)[None], None


def use_rows_attention(model: Any) -> None:
    """Let every layer of a model take its attention from here."""
    AttentionInterface.register(NAME, rows_attention)
    AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model.set_attn_implementation(NAME)


def _weigh(query: Tensor, key: Tensor, value: Tensor, unseen: Tensor, scores: Scores) -> Tensor:
    """query (B, key heads, Q, D), key and value (B, key heads, L, D), unseen: 0 or -inf, added -> as query."""
    if scores.softcap is None:
        return scaled_dot_product_attention(query, key, value, attn_mask=unseen, scale=scores.scaling)
    scaling = query.shape[-1] ** -0.5 if scores.scaling is None else scores.scaling
    bounded = scores.softcap * torch.tanh(query @ key.transpose(2, 3) * scaling / scores.softcap)
    weights = torch.softmax(bounded + unseen, dim=-1, dtype=torch.promote_types(query.dtype, torch.float32))
    return weights.to(query.dtype) @ value


def _unseen(positions_Q: Tensor, num_keys: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """(Q, keys): 0 where a query at its position sees a key, -inf elsewhere."""
    distances = positions_Q[:, None] - torch.arange(num_keys, device=positions_Q.device)
    seen = distances >= 0 if window is None else (distances >= 0) & (distances < window)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))


@dataclass
class Answering:
    """All rows of a pool, one token each. positions_R: where these tokens stand in their rows."""

    pool: Pool[Any]
    positions_R: Tensor
    longest: int
    _unseen: dict[int | None, Tensor] = field(default_factory=dict)
    _places: dict[int, Tensor] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        return len(self.positions_R)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        num_rows, (heads, _, width) = self.num_tokens, query.shape
        keys, values = self.pool.keys[layer], self.pool.values[layer]
        places = self._places_of(keys.shape[1])
        for held, new in ((keys, key), (values, value)):
            held.view(-1, held.shape[-1]).index_copy_(0, places, new.transpose(0, 1).flatten(0, 1))
        grouped = query.transpose(0, 1).reshape(num_rows, keys.shape[1], -1, width)
        if scores.window not in self._unseen:
            unseen = _unseen(self.positions_R, self.longest, scores.window, query.dtype)
            self._unseen[scores.window] = unseen[:, None, None]
        seen_keys, seen_values = (held[:num_rows, :, : self.longest] for held in (keys, values))
        found = _weigh(grouped, seen_keys, seen_values, self._unseen[scores.window], scores)
        return found.reshape(num_rows, heads, -1)

    def _places_of(self, heads: int) -> Tensor:
        """(rows * heads): where the new token of each row and head lies, counted in tokens from the pool's begin."""
        if heads not in self._places:
            lines = torch.arange(self.num_tokens * heads, device=self.positions_R.device)
            self._places[heads] = lines * self.pool.capacity + self.positions_R.repeat_interleave(heads)
        return self._places[heads]


@dataclass
class Reading:
    """A stretch of one row's prompt: `num_tokens` tokens from `start` on."""

    cache: RowCache
    start: int
    num_tokens: int
    _unseen: dict[tuple[int | None, int], Tensor] = field(default_factory=dict)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        heads, _, width = query.shape
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        end = self.start + self.num_tokens
        keys[:, self.start : end] = key
        values[:, self.start : end] = value
        grouped = query.reshape(1, keys.shape[0], -1, width)
        groups = heads // keys.shape[0]
        if (scores.window, groups) not in self._unseen:
            positions = torch.arange(self.start, end, device=query.device)
            unseen = _unseen(positions, end, scores.window, query.dtype)
            self._unseen[scores.window, groups] = unseen.repeat(groups, 1)
        unseen = self._unseen[scores.window, groups]
        found = _weigh(grouped, keys[None, :, :end], values[None, :, :end], unseen, scores)
        return found.reshape(heads, self.num_tokens, -1).transpose(0, 1)


@dataclass
class RowsLayout:
    """The tokens of a step: those of each part one after the other."""

    parts: Sequence[Answering | Reading]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        if len(self.parts) == 1:
            return self.parts[0].attend(layer, query, key, value, scores)
        found, start = [], 0
        for part in self.parts:
            end = start + part.num_tokens
            found.append(
                part.attend(layer, query[:, start:end], key[:, start:end], value[:, start:end], scores)
            )
            start = end
        return torch.cat(found)


@dataclass
class Measuring:
    """One row alone, of which is noted what its layers keep."""

    shapes: dict[int, LayerShape] = field(default_factory=dict)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        self.shapes[layer] = LayerShape(key.shape[0], key.shape[2], value.shape[2])
        positions = torch.arange(query.shape[1], device=query.device)
        groups = query.shape[0] // key.shape[0]
        unseen = _unseen(positions, len(positions), scores.window, query.dtype).repeat(groups, 1)
        grouped = query.reshape(1, key.shape[0], -1, query.shape[2])
        found = _weigh(grouped, key[None], value[None], unseen, scores)
        return found.reshape(query.shape[0], len(positions), -1).transpose(0, 1)

    def cache_shape(self, dtype: torch.dtype, device: torch.device) -> CacheShape | None:
        """None where the layers that attend are not numbered 0, 1, ... without a gap."""
        if sorted(self.shapes) != list(range(len(self.shapes))):
            return None
        return CacheShape(tuple(self.shapes[layer] for layer in sorted(self.shapes)), dtype, device)
