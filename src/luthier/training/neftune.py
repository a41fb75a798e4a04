"""NEFTune: uniform noise on the embeddings while training (Jain et al. 2023, arXiv:2310.05914).

Each number of an embedding gets noise from -1 to 1 times alpha / sqrt(L C): L tokens in the row, C channels. L is the
row's own length, not that of its padding. In a forest a shared token is computed once, so its rows share its noise, of
the size that suits the longest of them. Drawn from torch's random state, which checkpoints keep; none in evaluation.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luthier.data.batches import Batch, MicroBatch


class EmbeddingNoise:
    """Noise on what an embedding module gives, inside `over` and in training mode alone."""

    def __init__(self, embeddings: nn.Module, alpha: float) -> None:
        self.embeddings, self.alpha = embeddings, alpha
        self._lengths: Tensor | None = None
        embeddings.register_forward_hook(self._add)

    @contextlib.contextmanager
    def over(self, batch: Batch) -> Iterator[None]:
        """Inside, the module embeds the tokens of `batch`."""
        self._lengths = torch.from_numpy(row_lengths(batch))
        try:
            yield
        finally:
            self._lengths = None

    def _add(self, module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        if self._lengths is None or not module.training:
            return output
        scale = self.alpha / torch.sqrt(self._lengths.to(output) * output.shape[-1])
        return output + (torch.rand_like(output) * 2 - 1) * scale[..., None]


def row_lengths(batch: Batch) -> "np.ndarray[Any, Any]":
    """The length of the row that each token is of: shape (B, 1) for padded rows, (1, N) for the nodes of a forest."""
    if isinstance(batch, MicroBatch):
        return np.asarray(batch.lengths_B, np.float64)[:, None]
    lengths_B = np.diff(batch.row_offsets)
    lengths_N = np.zeros(batch.num_nodes)
    np.maximum.at(lengths_N, batch.row_nodes_E, np.repeat(lengths_B, lengths_B))
    return lengths_N[None]
