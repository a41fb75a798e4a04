"""The next token from logits, in numpy: one answer's settings, its own random numbers, nothing of its neighbours.

Filters and their order are transformers': repetition penalty, temperature, top-k, top-p. A token depends on the
answer's seed and logits alone, so that it is the same alone and in any batch. Knows nothing of engines.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ServingError
from luthier.models.generate import Sampling
from luthier.serving.engines.engine import TokenLogprob, TokenMask

_CANDIDATES = 256  # this many of the likeliest are looked at first; sorting all of them takes longer


class Sampler:
    """Chooses the tokens of one answer, one after the other.

    prompt_ids: for the repetition penalty (Keskar et al. 2019, arXiv:1909.05858), which counts them too.
    """

    def __init__(
        self, sampling: Sampling, prompt_ids: Sequence[int] = (), mask: TokenMask | None = None
    ) -> None:
        self._sampling = sampling
        self._mask = mask
        self._random = np.random.default_rng(sampling.seed % 2**64)
        self._said = set(prompt_ids) if sampling.repetition_penalty != 1.0 else set()

    def choose(self, logits_V: NDArray[np.float32]) -> int:
        """The next token; `logits_V`, shape (vocabulary,), is left as it is.

        Raises ServingError where the mask allows nothing.
        """
        scores_V = self._masked(self._penalised(logits_V))
        greedy = self._sampling.temperature == 0
        chosen = int(scores_V.argmax()) if greedy else self._drawn(scores_V)
        if self._sampling.repetition_penalty != 1.0:
            self._said.add(chosen)
        if self._mask is not None:
            self._mask.accept(chosen)
        return chosen

    def _penalised(self, logits_V: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self._said:
            return logits_V
        penalty = np.float32(self._sampling.repetition_penalty)
        said = np.fromiter(self._said, dtype=np.int64)
        said = said[said < len(logits_V)]
        scores_V = logits_V.copy()
        scores_V[said] = np.where(scores_V[said] < 0, scores_V[said] * penalty, scores_V[said] / penalty)
        return scores_V

    def _masked(self, scores_V: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._mask is None:
            return scores_V
        allowed_V = self._mask.allowed()
        width = min(len(allowed_V), len(scores_V))  # embeddings may be padded beyond the vocabulary
        if not allowed_V[:width].any():
            raise ServingError(
                "the answer can neither go on nor end: what it may say (its schema) allows no token"
            )
        masked_V = np.full_like(scores_V, -np.inf)
        masked_V[:width] = np.where(allowed_V[:width], scores_V[:width], -np.inf)
        return masked_V

    def _drawn(self, scores_V: NDArray[np.float32]) -> int:
        """The distribution function is inverted at one uniform number."""
        sampling = self._sampling
        ids, weights = kept(
            scores_V.astype(np.float64) / sampling.temperature, sampling.top_k, sampling.top_p
        )
        cumulated = weights.cumsum()
        place = int(cumulated.searchsorted(self._random.random() * cumulated[-1], side="right"))
        # A uniform number next to 1 can round up to the total: the last token with a weight, then.
        return int(ids[min(place, int(weights.nonzero()[0][-1]))])


def kept(
    scores_V: NDArray[np.float64], top_k: int, top_p: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The ids that both filters leave, and their weights, which need not sum to 1.

    top_k: the k highest and those that equal the last of them; 0: all. top_p: of those, the smallest set of the
    likeliest whose probabilities sum to it (Holtzman et al. 2020, arXiv:1904.09751); 1: all. The likeliest come first
    where anything is filtered, else ids are in order.
    """
    size = len(scores_V)
    weights_V = np.exp(scores_V - scores_V.max())
    if not 0 < top_k < size:
        if top_p >= 1.0:
            return np.arange(size), weights_V
        top_k = size
    first = _CANDIDATES if top_k == size else max(_CANDIDATES, 2 * top_k)
    for width in (min(size, first), size):
        ids = _likeliest(scores_V, width)
        weights = weights_V[ids]
        if top_k < size:
            weights[scores_V[ids] < scores_V[ids[top_k - 1]]] = 0.0
        total = weights_V.sum() if top_k == size else weights.sum()
        if top_p < 1.0:
            outside = weights.cumsum() - weights >= top_p * total
            outside[0] = False
            weights[outside] = 0.0
        if width == size or not weights[-1]:
            break
    return ids, weights


def _likeliest(scores_V: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The ids of the highest scores, best first, the lower id first among equals."""
    ids = np.argpartition(-scores_V, count - 1)[:count] if count < len(scores_V) else np.arange(len(scores_V))
    found: NDArray[np.int64] = ids[np.lexsort((ids, -scores_V[ids]))]
    return found


def token_logprob(logits_V: NDArray[np.float32], token_id: int, num_top: int) -> TokenLogprob:
    """Of the distribution at temperature 1, nothing filtered."""
    logits = logits_V.astype(np.float64)
    highest = logits.max()
    logits -= highest + np.log(np.exp(logits - highest).sum())
    best = _likeliest(logits, min(num_top, len(logits))) if num_top else ()
    return TokenLogprob(token_id, float(logits[token_id]), tuple((int(i), float(logits[i])) for i in best))
