"""The trunk: frozen lower layers give the same states every epoch and in every run, so they are computed once.

    find_trunk    where this very model can be cut, shown on it
    prepare       every prefix of the rows is in the store afterwards, computed or found there
    Trunk         hands the states of a batch to the crown, the layers above, which trains as if all were computed

The rest of training does not notice: the crown is the model itself, entered above the trunk. Nothing below draws random
numbers, so dropout above draws the same ones. Knows nothing of recipes, steps, losses.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from luthier.data.batches import Batch, Cut, MicroBatch
from luthier.data.dataset import TokenDataset
from luthier.data.prefix_keys import Keys, keys_of_batch, new_keys
from luthier.errors import LuthierError
from luthier.models.fingerprint import hash_tensors
from luthier.models.kept import widened
from luthier.models.layers import decoder_layers, lowest_trained, only_span
from luthier.models.trunk_store import TrunkStore
from luthier.training.learner import Learner, precision, probe_rows

_FORM = 1  # of what is stored; a new number where the same model would give other states
_WINDOW = 16  # micro-batches that are cut at once: rows that begin alike stay together inside
_ONE_BATCH = 1 << 20  # tokens

Compute = Callable[[Iterator[Batch]], Iterator[tuple[Batch, Tensor]]]
InMemory = Callable[[int], AbstractContextManager[nn.Module]]
Bar = Callable[..., AbstractContextManager[Callable[[float], None]]]


class NoTrunk(Exception):
    """This model, as it trains, has no trunk; the message says why."""


class NothingFrozen(NoTrunk):
    """The lowest layer trains, so nobody expects a trunk."""


@dataclass(frozen=True)
class Boundary:
    """Where a model is cut: below layer `depth` of `layers`. `channels`, `dtype`: of the states there."""

    layers: nn.ModuleList
    depth: int
    channels: int
    dtype: torch.dtype

    @property
    def words(self) -> str:
        return f"the lower {self.depth} of {len(self.layers)} layers"


@dataclass(frozen=True)
class Trunk:
    """The layers below a boundary, and the store of what they give."""

    boundary: Boundary
    device: torch.device
    store: TrunkStore

    @contextlib.contextmanager
    def given(self, batch: Batch) -> Iterator[None]:
        """Inside, a forward pass over this batch runs the crown alone, on the states in the store."""
        states_RC = self.store.read(keys_of_batch(batch)).to(self.device)
        layers = self.boundary.layers
        with only_span(layers, self.boundary.depth, len(layers), laid_out(batch, states_RC)):
            yield


def laid_out(batch: Batch, states_RC: Tensor) -> Tensor:
    """The states of a batch's tokens (see keys_of_batch) as the model wants them, shape (B, T, C); pads get zeros."""
    if not isinstance(batch, MicroBatch):
        return states_RC[None]
    states_BTC = states_RC.new_zeros(*batch.token_ids_BT.shape, states_RC.shape[-1])
    states_BTC[_is_token(batch)] = states_RC
    return states_BTC


def of_tokens(batch: Batch, states_BTC: Tensor) -> Tensor:
    """The other way round: shape (tokens, C), without pads."""
    return states_BTC[_is_token(batch)] if isinstance(batch, MicroBatch) else states_BTC[0]


def _is_token(batch: MicroBatch) -> Tensor:
    places_T = np.arange(batch.token_ids_BT.shape[1])
    return torch.from_numpy(places_T[None] < np.asarray(batch.lengths_B)[:, None])


def find_trunk(learner: Learner, cut: Cut, compute_dtype: torch.dtype) -> Boundary:
    """Where the model can be cut. Raises NoTrunk.

    Shown on three short rows: the layers below need no gradient and draw nothing, and the layers above, given the
    states between, end bit for bit where the whole model ends. So what trains below, and an architecture whose layers
    hand on more than hidden states, is found out.
    """
    layers = _frozen_below(learner)
    rows, training = probe_rows(learner), learner.model.training
    try:
        with torch.random.fork_rng(), precision(learner.device, compute_dtype):
            batches = cut(rows, range(rows.num_rows), _ONE_BATCH)
            states = [_probe(learner, layers, batch) for batch in batches]
    except (LuthierError, RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise NoTrunk(
            f"its layers cannot be run apart ({type(error).__name__}: {error})".splitlines()[0]
        ) from error
    finally:
        learner.model.train(training)
    return Boundary(layers, lowest_trained(layers), states[0].shape[-1], states[0].dtype)


def _frozen_below(learner: Learner) -> nn.ModuleList:
    """The layers of the model, of which the lowest is frozen. Raises NoTrunk."""
    if learner.parts.virtual is not None:
        raise NoTrunk("its virtual tokens stand before every row")
    if learner.noise is not None:
        raise NoTrunk("train.neftune_alpha puts noise on the embeddings, below every layer")
    layers = decoder_layers(learner.parts.backbone)
    if layers is None:
        raise NoTrunk("its list of layers was not found")
    if lowest_trained(layers) == 0:
        raise NothingFrozen("its lowest layer trains")
    return layers


def _probe(learner: Learner, layers: nn.ModuleList, batch: Batch) -> Tensor:
    """The states of a batch at the boundary. Raises NoTrunk where they are none."""
    depth = lowest_trained(layers)
    learner.model.train()
    with torch.enable_grad():
        while_training_BTC = span(learner, layers, 0, depth, batch)
    if while_training_BTC.requires_grad:
        raise NoTrunk("something below its layers trains (the embeddings, which may be tied to the head)")
    learner.model.eval()
    with torch.no_grad():
        states_BTC = span(learner, layers, 0, depth, batch)
        if not torch.equal(while_training_BTC, states_BTC):
            raise NoTrunk("its frozen layers draw random numbers while the others train (dropout)")
        whole_BTC = final_states(learner, batch)
        with only_span(layers, depth, len(layers), laid_out(batch, of_tokens(batch, states_BTC))):
            crown_BTC = final_states(learner, batch)
    if not torch.equal(of_tokens(batch, crown_BTC), of_tokens(batch, whole_BTC)):
        raise NoTrunk("its upper layers, given the states below them, do not end where the whole model ends")
    return states_BTC


def span(
    learner: Learner,
    layers: nn.ModuleList,
    first: int,
    end: int,
    batch: Batch,
    states_BTC: Tensor | None = None,
) -> Tensor:
    """What the layers `first` to `end` - 1 give for a batch (see only_span)."""
    with only_span(layers, first, end, states_BTC) as reached:
        final_states(learner, batch)
    return reached.states_BTC


def final_states(learner: Learner, batch: Batch) -> Tensor:
    """The backbone's output for a batch, shape (B, T, C)."""
    with learner.laid_out(batch):
        if isinstance(batch, MicroBatch):
            return learner.parts.hidden_states(torch.from_numpy(batch.token_ids_BT).to(learner.device))
        ids_N, depths_N = (
            torch.from_numpy(array).to(learner.device) for array in (batch.token_ids_N, batch.depths_N)
        )
        return learner.parts.forest_states(ids_N, depths_N)[None]


def identity(
    learner: Learner, boundary: Boundary, compute_dtype: torch.dtype, in_memory: InMemory
) -> dict[str, Any]:
    """All that the states follow from, but for the tokens: two trunks with the same one may share a store.

    `in_memory`: gives the layer of an index, with its numbers.
    """
    config = json.loads(learner.parts.backbone.config.to_json_string(use_diff=False))  # type: ignore[operator, union-attr]
    for key in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        config.pop(key, None)
    return {
        "form": _FORM,
        "config": config,
        "weights": hash_tensors(
            (name, wide)
            for name, tensor in _weights_below(learner.parts.backbone, boundary, in_memory)
            for wide in _in_pieces(tensor, compute_dtype)
        ),
        "depth": boundary.depth,
        "channels": boundary.channels,
        "dtype": str(boundary.dtype),
        "compute_dtype": str(compute_dtype),
        "attention": str(learner.model.config._attn_implementation),  # type: ignore[union-attr]
        "device": learner.device.type,
        "versions": [torch.__version__, transformers.__version__],
    }


def _weights_below(
    backbone: nn.Module, boundary: Boundary, in_memory: InMemory
) -> Iterator[tuple[str, Tensor]]:
    """Every weight that stands before the layers, and those of the layers of the trunk."""
    yield from backbone.named_parameters(recurse=False)
    for name, module in backbone.named_children():
        if module is boundary.layers:
            break
        yield from module.named_parameters(prefix=name)
        yield from module.named_buffers(prefix=name)
    for index in range(boundary.depth):
        with in_memory(index) as layer:
            yield from layer.named_parameters(prefix=f"layers.{index}")
            yield from layer.named_buffers(prefix=f"layers.{index}")


def _in_pieces(tensor: Tensor, compute_dtype: torch.dtype) -> Iterator[Tensor]:
    """The numbers that products see, the same however they are held in memory (see models.kept)."""
    if tensor.ndim != 2 or not tensor.is_floating_point():
        yield tensor
    else:
        wide = torch.promote_types(tensor.dtype, compute_dtype)
        yield from (rows for _, rows in widened(tensor.detach(), wide))


def rows_to_read(
    train_rows: TokenDataset, used: Sequence[int], validation_rows: TokenDataset | None
) -> TokenDataset:
    """The tokens of some training rows, of all validation rows and of the rows beside them, as one data set."""
    parts = [(train_rows, used)]
    if validation_rows is not None:
        parts.append((validation_rows, range(validation_rows.num_rows)))
    for dataset, indices in list(parts):
        if dataset.beside is not None:
            units = sorted(set(dataset.units_of_rows(indices)))
            parts.append((dataset.beside, dataset.beside.rows_of_units(units)))
    rows = [dataset.row(index)[0] for dataset, indices in parts for index in indices]
    ids, offsets = np.concatenate(rows), np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return TokenDataset(ids, np.zeros(len(ids), np.float32), offsets, [""] * len(rows))


@dataclass(frozen=True)
class Missing:
    """Rows that hold prefixes which are not in the store, in the order of their tokens, and the keys of these."""

    rows: Sequence[int]
    keys: Keys


def missing(rows: TokenDataset, store: TrunkStore) -> Missing:
    """What has to be computed before every prefix of `rows` is in the store."""
    indices, keys = [], [np.empty(0, "S16")]
    for index, brought in new_keys(rows, range(rows.num_rows)):
        absent = brought[~store.has(brought)]
        if len(absent):
            indices.append(index)
            keys.append(absent)
    return Missing(indices, np.sort(np.concatenate(keys)))


def whole_trunk(
    learner: Learner, boundary: Boundary, compute_dtype: torch.dtype, batches: Iterator[Batch]
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch and the states of its tokens at the boundary, shape (tokens, C); all layers are in memory."""
    for batch in batches:
        with precision(learner.device, compute_dtype):
            states_BTC = span(learner, boundary.layers, 0, boundary.depth, batch)
        yield batch, of_tokens(batch, states_BTC)


@torch.no_grad()
def fill(
    learner: Learner,
    store: TrunkStore,
    rows: TokenDataset,
    absent: Missing,
    cut: Cut,
    tokens_per_microbatch: int,
    compute: Compute,
    advance: Callable[[float], None],
) -> None:
    """Compute what is missing and write it. `advance` is told how many tokens were written."""
    training = learner.model.training
    learner.model.eval()
    writer, written = store.writer(), np.zeros(len(absent.keys), bool)
    try:
        for batch, states_RC in compute(_batches(rows, absent.rows, cut, tokens_per_microbatch)):
            keys, first = np.unique(keys_of_batch(batch), return_index=True)
            place = np.minimum(np.searchsorted(absent.keys, keys), len(absent.keys) - 1)
            fresh = (absent.keys[place] == keys) & ~written[place]
            written[place[fresh]] = True
            writer.add(keys[fresh], states_RC[torch.from_numpy(first[fresh])])
            advance(float(fresh.sum()))
        writer.flush()
    finally:
        learner.model.train(training)
    store.load()


def _batches(
    rows: TokenDataset, ordered: Sequence[int], cut: Cut, tokens_per_microbatch: int
) -> Iterator[Batch]:
    """Micro-batches of rows that are in the order of their tokens, cut in windows, not all at once."""
    lengths, window, size = rows.lengths(), list[int](), 0
    for index in ordered:
        if window and size + lengths[index] > _WINDOW * tokens_per_microbatch:
            yield from cut(rows, window, tokens_per_microbatch)
            window, size = [], 0
        window.append(index)
        size += int(lengths[index])
    if window:
        yield from cut(rows, window, tokens_per_microbatch)
