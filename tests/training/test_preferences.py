"""Objectives of preferences: value and every gradient as in a plain float64 reference, and losses as in TRL."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.batches import microbatches
from luthier.data.dataset import TokenDataset
from luthier.data.forest import forests
from luthier.models.attention import use_forest_attention
from luthier.models.forward import Head, causal_parts
from luthier.models.methods import apply_full, apply_lora
from luthier.training.learner import Learner
from luthier.training.loop import LoopConfig, forward_backward, mean_loss
from luthier.training.objectives import Averages, log_probs, make_objective
from luthier.training.objectives.dpo import dpo_losses
from luthier.training.objectives.kto import kto_losses
from luthier.training.objectives.log_probs import token_log_probs
from luthier.training.objectives.orpo import odds_ratio_losses
from luthier.training.objectives.pairs import Pairs
from luthier.training.objectives.simpo import simpo_losses
from tests.toy import tiny_model
from tests.training.pairs import (
    CASES,
    DPO,
    HINGE,
    IPO,
    KTO,
    ORPO,
    SIMPO,
    plain_rows,
    random_feedback,
    random_units,
)
from tests.training.test_objectives import inputs
from tests.training.toys import VOCAB, lora_method

EXACT = LoopConfig(1, 1, 1, clip_norm=1e9, compute_dtype=torch.float64)


def exact_model(method: str = "full", architecture: str = "llama") -> Any:
    """A tiny float64 model; its adapter, where it has one, is not at its beginning."""
    model = tiny_model(architecture, vocab_size=VOCAB).double()
    if method == "full":
        return apply_full(model, torch.float64)
    torch.manual_seed(1)
    adapted = apply_lora(model, lora_method(dropout=0.0), "toy", torch.float64)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return adapted.eval()


def learner_of(model: Any, cut: Any) -> Learner:
    if cut is forests:
        use_forest_attention(model)
    return Learner(model, causal_parts(model), torch.device("cpu"))


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def toy_units(name: str, **options: Any) -> TokenDataset:
    return random_feedback() if name == "kto" else random_units(**options)


@pytest.mark.parametrize("cut", [forests, microbatches])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_those_of_separate_rows(name: str, method: str, cut: Any) -> None:
    config, plain = CASES[name]
    dataset = toy_units(name)
    model = exact_model(method)
    expected = plain(model, dataset)
    expected.backward()
    wanted = gradients(model)
    learner = learner_of(model, cut)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for budget in (1, 40, 10_000):  # a step cut into many micro-batches, some, and one
        model.zero_grad()
        batches = cut(dataset, range(dataset.num_rows), budget)
        assert (budget != 1) or len(batches) == dataset.num_units
        loss, _ = forward_backward(learner, make_objective(config), batches, parameters, EXACT)
        assert loss == pytest.approx(expected.item(), rel=1e-9)
        got = gradients(model)
        assert got.keys() == wanted.keys()
        largest = max(float(one.abs().max()) for one in wanted.values())
        for key, want in wanted.items():
            torch.testing.assert_close(got[key], want, rtol=1e-5, atol=1e-6 * largest, msg=key)
        assert mean_loss(learner, make_objective(config), batches, EXACT) == pytest.approx(
            expected.item(), rel=1e-9
        )


@pytest.mark.parametrize("architecture", ["mistral", "gemma2", "gpt2"])
def test_other_architectures_too(architecture: str) -> None:
    dataset = random_units(weighted=True)
    model = exact_model(architecture=architecture)
    expected = CASES["dpo"][1](model, dataset).item()
    learner = learner_of(model, forests)
    batches = forests(dataset, range(dataset.num_rows), 40)
    parameters = list(model.parameters())
    assert forward_backward(learner, make_objective(DPO), batches, parameters, EXACT)[0] == pytest.approx(
        expected, rel=1e-6
    )


def test_what_is_told_is_of_the_whole_step() -> None:
    dataset = random_units()
    model = exact_model()
    sums, _, old = plain_rows(model, dataset)
    rewards = (0.3 * (sums - old)).detach().numpy()
    chosen, rejected = rewards[0::2], rewards[1::2]
    told = Averages()
    batches = forests(dataset, range(dataset.num_rows), 1)
    mean_loss(learner_of(model, forests), make_objective(DPO), batches, EXACT, told)
    means = told.means()
    assert means["reward_margin"] == pytest.approx((chosen - rejected).mean())
    assert means["reward_accuracy"] == pytest.approx((chosen > rejected).mean())
    assert means["reward_chosen"] == pytest.approx(chosen.mean())
    assert means["reward_rejected"] == pytest.approx(rejected.mean())


@settings(deadline=None, max_examples=40)
@given(
    M=st.integers(0, 12),
    C=st.integers(1, 6),
    V=st.integers(1, 9),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 0.125, 3.0]),
    softcap=st.sampled_from([0.0, 2.0]),
    chunk_rows=st.integers(1, 14),
    seed=st.integers(0, 3),
)
def test_token_log_probs_equal_the_float64_reference(
    M: int, C: int, V: int, bias: bool, scale: float, softcap: float, chunk_rows: int, seed: int
) -> None:
    hidden, weight, bias_V, targets, _ = inputs(1, M, C, V, bias=bias, seed=seed)
    leaves = [leaf for leaf in (hidden, weight, bias_V) if leaf is not None]
    coefficients = torch.randn(M, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    head = Head(weight, bias_V, scale, softcap)
    expected = head.logits(hidden[0]).log_softmax(-1).gather(1, targets[0, :, None])[:, 0]
    wanted = torch.autograd.grad((expected * coefficients).sum(), leaves)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_probs, "_CHUNK_BYTES", 4 * V * chunk_rows)
        got = token_log_probs(hidden[0], head, targets[0])
        found = torch.autograd.grad((got * coefficients).sum(), leaves)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for gradient, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-10, atol=1e-12)


def random_pairs(count: int = 64) -> Pairs:
    g = torch.Generator().manual_seed(0)
    logps = [-60 * torch.rand(count, generator=g) - 0.1 for _ in range(4)]
    weights = [torch.randint(1, 30, (count,), generator=g).float() for _ in range(2)]
    return Pairs(logps[0], logps[1], weights[0], weights[1], logps[2], logps[3])


def test_simpo_and_orpo_are_those_of_trl() -> None:
    cpo = pytest.importorskip("trl.experimental.cpo")
    orpo = pytest.importorskip("trl.experimental.orpo")
    pairs = random_pairs()
    means = (pairs.chosen_mean_U, pairs.rejected_mean_U)
    here = SimpleNamespace(device=torch.device("cpu"))
    # TRL writes gamma inside of beta: beta (difference - gamma / beta).
    trainer: Any = SimpleNamespace(
        alpha=0.0, loss_type="simpo", simpo_gamma=1.0, beta=2.0, label_smoothing=0.0, accelerator=here
    )
    theirs = cpo.CPOTrainer.cpo_loss(trainer, *means)[0]
    torch.testing.assert_close(simpo_losses(pairs, SIMPO), theirs, rtol=1e-5, atol=1e-5)
    trainer = SimpleNamespace(beta=0.4, accelerator=here)
    theirs = -orpo.ORPOTrainer.odds_ratio_loss(trainer, *means)[0]
    torch.testing.assert_close(odds_ratio_losses(pairs, ORPO), theirs, rtol=1e-5, atol=1e-5)


def test_an_answer_that_is_certain_has_finite_odds_and_gradients() -> None:
    pairs = random_pairs(2)
    certain = torch.zeros(2, requires_grad=True)
    losses = odds_ratio_losses(Pairs(certain, *list(vars(pairs).values())[1:]), ORPO)
    losses.sum().backward()
    assert losses.isfinite().all() and certain.grad is not None and certain.grad.isfinite().all()


def test_kto_without_a_divergence_is_bounded_below_by_none() -> None:
    ratios, desirable = torch.tensor([1.0, -2.0]), torch.tensor([True, False])
    assert torch.equal(kto_losses(ratios, desirable, -3.0, KTO), kto_losses(ratios, desirable, 0.0, KTO))
    assert not torch.equal(kto_losses(ratios, desirable, 3.0, KTO), kto_losses(ratios, desirable, 0.0, KTO))


def test_the_losses_of_dpo_at_the_reference() -> None:
    pairs = random_pairs(8)
    same = Pairs(*list(vars(pairs).values())[:4], pairs.chosen_U, pairs.rejected_U)
    for config, value in ((DPO, np.log(2)), (HINGE, 1.0), (IPO, (1 / 0.6) ** 2)):
        torch.testing.assert_close(dpo_losses(same, config), torch.full((8,), value, dtype=torch.float32))
