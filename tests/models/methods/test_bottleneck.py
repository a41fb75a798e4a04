"""Bottleneck adapters: where they stand, that they start as nothing, and a reference written out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.errors import ModelError
from luthier.models.load import attach_adapter, load_weights
from luthier.models.methods import apply_adapter, count_parameters, save_trained
from luthier.models.methods.bottleneck import Bottleneck
from tests.toy import ARCHITECTURES, byte_tokenizer, tiny_model
from tests.training.toys import method_config, model_folder

IDS = torch.arange(5, 25)[None]


def stirred(model: Any) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_it_starts_as_the_base(architecture: str, placement: str) -> None:
    base = tiny_model(architecture)
    before = base(input_ids=IDS).logits
    model = apply_adapter(base, method_config("adapter", placement=placement), "toy")
    assert torch.equal(model(input_ids=IDS).logits, before)
    per_adapter = 32 * 8 + 8 + 8 * 32 + 32
    assert count_parameters(model)[0] == per_adapter * 2 * (2 if placement == "houlsby" else 1)
    assert (stirred(model)(input_ids=IDS).logits - before).abs().max() > 1e-3


@torch.no_grad()
def test_the_network_is_what_the_paper_says() -> None:
    adapter = stirred(Bottleneck(6, 3, "relu").double())
    x = torch.randn(4, 6, dtype=torch.float64)
    down = torch.clamp(x @ adapter.down.weight.T + adapter.down.bias, min=0)
    torch.testing.assert_close(adapter(x), x + down @ adapter.up.weight.T + adapter.up.bias)


@torch.no_grad()
def test_it_stands_before_the_residual_stream() -> None:
    """A layer of Llama written out: h += A1(attention(norm(h))); h += A2(mlp(norm(h)))."""
    model = stirred(apply_adapter(tiny_model(), method_config("adapter"), "toy"))
    layer = model.model.layers[0]
    hidden = model.model.embed_tokens(IDS)
    rope = model.model.rotary_emb(hidden, torch.arange(20)[None])
    attention_adapter, mlp_adapter = layer.self_attn.bottleneck, layer.mlp.bottleneck
    expected = layer(hidden, position_embeddings=rope)
    for sublayer in (layer.self_attn, layer.mlp):
        sublayer._forward_hooks.clear()
    attended = layer.self_attn(layer.input_layernorm(hidden), position_embeddings=rope, attention_mask=None)[
        0
    ]
    middle = hidden + attention_adapter(attended)
    mine = middle + mlp_adapter(layer.mlp(layer.post_attention_layernorm(middle)))
    torch.testing.assert_close(expected if torch.is_tensor(expected) else expected[0], mine)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 9}, "expected shape"),
        ({"placement": "pfeiffer"}, "on one side only"),
        ({"activation": "tanh"}, "unknown activation"),
        ({"size": None}, "expected size as int"),
    ],
)
def test_a_folder_that_does_not_fit(change: Any, said: str, tmp_path: Path) -> None:
    base = model_folder(tmp_path / "base")
    model = apply_adapter(load_weights(str(base), torch.float32), method_config("adapter"), str(base))
    save_trained(model, byte_tokenizer(), tmp_path / "out")
    path = tmp_path / "out" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=said):
        attach_adapter(load_weights(str(base), torch.float32), tmp_path / "out")


def test_weights_that_are_missing(tmp_path: Path) -> None:
    base = model_folder(tmp_path / "base")
    model = apply_adapter(load_weights(str(base), torch.float32), method_config("adapter"), str(base))
    save_trained(model, byte_tokenizer(), tmp_path / "out")
    file = tmp_path / "out" / "adapter_model.safetensors"
    weights = load_file(file)
    weights.pop(next(iter(weights)))
    save_file(weights, file)
    with pytest.raises(ModelError, match="on one side only"):
        attach_adapter(load_weights(str(base), torch.float32), tmp_path / "out")
