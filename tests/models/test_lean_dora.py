"""The lean DoRA layer against PEFT's own."""

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from luthier.models.lean import make_lean
from luthier.models.lean.dora import dora_linear, row_norms
from tests.toy import tiny_model


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])  # without biases, with some, transposed
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_outputs_and_gradients_are_pefts(architecture: str, dropout: float) -> None:
    torch.manual_seed(0)
    config = LoraConfig(
        r=4,
        use_dora=True,
        target_modules="all-linear",
        lora_dropout=dropout,
        fan_in_fan_out=architecture == "gpt2",
    )
    theirs = get_peft_model(tiny_model(architecture, vocab_size=96).double(), config)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    ours = copy.deepcopy(theirs)
    make_lean(ours)
    theirs.train(), ours.train()
    losses, grads = zip(*(step(model) for model in (ours, theirs)), strict=True)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=1e-12)
    assert grads[0].keys() == grads[1].keys() and any("magnitude" in name for name in grads[0])
    for name in grads[0]:
        torch.testing.assert_close(grads[0][name], grads[1][name], rtol=1e-9, atol=1e-11)


def step(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(1)  # of dropout
    loss = model(input_ids=torch.arange(20)[None], labels=torch.arange(20)[None]).loss
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients_are_those_of_finite_differences(dropout: float) -> None:
    g = torch.Generator().manual_seed(0)
    x, weight, bias, a, b, ratio = (
        torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_(shape != (4, 5))
        for shape in [(2, 3, 5), (4, 5), (4,), (2, 5), (4, 2), (4,)]
    )

    def dropped_alike(x: Any, bias: Any, a: Any, b: Any, ratio: Any) -> torch.Tensor:
        torch.manual_seed(1)
        return dora_linear(x, ratio, weight, bias, a, b, 0.7, dropout)

    assert torch.autograd.gradcheck(dropped_alike, (x, bias, a, b, ratio))
    assert torch.autograd.gradcheck(dropped_alike, (x.detach(), None, a, b, ratio))


def test_norms_of_a_narrow_weight_are_those_of_its_wide_copy() -> None:
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(9, 6, generator=g).to(torch.bfloat16)
    a, b = torch.randn(2, 6, generator=g), torch.randn(9, 2, generator=g)
    expected = (weight.double() + 0.5 * b.double() @ a.double()).norm(dim=1)
    torch.testing.assert_close(row_norms(weight, a, b, 0.5), expected.float())
