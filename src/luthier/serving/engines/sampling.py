"""The next token from logits, in numpy: one answer's settings, its own random numbers, nothing of its neighbours.

Filters and their order are transformers': repetition penalty, temperature, top-k, top-p. A token depends on the
answer's seed and logits alone, so that it is the same alone and in any batch. Knows nothing of engines.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from luthier.models.generate import Sampling
from luthier.serving.engines.engine import TokenLogprob, TokenMask


class Sampler:
    """Chooses the tokens of one answer, one after the other.

    prompt_ids: for the repetition penalty (Keskar et al. 2019, arXiv:1909.05858), which counts them too.
    """

    def __init__(
        self, sampling: Sampling, prompt_ids: Sequence[int] = (), mask: TokenMask | None = None
    ) -> None:
        self._sampling = sampling
        self._mask = mask
        self._random = np.random.default_rng(sampling.seed)
        self._said = set(prompt_ids) if sampling.repetition_penalty != 1.0 else set()

    def choose(self, logits_V: NDArray[np.float32]) -> int:
        """The next token; `logits_V`, shape (vocabulary,), is left as it is."""
        scores_V = self._masked(self._penalised(logits_V))
        if self._sampling.temperature == 0:
            chosen = int(scores_V.argmax())
        else:
            chosen = self._drawn(scores_V)
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
        masked_V = np.full_like(scores_V, -np.inf)
        masked_V[:width] = np.where(allowed_V[:width], scores_V[:width], -np.inf)
        return masked_V

    def _drawn(self, scores_V: NDArray[np.float32]) -> int:
        """One random number through the cumulated probabilities, in the order of the ids."""
        ids, scores = top_k(scores_V.astype(np.float64) / self._sampling.temperature, self._sampling.top_k)
        weights = np.exp(scores - scores.max())
        weights *= top_p(weights / weights.sum(), self._sampling.top_p)
        cumulated = weights.cumsum()
        place = int(cumulated.searchsorted(self._random.random() * cumulated[-1], side="right"))
        return int(ids[min(place, int(weights.nonzero()[0][-1]))])


def top_k(scores_V: NDArray[np.float64], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The ids, ascending, and scores of the k highest, and of those that equal the last of them; k = 0: of all."""
    if not 0 < k < len(scores_V):
        return np.arange(len(scores_V)), scores_V
    least = np.partition(scores_V, -k)[-k]
    ids = np.flatnonzero(scores_V >= least)
    return ids, scores_V[ids]


def top_p(probabilities: NDArray[np.float64], p: float) -> NDArray[np.bool_]:
    """Which belong to the smallest set of the likeliest whose sum is at least p (Holtzman et al. 2020)."""
    if p >= 1.0:
        return np.ones(len(probabilities), dtype=bool)
    ascending = probabilities.argsort(kind="stable")
    keep = np.empty(len(probabilities), dtype=bool)
    keep[ascending] = probabilities[ascending].cumsum() > 1.0 - p
    keep[ascending[-1]] = True
    return keep


def token_logprob(logits_V: NDArray[np.float32], token_id: int, num_top: int) -> TokenLogprob:
    """Of the distribution at temperature 1, nothing filtered."""
    logits = logits_V.astype(np.float64)
    highest = logits.max()
    logits -= highest + np.log(np.exp(logits - highest).sum())
    ids, _ = top_k(logits, num_top) if num_top else (np.empty(0, dtype=np.int64), logits)
    best = sorted(ids.tolist(), key=lambda i: (-logits[i], i))[:num_top]
    return TokenLogprob(token_id, float(logits[token_id]), tuple((i, float(logits[i])) for i in best))
