"""Choosing a token in numpy against transformers' own filters."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from luthier.errors import ServingError
from luthier.models.generate import Sampling
from luthier.serving.engines.sampling import Sampler, kept, token_logprob

SETTINGS = [
    Sampling(temperature=1.0),
    Sampling(temperature=0.7, top_k=5),
    Sampling(temperature=1.3, top_p=0.8),
    Sampling(temperature=1.0, top_k=40, top_p=0.5),
    Sampling(temperature=2.5, top_p=0.999),
    Sampling(temperature=0.9, top_k=7, repetition_penalty=1.3),
    Sampling(temperature=1.0, top_p=1e-9),
    Sampling(temperature=1.0, top_k=100_000),
]


def theirs(logits_V: Any, said: list[int], sampling: Sampling) -> Any:
    """Probabilities by transformers."""
    steps = LogitsProcessorList()
    if sampling.repetition_penalty != 1.0:
        steps.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    steps.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    scores = steps(torch.tensor([said]), torch.from_numpy(logits_V)[None].double())
    return torch.softmax(scores, -1)[0].numpy()


@pytest.mark.parametrize("sampling", SETTINGS)
@pytest.mark.parametrize("size", [50, 3000])
def test_the_filters_leave_what_transformers_leaves(sampling: Sampling, size: int) -> None:
    random = np.random.default_rng(size)
    for _ in range(5):
        logits_V = random.normal(size=size).astype(np.float32) * 3
        penalty = sampling.repetition_penalty
        said = [3, 4]
        scores_V = logits_V.astype(np.float64)
        scores_V[said] = np.where(scores_V[said] < 0, scores_V[said] * penalty, scores_V[said] / penalty)
        ids, weights = kept(scores_V / sampling.temperature, sampling.top_k, sampling.top_p)
        found_V = np.zeros(size)
        found_V[ids] = weights / weights.sum()
        np.testing.assert_allclose(found_V, theirs(logits_V, said, sampling), atol=1e-9)


def test_draws_follow_the_distribution_and_the_seed() -> None:
    logits_V = np.log(np.array([0.5, 0.25, 0.15, 0.1], dtype=np.float32))
    sampler = Sampler(Sampling(temperature=1.0, seed=4))
    drawn = [sampler.choose(logits_V) for _ in range(4000)]
    assert np.abs(np.bincount(drawn) / 4000 - np.exp(logits_V)).max() < 0.03
    again = Sampler(Sampling(temperature=1.0, seed=4))
    assert [again.choose(logits_V) for _ in range(50)] == drawn[:50]
    other = Sampler(Sampling(temperature=1.0, seed=-5))
    assert [other.choose(logits_V) for _ in range(50)] != drawn[:50]


def test_the_penalty_counts_prompt_and_answer() -> None:
    logits_V = np.array([2.0, 1.9, -1.0, 1.0], dtype=np.float32)
    sampler = Sampler(Sampling(repetition_penalty=1.5), prompt_ids=[0, 99])
    assert [sampler.choose(logits_V) for _ in range(3)] == [1, 0, 0]
    assert logits_V.tolist() == [2.0, np.float32(1.9), -1.0, 1.0]


class Allows:
    """A mask of fewer tokens than the model has."""

    def __init__(self, *token_ids: int) -> None:
        self.accepted: list[int] = []
        self._allowed = np.isin(np.arange(3), token_ids)

    def allowed(self) -> Any:
        return self._allowed

    def accept(self, token_id: int) -> None:
        self.accepted.append(token_id)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_mask_comes_first_and_hears_what_was_chosen(temperature: float) -> None:
    mask = Allows(1)
    sampler = Sampler(Sampling(temperature=temperature, top_k=1), mask=mask)
    assert sampler.choose(np.array([5.0, 1.0, 4.0, 9.0], dtype=np.float32)) == 1
    assert mask.accepted == [1]
    with pytest.raises(ServingError, match="can neither go on nor end"):
        Sampler(Sampling(), mask=Allows()).choose(np.zeros(4, dtype=np.float32))


def test_log_probabilities_are_torchs() -> None:
    logits_V = np.random.default_rng(0).normal(size=900).astype(np.float32) * 4
    want = torch.log_softmax(torch.from_numpy(logits_V).double(), -1)
    found = token_logprob(logits_V, 17, 3)
    assert (found.token_id, found.logprob) == (17, pytest.approx(float(want[17]), abs=1e-12))
    best = want.topk(3)
    assert [token for token, _ in found.top] == best.indices.tolist()
    assert [value for _, value in found.top] == pytest.approx(best.values.tolist(), abs=1e-12)
    assert token_logprob(logits_V, 17, 0).top == ()
