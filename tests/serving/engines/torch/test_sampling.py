"""Sampling beside transformers' own processors, and its independence of what else is in the batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from luthier.errors import ServingError
from luthier.models.generate import Sampling
from luthier.serving.engines.torch.sampling import Chooser, _constrained, choose, kept_weights, logprobs

SETTINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 0.999, 1.0]),
    top_k=st.sampled_from([0, 1, 5, 400]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    seed=st.integers(0, 2**63),
)


def random_logits(rows: int, vocabulary: int, seed: int = 0) -> torch.Tensor:
    return 4 * torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed))


def warped(logits_V: torch.Tensor, sampling: Sampling, seen: list[int]) -> torch.Tensor:
    """The distribution that transformers draws from."""
    steps = LogitsProcessorList()
    if sampling.repetition_penalty != 1.0:
        steps.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    steps.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    return torch.softmax(steps(torch.tensor([seen]), logits_V[None].clone())[0].double(), dim=-1)


@settings(deadline=None, max_examples=60)
@given(sampling=SETTINGS, seed=st.integers(0, 1000), vocabulary=st.sampled_from([9, 700]))
def test_the_distribution_is_that_of_transformers(sampling: Sampling, seed: int, vocabulary: int) -> None:
    logits, seen = random_logits(1, vocabulary, seed), [1, 3, 3]
    scores = _constrained(logits, [Chooser(sampling, set(seen))]) / sampling.temperature
    weights, ids, whole = kept_weights(scores, [sampling], vocabulary)
    assert whole
    found = torch.zeros(vocabulary, dtype=torch.float64).scatter_(0, ids[0], weights[0])
    torch.testing.assert_close(found / found.sum(), warped(logits[0], sampling, seen), atol=1e-6, rtol=1e-5)


def test_many_draws_follow_the_distribution() -> None:
    logits = random_logits(1, 600)
    many = [Sampling(temperature=1.0, top_p=0.9, top_k=20, seed=seed) for seed in range(4000)]
    tokens = choose(logits.expand(4000, -1), [Chooser(one, set()) for one in many])
    counts = torch.bincount(torch.tensor(tokens), minlength=600).double()
    expected = warped(logits[0], many[0], [])
    assert (counts[expected == 0] == 0).all()
    assert float((counts / 4000 - expected).abs().max()) < 0.03


@settings(deadline=None, max_examples=40)
@given(many=st.lists(SETTINGS, min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_company_changes_nothing(many: list[Sampling], seed: int) -> None:
    many.append(Sampling())
    logits = random_logits(len(many), 700, seed)
    before = logits.clone()
    together = choose(logits, [Chooser(one, {2, 5}) for one in many])
    for row, one in enumerate(many):
        assert choose(logits[row : row + 1], [Chooser(one, {2, 5})]) == together[row : row + 1]
    assert torch.equal(logits, before)


def test_a_flat_distribution_needs_more_than_the_first_candidates() -> None:
    sampling = Sampling(temperature=1.0, top_p=0.9, seed=3)
    logits = 1e-3 * random_logits(1, 5000)
    chooser = Chooser(sampling, set())
    assert len({choose(logits, [chooser])[0] for _ in range(60)}) > 50


class OnlyThese:
    """A mask over a vocabulary that is smaller than the model's."""

    def __init__(self, ids: list[int], size: int) -> None:
        self.ids, self.size, self.accepted = ids, size, list[int]()

    def allowed(self) -> np.ndarray:
        allowed = np.zeros(self.size, dtype=np.bool_)
        allowed[self.ids] = True
        return allowed

    def accept(self, token_id: int) -> None:
        self.accepted.append(token_id)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_mask_leaves_what_it_allows(temperature: float) -> None:
    mask = OnlyThese([3, 17], 20)
    chooser = Chooser(Sampling(temperature=temperature, top_p=0.95), set(), mask)
    logits = random_logits(1, 30)
    for _ in range(20):
        chooser.look_ahead()
        (token,) = choose(logits, [chooser])
        chooser.chosen(token)
        assert token in (3, 17)
    assert len(mask.accepted) == 20
    mask.ids = []
    with pytest.raises(ServingError, match="come to an end"):
        chooser.look_ahead()


def test_logprobs_are_those_of_the_model() -> None:
    logits = random_logits(2, 50)
    asks = [Chooser(Sampling(temperature=2.0, top_k=1), set(), None, 3), Chooser(Sampling(), set())]
    first, second = logprobs(logits, [4, 5], asks)
    expected = torch.log_softmax(logits[0], dim=-1)
    assert second is None and first is not None
    assert first.logprob == pytest.approx(float(expected[4]))
    assert [token for token, _ in first.top] == expected.argsort(descending=True)[:3].tolist()
