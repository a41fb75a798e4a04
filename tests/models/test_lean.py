"""Lean layers give what the plain ones give: in float64 against finite differences, and against PEFT and the models."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from luthier.models.lean import make_lean
from luthier.models.lean.linear import gated_linear, linear
from luthier.models.lean.norm import rms_norm
from luthier.models.methods import apply_full, apply_lora
from tests.toy import ARCHITECTURES, tiny_model
from tests.training.toys import VOCAB, lora_method

GATED = ("llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3_text", "smollm3", "granite", "olmo2")


def numbers(*shape: int, seed: int = 0, grad: bool = True) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=random, dtype=torch.float64).requires_grad_(grad)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_gradients_of_a_linear_layer_are_those_of_finite_differences(
    frozen: bool, dropout: float
) -> None:
    x, a, b = numbers(2, 3, 5), numbers(2, 5), numbers(4, 2)
    weight, bias = numbers(4, 5, grad=not frozen), numbers(4, grad=not frozen)

    def dropped_alike(*inputs: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return linear(*inputs, 0.7, dropout)

    assert torch.autograd.gradcheck(dropped_alike, (x, weight, bias, a, b))
    assert torch.autograd.gradcheck(linear, (x, weight))
    assert torch.autograd.gradcheck(linear, (x.detach(), weight, None, a, b, 2.0))


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_gradients_of_a_gated_linear_layer_are_those_of_finite_differences(dropout: float) -> None:
    def dropped_alike(*inputs: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        gate, up, *weights = inputs
        return gated_linear(gate, up, nn.functional.silu, *weights, 0.7, dropout)

    inputs = (numbers(3, 5), numbers(3, 5, seed=1), numbers(4, 5), numbers(4), numbers(2, 5), numbers(4, 2))
    assert torch.autograd.gradcheck(dropped_alike, inputs)


def test_the_gradients_of_a_norm_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(rms_norm, (numbers(2, 3, 6), numbers(6), 1e-5))
    assert torch.autograd.gradcheck(rms_norm, (numbers(3, 6), numbers(6, grad=False), 1e-5))


def step(model: Any) -> dict[str, torch.Tensor]:
    """Logits and all gradients of one backward pass, the dropout drawn from seed 0."""
    ids = torch.arange(22).reshape(2, 11) % VOCAB
    torch.manual_seed(0)
    logits = model(input_ids=ids, use_cache=False).logits
    logits.logsumexp(-1).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"logits": logits.detach(), **found}


@pytest.mark.parametrize("method", ["full", "lora", "dora", "rslora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_lean_model_is_the_plain_one(architecture: str, method: str) -> None:
    torch.manual_seed(0)
    base = tiny_model(architecture, vocab_size=VOCAB).double()
    plain = (
        apply_full(base, torch.float64)
        if method == "full"
        else apply_lora(base, lora_method(method), "toy", torch.float64)
    )
    for name, parameter in plain.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    plain.train()
    lean = copy.deepcopy(plain)
    replaced = make_lean(lean)
    if architecture in GATED or (method in ("lora", "rslora") and architecture != "gpt2"):
        assert replaced > 0
    expected, got = step(plain), step(lean)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            got[name], value, rtol=1e-6, atol=1e-6 * float(value.abs().max()), msg=name
        )


def test_under_autocast_products_are_low_and_gradients_whole() -> None:
    base = tiny_model("llama", vocab_size=VOCAB).to(torch.bfloat16)
    plain = apply_lora(base, lora_method(dropout=0.0), "toy")
    for name, parameter in plain.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    lean = copy.deepcopy(plain)
    make_lean(lean)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, got = step(plain), step(lean)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].dtype == value.dtype
        difference = float((got[name].float() - value.float()).norm() / value.float().norm())
        assert difference < 0.05, name


def test_names_saving_and_merging_are_untouched() -> None:
    model = apply_lora(tiny_model("llama", vocab_size=VOCAB), lora_method(), "toy")
    names = set(model.state_dict())
    make_lean(model)
    assert set(model.state_dict()) == names
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    ids = torch.arange(9)[None]
    model.eval()
    with torch.no_grad():
        adapted = model(input_ids=ids).logits
        with model.disable_adapter():
            bare = model(input_ids=ids).logits
        merged = model.merge_and_unload()(input_ids=ids).logits
    torch.testing.assert_close(merged, adapted, rtol=0, atol=1e-5)
    assert float((bare - adapted).abs().max()) > 1e-3


def test_what_is_kept_for_the_backward_pass_is_less() -> None:
    def kept(model: Any) -> int:
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            logits = model(input_ids=torch.arange(64)[None], use_cache=False).logits
        del logits
        return sum(size for place, size in sizes.items() if place not in weights)

    plain = apply_lora(tiny_model("llama", vocab_size=VOCAB), lora_method(dropout=0.0), "toy")
    plain.train()
    lean = copy.deepcopy(plain)
    make_lean(lean)
    assert kept(lean) < 0.8 * kept(plain)
