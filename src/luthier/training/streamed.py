"""A trunk that is never in memory as a whole: all rows pass through layer 0, then all through layer 1, and so on.

Between two layers the states lie in a file that is mapped into memory. What is otherwise shown of the whole model, that
it can be cut and takes forests, is shown on its crown, on made-up states in the place of those below it.
Knows nothing of recipes, steps, losses.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.data.batches import Batch, Cut
from luthier.data.prefix_keys import keys_of_batch
from luthier.models.forward import causal_parts
from luthier.models.layers import only_span
from luthier.models.stream import Stream, stochastic, stream_of
from luthier.training.learner import Learner, precision, probe_rows
from luthier.training.trunk import Boundary, NoTrunk, laid_out, of_tokens, span

_PROBE_TOKENS = 8  # of causal_parts


@dataclass(frozen=True)
class MadeUp:
    """States that follow from a token's prefix and from nothing else, as real ones do."""

    stream: Stream

    @property
    def channels(self) -> int:
        return int(self.stream.backbone.get_input_embeddings().weight.shape[1])  # type: ignore[operator]

    @contextlib.contextmanager
    def given(self, batch: Batch) -> Iterator[None]:
        """Inside, a forward pass over the batch runs the crown on them."""
        stream = self.stream
        with only_span(stream.layers, stream.depth, len(stream.layers), self.states(batch)):
            yield

    def states(self, batch: Batch) -> Tensor:
        """Shape (B, T, C)."""
        seeds = keys_of_batch(batch).view(np.uint32).reshape(-1, 4).tolist()
        drawn = np.stack([np.random.default_rng(seed).standard_normal(self.channels) for seed in seeds])
        return laid_out(batch, torch.from_numpy(drawn).to(self.stream.device, self.stream.dtype))


def crown_learner(model: Any, device: torch.device) -> Learner:
    """The learner of a model with a stream, as it is before its trunk is known: its crown stands on made-up states."""
    stream = stream_of(model)
    assert stream is not None
    made_up = MadeUp(stream)
    generator = torch.Generator().manual_seed(0)
    states_BTC = torch.randn(1, _PROBE_TOKENS, made_up.channels, generator=generator)
    with only_span(stream.layers, stream.depth, len(stream.layers), states_BTC.to(device, stream.dtype)):
        parts = causal_parts(model)
    return Learner(model, parts, device, trunk=made_up)


@torch.no_grad()
def find_streamed(learner: Learner, stream: Stream, cut: Cut, compute_dtype: torch.dtype) -> Boundary:
    """The boundary below the crown. Raises NoTrunk.

    Shown on the crown: its layers one after the other give what they give together.
    """
    if learner.noise is not None:
        raise NoTrunk("train.neftune_alpha puts noise on the embeddings, below every layer")
    if stochastic(stream):
        raise NoTrunk("its frozen layers draw random numbers while the others train (dropout)")
    rows, made_up, end = probe_rows(learner), MadeUp(stream), len(stream.layers)
    alone, training = replace(learner, trunk=None), learner.model.training
    learner.model.eval()
    try:
        with precision(learner.device, compute_dtype):
            for batch in cut(rows, range(rows.num_rows), 1 << 20):
                states_BTC = made_up.states(batch)
                together_BTC = span(alone, stream.layers, stream.depth, end, batch, states_BTC)
                for index in range(stream.depth, end):
                    states_BTC = span(alone, stream.layers, index, index + 1, batch, states_BTC)
                if not torch.equal(states_BTC, together_BTC):
                    raise NoTrunk("its layers one after the other do not give what they give together")
    finally:
        learner.model.train(training)
    return Boundary(stream.layers, stream.depth, made_up.channels, stream.dtype)


@torch.no_grad()
def by_layer(
    learner: Learner, stream: Stream, compute_dtype: torch.dtype, folder: Path, batches: Iterator[Batch]
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch and the states of its tokens at the boundary, shape (tokens, C); one layer is in memory at a time.

    `folder`: where the file of the states between two layers may lie while this lasts.
    """
    every = list(batches)
    ends = np.cumsum([0, *(len(keys_of_batch(batch)) for batch in every)]).tolist()
    scratch = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=folder))
    try:
        channels = MadeUp(stream).channels
        size = ends[-1] * channels
        states_RC = torch.from_file(str(scratch / "states"), shared=True, size=size, dtype=stream.dtype)
        states_RC = states_RC.view(-1, channels)
        for index in range(stream.depth):
            with stream.in_memory(index), precision(learner.device, compute_dtype):
                for number, batch in enumerate(every):
                    own_RC = states_RC[ends[number] : ends[number + 1]]
                    before_BTC = laid_out(batch, own_RC.to(stream.device)) if index else None
                    after_BTC = span(learner, stream.layers, index, index + 1, batch, before_BTC)
                    own_RC.copy_(of_tokens(batch, after_BTC))
        for number, batch in enumerate(every):
            yield batch, states_RC[ends[number] : ends[number + 1]]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
