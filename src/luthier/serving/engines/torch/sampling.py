"""The next token of each row, by the row's own settings and its own random numbers.

The order is transformers': what may be said (mask), repetition penalty, temperature, top_k, top_p. A token is drawn by
inverting the distribution function at one uniform number from the row's generator, so what else is in the batch changes
nothing. Log-probabilities are those of the model, before any of this. This file knows nothing of models or caches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.errors import ServingError
from luthier.models.generate import Sampling
from luthier.serving.engines.engine import TokenLogprob, TokenMask

_CANDIDATES = 256  # this many of the likeliest tokens are looked at first; sorting all of them takes longer


@dataclass
class Chooser:
    """How one row chooses. seen_ids: of its prompt and its answer, for the repetition penalty. allowed_V: what the mask
    said last; None without one."""

    sampling: Sampling
    seen_ids: set[int]
    mask: TokenMask | None = None
    num_top_logprobs: int | None = None
    allowed_V: NDArray[np.bool_] | None = None
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.Generator(np.random.PCG64(self.sampling.seed % 2**64))

    def look_ahead(self) -> None:
        """Ask the mask what may come next. Raises what the mask raises, and ServingError where it is nothing."""
        if self.mask is not None:
            self.allowed_V = self.mask.allowed()
            if not self.allowed_V.any():
                raise ServingError("what the answer may say has come to an end without one")

    def chosen(self, token_id: int) -> None:
        """Follow the answer."""
        if self.sampling.repetition_penalty != 1.0:
            self.seen_ids.add(token_id)
        if self.mask is not None:
            self.mask.accept(token_id)


def choose(logits_RV: Tensor, choosers: Sequence[Chooser]) -> list[int]:
    """One token for each row of logits (float32 or wider, unchanged)."""
    scores_RV = _constrained(logits_RV, choosers)
    sampled = [row for row, one in enumerate(choosers) if one.sampling.temperature > 0]
    if not sampled:
        return [int(token) for token in scores_RV.argmax(dim=-1).tolist()]
    greedy_R = scores_RV.argmax(dim=-1) if len(sampled) < len(choosers) else None
    drawn = _draw(
        scores_RV[sampled] if greedy_R is not None else scores_RV, [choosers[row] for row in sampled]
    )
    tokens: list[int] = greedy_R.tolist() if greedy_R is not None else [0] * len(choosers)
    for row, token in zip(sampled, drawn, strict=True):
        tokens[row] = token
    return tokens


def logprobs(
    logits_RV: Tensor, tokens: Sequence[int], choosers: Sequence[Chooser]
) -> list[TokenLogprob | None]:
    """What each row asked to know of its chosen token and the likeliest ones."""
    found: list[TokenLogprob | None] = [None] * len(tokens)
    for row, (token, chooser) in enumerate(zip(tokens, choosers, strict=True)):
        if chooser.num_top_logprobs is None:
            continue
        logprobs_V = torch.log_softmax(logits_RV[row], dim=-1)
        best = logprobs_V.topk(min(chooser.num_top_logprobs, len(logprobs_V)))
        top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        found[row] = TokenLogprob(token, float(logprobs_V[token]), top)
    return found


def _constrained(logits_RV: Tensor, choosers: Sequence[Chooser]) -> Tensor:
    scores_RV = logits_RV
    for row, one in enumerate(choosers):
        if one.allowed_V is None and one.sampling.repetition_penalty == 1.0:
            continue
        if scores_RV is logits_RV:
            scores_RV = logits_RV.clone()
        scores_V = scores_RV[row]
        if one.allowed_V is not None:
            allowed = torch.from_numpy(one.allowed_V).to(scores_V.device)
            scores_V[len(allowed) :] = float("-inf")
            scores_V[: len(allowed)].masked_fill_(~allowed[: len(scores_V)], float("-inf"))
        if one.sampling.repetition_penalty != 1.0:
            _penalise(scores_V, one)
    return scores_RV


def _penalise(scores_V: Tensor, chooser: Chooser) -> None:
    """Keskar et al. 2019, arXiv:1909.05858, as transformers has it: negative scores are multiplied."""
    ids = torch.tensor(sorted(chooser.seen_ids), device=scores_V.device)
    scores, penalty = scores_V[ids], chooser.sampling.repetition_penalty
    scores_V[ids] = torch.where(scores < 0, scores * penalty, scores / penalty)


def _draw(scores_SV: Tensor, choosers: Sequence[Chooser]) -> list[int]:
    device = scores_SV.device
    temperatures = torch.tensor([one.sampling.temperature for one in choosers], device=device)
    scores_SV = scores_SV / temperatures[:, None].to(scores_SV.dtype)
    uniform_S = torch.tensor([one.random.random() for one in choosers], dtype=torch.float64, device=device)
    plain = [row for row, one in enumerate(choosers) if one.sampling.top_p >= 1 and one.sampling.top_k <= 0]
    cut = [row for row in range(len(choosers)) if row not in set(plain)]
    tokens = [0] * len(choosers)
    if plain:
        found = _invert(torch.softmax(scores_SV[plain].double(), dim=-1), uniform_S[plain])
        for row, token in zip(plain, found.tolist(), strict=True):
            tokens[row] = int(token)
    if cut:
        settings = [choosers[row].sampling for row in cut]
        found = _draw_cut(scores_SV[cut], uniform_S[cut], settings)
        for row, token in zip(cut, found.tolist(), strict=True):
            tokens[row] = int(token)
    return tokens


def _draw_cut(scores_SV: Tensor, uniform_S: Tensor, settings: Sequence[Sampling]) -> Tensor:
    """Of the tokens that top_k and top_p leave."""
    num_tokens = scores_SV.shape[1]
    width = min(num_tokens, max(_CANDIDATES, *(2 * one.top_k for one in settings)))
    weights_SW, ids_SW, whole = kept_weights(scores_SV, settings, width)
    if not whole:
        weights_SW, ids_SW, _ = kept_weights(scores_SV, settings, num_tokens)
    places = _invert(weights_SW, uniform_S)
    return ids_SW.gather(1, places[:, None])[:, 0]


def kept_weights(scores_SV: Tensor, settings: Sequence[Sampling], width: int) -> tuple[Tensor, Tensor, bool]:
    """Probabilities of the `width` likeliest tokens after top_k and top_p, not summing to 1, float64; their ids; and
    whether no other token is left."""
    device, num_tokens = scores_SV.device, scores_SV.shape[1]
    best = scores_SV.topk(width, dim=-1)
    top_k = [min(one.top_k, num_tokens) if one.top_k > 0 else num_tokens for one in settings]
    top_k_S1 = torch.tensor(top_k, device=device)[:, None]
    smallest_S1 = best.values.gather(1, top_k_S1.clamp(max=width) - 1)
    # Tokens that are as likely as the last one are kept with it.
    kept_SW = (best.values >= smallest_S1) | (top_k_S1 > width)
    values_SW = best.values.double().masked_fill(~kept_SW, float("-inf"))
    # What lies beyond `width` counts where top_k did not cut before it.
    beyond_S1 = (top_k_S1 > width) & (width < num_tokens)
    total_S1 = torch.where(
        beyond_S1,
        torch.logsumexp(scores_SV.double(), dim=-1, keepdim=True),
        torch.logsumexp(values_SW, dim=-1, keepdim=True),
    )
    weights_SW = torch.exp(values_SW - total_S1)
    before_SW = weights_SW.cumsum(dim=-1) - weights_SW
    top_p_S1 = torch.tensor([one.top_p for one in settings], dtype=torch.float64, device=device)[:, None]
    within_SW = (before_SW < top_p_S1) | (top_p_S1 >= 1)
    within_SW[:, 0] = True
    cut_off = (
        (within_SW[:, -1:] & kept_SW[:, -1:]) if width < num_tokens else torch.zeros(1, dtype=torch.bool)
    )
    return weights_SW.masked_fill(~within_SW, 0.0), best.indices, not bool(cut_off.any())


def _invert(weights_SW: Tensor, uniform_S: Tensor) -> Tensor:
    """(S,): the first place at which the sum of weights exceeds `uniform` of their total."""
    sums_SW = weights_SW.cumsum(dim=-1)
    wanted_S1 = (uniform_S * sums_SW[:, -1])[:, None]
    places = torch.searchsorted(sums_SW, wanted_S1, right=True)[:, 0]
    # A uniform number next to 1 can round up to the total: the last token with a weight, then.
    last = (weights_SW > 0).long().cumsum(dim=-1).argmax(dim=-1)
    return torch.minimum(places, last)
