"""The split into backbone and head, on every architecture; and that right padding leaks nothing."""

from typing import Any

import pytest
import torch

from luthier.errors import ModelError
from luthier.models.forward import causal_parts
from luthier.models.methods import apply_lora
from tests.toy import ARCHITECTURES, tiny_model
from tests.training.toys import lora_method


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_head_of_backbone_is_the_models_own_answer(architecture: str, dtype: torch.dtype) -> None:
    model = tiny_model(architecture, vocab_size=40).to(dtype)
    parts = causal_parts(model)
    ids = torch.randint(0, 40, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits
        got = parts.head().logits(parts.hidden_states(ids))
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(got, expected.to(got.dtype), rtol=4 * eps, atol=4 * eps)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_right_padding_leaks_nothing(architecture: str) -> None:
    model = tiny_model(architecture, vocab_size=40).double()
    parts = causal_parts(model)
    row = torch.randint(1, 40, (1, 19), generator=torch.Generator().manual_seed(1))
    padded = torch.cat([row, torch.zeros(1, 13, dtype=torch.long)], dim=1)
    other = torch.cat([row, torch.full((1, 13), 7)], dim=1)
    with torch.no_grad():
        alone, with_pads, with_others = (parts.hidden_states(ids)[:, :19] for ids in (row, padded, other))
    torch.testing.assert_close(alone, with_pads, rtol=0, atol=1e-12)
    assert torch.equal(with_pads, with_others)


def test_the_scale_and_the_bound_are_used() -> None:
    assert causal_parts(tiny_model("gemma2")).softcap == 30.0
    granite = tiny_model("granite")
    granite.config.logits_scaling = 4.0
    assert causal_parts(granite).scale == 0.25


def test_the_adapter_is_inside_the_backbone() -> None:
    model = apply_lora(tiny_model(), lora_method(), "toy")
    ids = torch.arange(10)[None]
    parts = causal_parts(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
        got = parts.head().logits(parts.hidden_states(ids))
        torch.testing.assert_close(got, model.eval()(input_ids=ids).logits)


@pytest.mark.parametrize(
    "change",
    [lambda logits: logits * 1.01, lambda logits: logits.tanh() * 0.05, lambda logits: logits + 0.01],
)
def test_a_model_that_changes_its_logits_unknown_to_us_is_refused(change: Any) -> None:
    from transformers import LlamaForCausalLM

    class Changed(LlamaForCausalLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            output.logits = change(output.logits)
            return output

    model = Changed(tiny_model().config)
    with pytest.raises(ModelError, match="changes its logits"):
        causal_parts(model)


def test_a_headless_model_is_refused() -> None:
    with pytest.raises(ModelError, match="expected a causal language model"):
        causal_parts(tiny_model().model)


def test_the_split_leaves_the_mode_as_it_was() -> None:
    model = tiny_model().train()
    causal_parts(model)
    assert model.training
