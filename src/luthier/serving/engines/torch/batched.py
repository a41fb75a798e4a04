"""One step over all rows: each row that answers gives one token, rows that read their prompts a stretch of it.

The tokens of all rows lie in one sequence, so every linear layer is one product; attention and adapters tell them apart
(attention, sites). Rows join by reading and leave when they end, between any two steps. Beginnings that were computed
before are taken over (prefixes); where several rows wait for the same one, one of them computes it.
This file knows nothing of sampling, threads or requests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from luthier.errors import ServingError
from luthier.models.forward import CausalParts
from luthier.serving.engines.torch.attention import Answering, Reading, RowsLayout, attending
from luthier.serving.engines.torch.cache import CacheShape, Pool, RowCache, pool_capacity
from luthier.serving.engines.torch.overlay import Overlay
from luthier.serving.engines.torch.prefixes import Prefixes
from luthier.serving.engines.torch.row import VIRTUAL_ID, Row, beginning
from luthier.serving.engines.torch.sites import Laid, Plan, plan, planned


@dataclass(frozen=True)
class Limits:
    """max_batch: rows at once. max_queue: asks that may wait. kv_bytes: of what rows remember, as far as they may grow;
    prefix_bytes: of beginnings kept beyond that. prefill_tokens: of prompts in a step in which others answer;
    alone_tokens: in a step in which nobody does."""

    max_batch: int
    max_queue: int
    kv_bytes: int
    prefix_bytes: int
    prefill_tokens: int = 128
    alone_tokens: int = 1024


@dataclass(frozen=True)
class _Stretch:
    row: Row
    start: int
    end: int


class Batched:
    """The rows of one base, and what they have computed."""

    def __init__(self, parts: CausalParts, embed: torch.nn.Module, shape: CacheShape, limits: Limits) -> None:
        self._parts, self._embed, self._shape, self._limits = parts, embed, shape, limits
        self._pools: dict[int, Pool[Row]] = {}
        self._reading: list[Row] = []
        self._leading: dict[Laid | None, Row] = {}
        self._prefixes = Prefixes(limits.prefix_bytes)
        self._plan: tuple[list[Laid | None], Plan] = ([], plan([], 0))
        self._unread = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=shape.device)
        self.num_swaps = 0

    def bytes_of(self, row: Row) -> int:
        """What a row may come to hold."""
        return pool_capacity(row.num_prompt + row.max_new_tokens) * self._shape.bytes_per_token

    def admit(self, row: Row) -> None:
        self._reading.append(row)

    def remove(self, row: Row) -> None:
        """A row has ended. What it computed is kept as a beginning, if it had read its prompt."""
        owner = row.specialist.laid
        if self._leading.get(owner) is row:
            del self._leading[owner]
        if row in self._reading:
            self._reading.remove(row)
            return
        pool = self._pool_of(row)
        if self._shape.bytes_per_token * row.length <= self._limits.prefix_bytes:
            kept = RowCache(self._shape, row.length)
            for mine, theirs in zip(kept.tensors(), pool.tensors_of(row), strict=True):
                mine.copy_(theirs[:, : row.length])
            kept.length = row.length
            self._prefixes.keep(owner, beginning(row, row.length), kept)
        pool.remove(row)

    def check_past(self, overlay: Overlay) -> None:
        """Raises ServingError where the keys and values of a prefix are not those of these layers."""
        shapes = [(one.heads, one.key_width, one.heads, one.value_width) for one in self._shape.layers]
        got = [(*keys.shape[1:], *values.shape[1:]) for keys, values in overlay.past]
        if got != shapes:
            raise ServingError("the prefix does not fit this base: its layers have other heads")

    def forget(self, laid: Laid) -> None:
        """An adapter goes: so does what was computed with it."""
        self._prefixes.forget(laid)
        self._plan = ([], plan([], 0))

    def step(self) -> tuple[list[Row], Tensor]:
        """Compute one step. Returns the rows whose next token can be chosen, and its logits (rows, vocabulary)."""
        self._move_what_outgrew()
        answering = [pool for pool in self._pools.values() if pool.rows]
        stretches = list(self._stretches(1 if answering else 0))
        rows, logits_RV = self._forward(answering, stretches)
        for pool in answering:
            for row in pool.rows:
                row.length += 1
        for one in stretches:
            self._have_read(one)
        return rows, logits_RV

    # What goes into a step

    def _stretches(self, num_answering: int) -> Iterator[_Stretch]:
        left = self._limits.prefill_tokens if num_answering else self._limits.alone_tokens
        for row in self._reading:
            if left <= 0:
                return
            if row.cache is None and not self._begin(row):
                continue
            end = min(row.num_prompt, row.length + left)
            boundary = _boundary(row)
            if row.length < boundary:
                end = min(end, boundary)
            left -= end - row.length
            yield _Stretch(row, row.length, end)

    def _begin(self, row: Row) -> bool:
        """Take over what is kept of the row's beginning. False where another row is computing it."""
        owner = row.specialist.laid
        if owner in self._leading and _boundary(row):
            return False
        kept, length = self._prefixes.longest(owner, beginning(row, row.num_prompt))
        length = min(length, row.num_prompt - 1)  # the last token's logits are wanted
        row.cache = RowCache(self._shape, row.num_prompt)
        if kept is not None and length >= _num_past(row):
            row.cache.begin_with(kept, length)
        else:
            length = _write_past(row)
        row.length = length
        row.num_cached = max(0, length - row.specialist.num_virtual)
        if length < _boundary(row):
            self._leading[owner] = row
        return True

    def _have_read(self, one: _Stretch) -> None:
        row, owner = one.row, one.row.specialist.laid
        assert row.cache is not None
        row.length = row.cache.length = one.end
        if self._leading.get(owner) is row and row.length >= _boundary(row):
            del self._leading[owner]
            self._prefixes.keep(owner, beginning(row, row.length), row.cache.first(row.length))
        if row.length == row.num_prompt:
            self._reading.remove(row)
            self._join(row, list(row.cache.tensors()))
            row.cache = None

    def _join(self, row: Row, tensors: Sequence[Tensor]) -> None:
        capacity = pool_capacity(row.length + 1)
        if capacity not in self._pools:
            self._pools[capacity] = Pool(self._shape, capacity)
        self._pools[capacity].add(row, tensors)

    def _pool_of(self, row: Row) -> Pool[Row]:
        return next(
            pool for pool in self._pools.values() if row.slot < len(pool.rows) and pool.rows[row.slot] is row
        )

    def _move_what_outgrew(self) -> None:
        for pool in list(self._pools.values()):
            for row in [row for row in pool.rows if row.length == pool.capacity]:
                tensors = [one.clone() for one in pool.tensors_of(row)]
                pool.remove(row)
                self._join(row, tensors)

    # The step itself

    def _forward(
        self, answering: Sequence[Pool[Row]], stretches: Sequence[_Stretch]
    ) -> tuple[list[Row], Tensor]:
        device = self._shape.device
        rows = [row for pool in answering for row in pool.rows]
        ids = [row.ids[row.length] for row in rows]
        positions = [row.length for row in rows]
        laid = [row.specialist.laid for row in rows]
        wanted = list(range(len(rows)))
        num_answering = len(rows)
        for one in stretches:
            ids += [0 if token == VIRTUAL_ID else token for token in one.row.ids[one.start : one.end]]
            positions += range(one.start, one.end)
            laid += [one.row.specialist.laid] * (one.end - one.start)
            if one.end == one.row.num_prompt:
                rows.append(one.row)
                wanted.append(len(ids) - 1)
        ids_N = torch.tensor(ids, device=device)
        positions_N = torch.tensor(positions, device=device)
        layout = RowsLayout([*_answering(answering, positions_N), *_reading(stretches)])
        with attending(layout), planned(self._plan_for(laid, num_answering)):
            hidden_NC = self._parts.backbone(
                **self._inputs(ids_N, stretches, num_answering),
                position_ids=positions_N[None],
                attention_mask=self._unread,
                use_cache=False,
            ).last_hidden_state[0]
        if len(wanted) < len(ids):
            hidden_NC = hidden_NC[torch.tensor(wanted, dtype=torch.long, device=device)]
        return rows, self._parts.head().logits(hidden_NC)

    def _inputs(self, ids_N: Tensor, stretches: Sequence[_Stretch], start: int) -> dict[str, Tensor]:
        """Token ids, or embeddings where virtual ones are among them."""
        virtual = []
        for one in stretches:
            laid = one.row.specialist.laid
            if (
                laid is not None
                and laid.overlay.embeddings_VC is not None
                and one.start < laid.overlay.num_virtual
            ):
                virtual.append((start, laid.overlay.embeddings_VC[one.start : one.end]))
            start += one.end - one.start
        if not virtual:
            return {"input_ids": ids_N[None]}
        embedded_NC: Tensor = self._embed(ids_N)
        for first, vectors in virtual:
            embedded_NC[first : first + len(vectors)] = vectors.to(embedded_NC.dtype)
        return {"inputs_embeds": embedded_NC[None]}

    def _plan_for(self, laid: list[Laid | None], num_answering: int) -> Plan:
        """The last step's plan where its tokens had the same adapters."""
        if laid != self._plan[0] or num_answering != len(laid):
            self.num_swaps += set(laid) != set(self._plan[0])
            self._plan = (laid, plan(laid, num_answering))
        return self._plan[1]


def _answering(pools: Sequence[Pool[Row]], positions_N: Tensor) -> Iterator[Answering]:
    start = 0
    for pool in pools:
        end = start + len(pool.rows)
        longest = max(row.length for row in pool.rows) + 1
        yield Answering(pool, positions_N[start:end], longest)
        start = end


def _reading(stretches: Sequence[_Stretch]) -> Iterator[Reading]:
    for one in stretches:
        assert one.row.cache is not None
        yield Reading(one.row.cache, one.start, one.end - one.start)


def _boundary(row: Row) -> int:
    """How much of a row's beginning all prompts of its specialist share; 0 where there is nothing of the kind."""
    shared, num_virtual = row.specialist.shared_ids, row.specialist.num_virtual
    end = num_virtual + len(shared)
    begins_so = end < row.num_prompt and row.ids[num_virtual:end] == shared.tolist()
    return end if begins_so else num_virtual


def _num_past(row: Row) -> int:
    """How many virtual tokens come as keys and values, not as embeddings."""
    laid = row.specialist.laid
    return laid.overlay.num_virtual if laid is not None and laid.overlay.past else 0


def _write_past(row: Row) -> int:
    num_past, laid, cache = _num_past(row), row.specialist.laid, row.cache
    if num_past and laid is not None and cache is not None:
        for layer, (keys_VHD, values_VHD) in enumerate(laid.overlay.past):
            cache.keys[layer][:, :num_past] = keys_VHD.transpose(0, 1)
            cache.values[layer][:, :num_past] = values_VHD.transpose(0, 1)
    return num_past
