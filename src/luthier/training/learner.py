"""The model in training: a batch goes in, hidden states where something is predicted come out.

Two kinds of batches, the same answer: a forest (shared tokens once) where the model's attention can be laid out so,
padded rows where it cannot. `takes_forests` finds out, on the very model. Knows nothing of losses, steps or files.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from luthier.data.batches import Batch, Cut, MicroBatch, alone, microbatches, pad_rows
from luthier.data.dataset import TokenDataset
from luthier.data.forest import Forest, forests, plant, sort_rows
from luthier.data.soft_labels import SoftTargets
from luthier.data.targets import Entries, entries
from luthier.data.units import BETTER, Members
from luthier.errors import ConfigError, LuthierError
from luthier.models.attention import Layout, forest_layout, lay_out, use_forest_attention
from luthier.models.experts import ExpertLoad
from luthier.models.forward import CausalParts, one_dtype
from luthier.models.quantized import coarsest_rounding
from luthier.models.rope import depends_on_length
from luthier.training.neftune import EmbeddingNoise
from luthier.training.objectives.objective import Outputs, RowTargets, SoftLogProbs, Targets


class Given(Protocol):
    """The frozen lower layers of a model, whose output is known (see training.trunk)."""

    def given(self, batch: Batch) -> contextlib.AbstractContextManager[object]:
        """Inside, these layers are not computed."""


@dataclass(frozen=True)
class Learner:
    """The model in training: the module, its halves, where it lives.

    noise: on its embeddings, if any. trunk: what knows the output of its frozen lower layers, if anything does.
    experts: the counter of a mixture's load.
    """

    model: nn.Module
    parts: CausalParts
    device: torch.device
    noise: EmbeddingNoise | None = None
    trunk: Given | None = None
    experts: ExpertLoad | None = None

    @contextlib.contextmanager
    def laid_out(self, batch: Batch) -> Iterator[None]:
        """Inside, the model reads a sequence as this batch lays it out."""
        with forest_layout(None if isinstance(batch, MicroBatch) else self._layout(batch)):
            yield

    def outputs(self, batch: Batch) -> tuple[Outputs, Targets]:
        """Run the backbone, inside `laid_out`."""
        with (
            self.noise.over(batch) if self.noise else contextlib.nullcontext(),
            self.experts.over(self._real(batch)) if self.experts else contextlib.nullcontext(),
            self.known(batch),
        ):
            return self._padded(batch) if isinstance(batch, MicroBatch) else self._forest(batch)

    def known(self, batch: Batch) -> contextlib.AbstractContextManager[object]:
        """Inside, what a trunk knows of the batch is not computed."""
        return self.trunk.given(batch) if self.trunk else contextlib.nullcontext()

    def _padded(self, batch: MicroBatch) -> tuple[Outputs, Targets]:
        hidden_BTC = self.parts.hidden_states(self._tensor(batch.token_ids_BT))
        chosen = self._tensor(batch.weights_BT != 0)
        targets_M = self._tensor(batch.targets_BT)[chosen]
        weights_M = self._tensor(batch.weights_BT)[chosen]
        return Outputs(hidden_BTC[chosen], self.parts.head()), self._targets(batch, targets_M, weights_M)

    def _forest(self, forest: Forest) -> tuple[Outputs, Targets]:
        hidden_NC = self.parts.forest_states(self._tensor(forest.token_ids_N), self._tensor(forest.depths_N))
        chosen = np.flatnonzero(forest.weights_N)
        targets_M = self._tensor(forest.token_ids_N[chosen])
        sources_M = self._tensor(forest.parents_N[chosen])  # a node is predicted from its parent
        targets = self._targets(forest, targets_M, self._tensor(forest.weights_N[chosen]))
        return Outputs(hidden_NC[sources_M], self.parts.head()), targets

    def _targets(self, batch: Batch, targets_M: Tensor, weights_M: Tensor) -> Targets:
        rows = None if batch.members is None else self._rows(entries(batch), batch.members)
        return Targets(
            targets_M, weights_M, rows, teacher=None if batch.soft is None else self._soft(batch.soft)
        )

    def _soft(self, soft: SoftTargets) -> SoftLogProbs:
        ids = None if soft.token_ids_MK is None else self._tensor(soft.token_ids_MK)
        return SoftLogProbs(ids, self._tensor(soft.log_probs_MK))

    def _rows(self, of: Entries, members: Members) -> RowTargets:
        reference = members.reference_B
        return RowTargets(
            self._tensor(of.index_D),
            self._tensor(of.row_D),
            self._tensor(of.weights_D),
            self._tensor(members.unit_B),
            self._tensor(members.role_B == BETTER),
            members.num_units,
            None if reference is None else self._tensor(reference),
        )

    def _real(self, batch: Batch) -> Tensor | None:
        """Which tokens are no padding, bool of shape (B, T); None where all are."""
        if not isinstance(batch, MicroBatch):
            return None
        positions_T = np.arange(batch.token_ids_BT.shape[1])
        return self._tensor(positions_T[None] < np.asarray(batch.lengths_B)[:, None])

    def _layout(self, forest: Forest) -> Layout:
        segments = forest.segments
        return lay_out(
            segments.starts_S.tolist(),
            segments.ends_S.tolist(),
            segments.parents_S.tolist(),
            self._tensor(forest.depths_N),
        )

    def _tensor(self, array: "np.ndarray[Any, Any]") -> Tensor:
        return torch.from_numpy(array).to(self.device)


def precision(device: torch.device, compute_dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """Matrix products in `compute_dtype`; the weights that train keep their own, full precision."""
    if compute_dtype in (torch.float32, torch.float64):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=compute_dtype)


def choose_cut(learner: Learner, packing: Literal["auto", "forest", "padding"]) -> tuple[Cut, list[str]]:
    """How the rows of a step are laid together, and what is to be said about it.

    `auto` takes forests where the model can, and says so where it cannot. Raises ConfigError where `forest` was asked
    for and cannot be.
    """
    reason: str | None
    if depends_on_length(learner.model):
        if packing == "forest":
            raise ConfigError(
                "train.packing is forest, but dynamic rotary positions depend on a row's length"
            )
        return alone, [
            "rows are computed one by one: their rotary positions depend on a row's length (dynamic)"
        ]
    if packing == "padding":
        return microbatches, []
    if learner.parts.virtual is not None:
        reason = "its virtual tokens stand before every row"
        if packing == "forest":
            raise ConfigError(
                f"train.packing is forest, but this model cannot take one: {reason}; use padding"
            )
        return microbatches, [f"rows are padded: {reason}, and a forest has no such place"]
    model: Any = learner.model
    before = model.config._attn_implementation
    try:
        use_forest_attention(model)
        reason = takes_forests(learner)
    except ValueError as error:  # the architecture has an attention of its own
        reason = str(error).splitlines()[0]
    if reason is None:
        return forests, []
    if packing == "forest":
        raise ConfigError(f"train.packing is forest, but this model cannot take one: {reason}; use padding")
    model.set_attn_implementation(before)
    return microbatches, [f"rows are padded: this model cannot take a forest ({reason})"]


@torch.no_grad()
def takes_forests(learner: Learner) -> str | None:
    """None where a forest gives what the rows alone give, on this very model; else why it cannot be used.

    Three rows of a few tokens, two of which share a beginning, are run both ways. So an architecture whose layers do
    not take their attention from transformers' interface, or carry state from token to token, is found out.
    """
    rows = probe_rows(learner)
    training = learner.model.training
    learner.model.eval()
    try:
        with one_dtype(learner.model, learner.device):
            together = _states(learner, plant(rows, sort_rows(rows, range(rows.num_rows))))
            alone = {i: _states(learner, pad_rows(rows, [i]))[i] for i in range(rows.num_rows)}
    except (LuthierError, RuntimeError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        learner.model.train(training)
    # Other shapes sum in another order, layer after layer: a few roundings of the coarsest dtype, never more.
    worst = max(float((together[i] - alone[i]).norm() / alone[i].norm()) for i in alone)
    if worst <= 32 * coarsest_rounding(learner.model):
        return None
    return f"its hidden states differ by {worst:.2g} of their size"


def probe_rows(learner: Learner) -> TokenDataset:
    """Three rows of a few tokens, two of which share a beginning."""
    vocab_size = int(learner.model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    ids = np.random.default_rng(0).integers(0, vocab_size, 24, dtype=np.int32)
    rows = [ids[:14], np.concatenate([ids[:9], ids[14:20]]), ids[20:]]
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    flat = np.concatenate(rows)
    return TokenDataset(flat, np.ones(len(flat), np.float32), offsets, ["", "", ""])


def _states(learner: Learner, batch: Batch) -> dict[int, Tensor]:
    """The hidden states of each row, by its index, each of shape (tokens, channels)."""
    if isinstance(batch, MicroBatch):
        with learner.known(batch):
            hidden = learner.parts.hidden_states(torch.from_numpy(batch.token_ids_BT).to(learner.device))
        return {int(batch.row_indices_B[0]): hidden[0, : batch.num_tokens].float()}
    with learner.laid_out(batch), learner.known(batch):
        hidden = learner.parts.forest_states(
            torch.from_numpy(batch.token_ids_N).to(learner.device),
            torch.from_numpy(batch.depths_N).to(learner.device),
        )
    return {
        int(i): hidden[torch.from_numpy(batch.nodes_of_row(b))].float()
        for b, i in enumerate(batch.row_indices_B)
    }
