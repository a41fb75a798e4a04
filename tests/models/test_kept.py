"""Weights kept as they are stored: the same numbers as with a wide copy, forwards and backwards."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from luthier.models import kept
from luthier.models.forward import causal_parts
from luthier.models.kept import KeptEmbedding, KeptLinear, compute_dtypes, keep_as_stored, wide_linear
from tests.toy import tiny_model


def narrow(architecture: str) -> Any:
    """A tiny model whose weights bfloat16 holds as they are."""
    return tiny_model(architecture, vocab_size=96).to(torch.bfloat16).float().eval()


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "gemma3_text", "gpt2", "phi3"])
@pytest.mark.parametrize("compute_dtype", [torch.float32, torch.float64])
def test_a_kept_model_answers_bit_for_bit_as_its_wide_copy(
    architecture: str, compute_dtype: torch.dtype
) -> None:
    wide = narrow(architecture)
    held = copy.deepcopy(wide).to(torch.bfloat16)
    wide = wide.to(compute_dtype)
    keep_as_stored(held, torch.bfloat16, compute_dtype)
    ids = torch.arange(24).view(2, 12)
    with torch.no_grad():
        assert torch.equal(held(input_ids=ids).logits, wide(input_ids=ids).logits)
    assert compute_dtypes(held) == {compute_dtype}
    causal_parts(held)  # its proof is held to the tolerance of the dtype computed in
    bytes_held, bytes_wide = (sum(p.numel() * p.element_size() for p in m.parameters()) for m in (held, wide))
    assert bytes_held < 0.75 * bytes_wide


def test_a_weight_that_another_kind_of_module_reads_is_not_kept() -> None:
    model = narrow("gemma3_text")
    keep_as_stored(model, torch.bfloat16, torch.float32)
    assert model.lm_head.weight.dtype == torch.float32  # tied to embeddings that are scaled
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert isinstance(model.model.layers[0].mlp.up_proj, KeptLinear)


def test_tied_weights_stay_tied() -> None:
    model = narrow("qwen3")
    model.config.tie_word_embeddings = True
    model.tie_weights()
    keep_as_stored(model, torch.bfloat16, torch.float32)
    assert isinstance(model.lm_head, KeptLinear) and isinstance(model.model.embed_tokens, KeptEmbedding)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.lm_head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_the_product_and_its_gradients(pieces: bool, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if pieces:
        monkeypatch.setattr(kept.widened, "__defaults__", (3 * 7 * 8,))  # three rows at a time
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(10, 7, generator=g).to(torch.bfloat16)
    x = torch.randn(2, 5, 7, generator=g, dtype=torch.float64).requires_grad_()
    b = torch.randn(10, generator=g, dtype=torch.float64).requires_grad_() if bias else None
    leaves = [x] if b is None else [x, b]
    ours = wide_linear(x, weight, b)
    theirs = nn.functional.linear(x, weight.double(), b)
    dy = torch.randn(ours.shape, generator=g, dtype=torch.float64)
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)
    for got, expected in zip(
        torch.autograd.grad(ours, leaves, dy), torch.autograd.grad(theirs, leaves, dy), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-13)


def test_a_kept_layer_that_is_made_to_train_trains() -> None:
    model = narrow("llama")
    keep_as_stored(model, torch.bfloat16, torch.float32)
    layer = model.model.layers[1].mlp.up_proj
    layer.weight.data = layer.weight.data.float()
    layer.weight.requires_grad_(True)
    model(input_ids=torch.arange(9)[None]).logits.logsumexp(-1).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs().max() > 0


def test_nothing_wide_is_held_between_forward_and_backward() -> None:
    """What autograd saves of a kept layer is the narrow weight itself."""
    layer = KeptLinear(
        nn.Linear(64, 64, bias=False, dtype=torch.bfloat16).requires_grad_(False), torch.float32
    )
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        layer(torch.randn(3, 64).requires_grad_())
    assert [t.data_ptr() for t in saved] == [layer.weight.data_ptr()]
