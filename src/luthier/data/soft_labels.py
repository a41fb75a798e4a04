"""A teacher's soft labels: at each supervised token of a dataset, its likeliest tokens and how likely they are.

Held in two arrays, which may lie on the disk (memory-mapped): only the labels of a batch are read. Knows nothing of
torch, of models, and of how the labels were made.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SoftTargets:
    """The labels of the M targets of a batch: K tokens each, or the whole vocabulary.

    token_ids_MK: int64; None where the labels are of every token of the vocabulary, in its order.
    log_probs_MK: float32, shape (M, K + 1), the last one of all other tokens together; (M, vocabulary) without ids.
    """

    token_ids_MK: NDArray[np.int64] | None
    log_probs_MK: NDArray[np.float32]


@dataclass(frozen=True)
class SoftLabels:
    """The labels of the S supervised tokens of a dataset.

    tokens_S: their places in the dataset's flat arrays, rising. token_ids_SK, log_probs_SK: as in `SoftTargets`, ids in
    int32.
    """

    tokens_S: NDArray[np.int64]
    token_ids_SK: NDArray[np.int32] | None
    log_probs_SK: NDArray[np.float32]

    def at(self, tokens_M: NDArray[np.int64]) -> SoftTargets:
        """The labels of tokens, which are given by their places in the dataset's flat arrays."""
        index_M = np.searchsorted(self.tokens_S, tokens_M)
        ids = None if self.token_ids_SK is None else self.token_ids_SK[index_M].astype(np.int64)
        return SoftTargets(ids, np.asarray(self.log_probs_SK[index_M]))
