"""A frozen head that is narrower than the hidden states: values and gradients against float64 with all logits."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from luthier.models.forward import Head
from luthier.training.objectives import kept_head
from luthier.training.objectives.cross_entropy import token_cross_entropy
from luthier.training.objectives.log_probs import token_log_probs


def inputs(N: int, C: int, V: int, bias: bool, dtype: torch.dtype, seed: int = 0) -> Any:
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(N, C, generator=g, dtype=dtype).requires_grad_()
    weight = (2 * torch.randn(V, C, generator=g)).to(torch.bfloat16)
    bias_V = torch.randn(V, generator=g, dtype=dtype) if bias else None
    return hidden, weight, bias_V, torch.randint(0, V, (N,), generator=g)


def reference(hidden: Tensor, head: Head, targets: Tensor) -> Tensor:
    logits = hidden.double() @ head.weight_VC.double().T
    logits = (logits + (0 if head.bias_V is None else head.bias_V.double())) * head.scale
    if head.softcap:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    return logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]


@settings(deadline=None, max_examples=60)
@given(
    N=st.integers(1, 9),
    C=st.integers(1, 8),
    V=st.integers(1, 12),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 0.125, 3.0]),
    softcap=st.sampled_from([0.0, 2.0, 30.0]),
    piece_rows=st.integers(1, 15),
    seed=st.integers(0, 5),
)
def test_log_probs_and_gradients_equal_the_reference(
    N: int, C: int, V: int, bias: bool, scale: float, softcap: float, piece_rows: int, seed: int
) -> None:
    hidden, weight, bias_V, targets = inputs(N, C, V, bias, torch.float64, seed)
    head = Head(weight, bias_V, scale, softcap)
    expected = reference(hidden, head, targets)
    before = kept_head._PIECE_BYTES
    kept_head._PIECE_BYTES = 8 * max(N, C) * piece_rows
    try:
        got = token_log_probs(hidden, head, targets)
        total, losses = token_cross_entropy(hidden, head, targets, torch.arange(N) % 3)
    finally:
        kept_head._PIECE_BYTES = before
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)
    weights = (torch.arange(N) % 3).double()
    torch.testing.assert_close(total, -(expected * weights).sum(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(
        losses, torch.where(weights > 0, -expected, 0).detach(), rtol=1e-11, atol=1e-11
    )
    (ours,), (theirs,) = (
        torch.autograd.grad(one, hidden, torch.arange(N).double()) for one in (got, expected)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


def test_it_equals_the_head_that_was_widened_whole() -> None:
    hidden, weight, _, targets = inputs(33, 64, 5000, False, torch.float32)
    found = []
    for head in (Head(weight), Head(weight.float())):
        assert kept_head.is_kept(hidden, head) is (head.weight_VC.dtype == torch.bfloat16)
        total, _ = token_cross_entropy(hidden, head, targets, torch.ones(33))
        found.append((total.detach(), *torch.autograd.grad(total, hidden)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_head_that_trains_and_one_under_autocast_are_left_alone() -> None:
    hidden, weight, _, _ = inputs(3, 4, 5, False, torch.float32)
    assert kept_head.is_kept(hidden, Head(weight))
    assert not kept_head.is_kept(hidden, Head(weight.clone().requires_grad_()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not kept_head.is_kept(hidden, Head(weight))


def test_smoothed_labels_are_right_with_a_kept_head_too() -> None:
    hidden, weight, _, targets = inputs(7, 4, 9, False, torch.float64)
    got, _ = token_cross_entropy(hidden, Head(weight), targets, torch.ones(7), 0.1)
    expected = torch.nn.functional.cross_entropy(
        hidden @ weight.double().T, targets, reduction="sum", label_smoothing=0.1
    )
    assert got.item() == pytest.approx(expected.item(), rel=1e-12)
