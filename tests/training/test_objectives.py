"""The chunked cross-entropy against a float64 reference: value and every gradient."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from luthier.models.forward import Head
from luthier.training.objectives import cross_entropy
from luthier.training.objectives.cross_entropy import token_cross_entropy, weighted_cross_entropy


def reference(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    weights: Tensor,
    scale: float,
    cap: float,
) -> Tensor:
    logits = hidden @ weight.T + (0 if bias is None else bias)
    logits = logits * scale
    if cap:
        logits = cap * torch.tanh(logits / cap)
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return (losses * weights.flatten()).sum()


def inputs(
    B: int, T: int, C: int, V: int, *, bias: bool, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Any:
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(B, T, C, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(V, C, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    bias_V = torch.randn(V, generator=g, dtype=torch.float64).to(dtype).requires_grad_() if bias else None
    targets = torch.randint(0, V, (B, T), generator=g)
    weights = torch.randint(0, 4, (B, T), generator=g).float() * 0.5
    return hidden, weight, bias_V, targets, weights


@settings(deadline=None, max_examples=60)
@given(
    B=st.integers(1, 3),
    T=st.integers(1, 9),
    C=st.integers(1, 8),
    V=st.integers(1, 12),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 0.125, 3.0]),
    softcap=st.sampled_from([0.0, 2.0, 30.0]),
    chunk_rows=st.integers(1, 30),
    seed=st.integers(0, 5),
)
def test_equals_the_float64_reference(
    B: int, T: int, C: int, V: int, bias: bool, scale: float, softcap: float, chunk_rows: int, seed: int
) -> None:
    hidden, weight, bias_V, targets, weights = inputs(B, T, C, V, bias=bias, seed=seed)
    leaves = [leaf for leaf in (hidden, weight, bias_V) if leaf is not None]
    expected = reference(hidden, weight, bias_V, targets, weights, scale, softcap)
    wanted = torch.autograd.grad(expected / 7, leaves)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_entropy, "_CHUNK_BYTES", 4 * V * chunk_rows)
        got = weighted_cross_entropy(hidden, Head(weight, bias_V, scale, softcap), targets, weights)
        gradients = torch.autograd.grad(got / 7, leaves)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-10, atol=1e-12)


def test_a_head_tied_to_the_embeddings_gets_both_gradients() -> None:
    _, table, _, targets, weights = inputs(2, 5, 4, 9, bias=False)
    ids = torch.randint(0, 9, (2, 5))
    want = torch.autograd.grad(reference(table[ids].tanh(), table, None, targets, weights, 1.0, 0.0), [table])
    got = torch.autograd.grad(
        weighted_cross_entropy(table[ids].tanh(), Head(table), targets, weights), [table]
    )
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("trained", ["hidden", "weight", "bias"])
def test_each_gradient_alone(trained: str) -> None:
    hidden, weight, bias, targets, weights = inputs(2, 4, 3, 6, bias=True)
    leaves = {"hidden": hidden, "weight": weight, "bias": bias}
    for name, leaf in leaves.items():
        leaf.requires_grad_(name == trained)
    want = torch.autograd.grad(reference(hidden, weight, bias, targets, weights, 0.5, 5.0), leaves[trained])
    got = torch.autograd.grad(
        weighted_cross_entropy(hidden, Head(weight, bias, 0.5, 5.0), targets, weights), leaves[trained]
    )
    torch.testing.assert_close(got, want)


def test_no_supervised_position_gives_zero_and_zero_gradients() -> None:
    hidden, weight, bias, targets, weights = inputs(2, 4, 3, 6, bias=True)
    loss = weighted_cross_entropy(hidden, Head(weight, bias), targets, weights * 0)
    assert loss.item() == 0
    assert all(not g.any() for g in torch.autograd.grad(loss, [hidden, weight, bias]))


def test_float32_is_near_the_reference_even_for_large_logits() -> None:
    hidden, weight, _, targets, weights = inputs(2, 8, 16, 50, bias=False)
    want = reference(hidden * 30, weight, None, targets, weights, 1.0, 0.0)
    got = weighted_cross_entropy((hidden * 30).float(), Head(weight.float()), targets, weights)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=1e-4)


def test_bfloat16_weights_keep_their_dtype_in_the_gradient() -> None:
    hidden, weight, _, targets, weights = inputs(2, 8, 16, 50, bias=False, dtype=torch.bfloat16)
    loss = weighted_cross_entropy(hidden, Head(weight), targets, weights)
    grad_hidden, grad_weight = torch.autograd.grad(loss, [hidden, weight])
    exact = reference(hidden.double(), weight.double(), None, targets, weights, 1.0, 0.0)
    assert (grad_hidden.dtype, grad_weight.dtype) == (torch.bfloat16, torch.bfloat16)
    torch.testing.assert_close(loss.double(), exact, rtol=2e-2, atol=0)


def test_without_gradient_nothing_is_kept() -> None:
    hidden, weight, _, targets, weights = inputs(1, 3, 2, 4, bias=False)
    with torch.no_grad():
        loss = weighted_cross_entropy(hidden, Head(weight), targets, weights)
    assert not loss.requires_grad


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
@pytest.mark.parametrize("softcap", [0.0, 3.0])
def test_label_smoothing_is_that_of_torch(smoothing: float, softcap: float) -> None:
    hidden, weight, bias, targets, weights = inputs(2, 5, 4, 9, bias=True)
    head = Head(weight, bias, 0.5, softcap)
    leaves = [hidden, weight, bias]
    losses = torch.nn.functional.cross_entropy(
        head.logits(hidden.flatten(0, 1)), targets.flatten(), reduction="none", label_smoothing=smoothing
    )
    wanted = torch.autograd.grad((losses * weights.flatten()).sum(), leaves)
    total, each = token_cross_entropy(hidden, head, targets, weights, smoothing)
    torch.testing.assert_close(total, (losses * weights.flatten()).sum(), rtol=1e-12, atol=0)
    expected = torch.where(weights != 0, losses.reshape(weights.shape), 0.0)
    torch.testing.assert_close(each, expected, rtol=1e-12, atol=1e-12)
    assert not each.requires_grad
    for got, want in zip(torch.autograd.grad(total, leaves), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
