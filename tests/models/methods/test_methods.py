"""What trains, what is frozen, and that what is saved comes back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from luthier.errors import ConfigError
from luthier.models.forward import causal_parts
from luthier.models.load import load_model, stored_dtype
from luthier.models.methods import apply_full, apply_lora, apply_top_layers, count_parameters, save_trained
from tests.toy import ARCHITECTURES, byte_tokenizer, tiny_model
from tests.training.toys import lora_method, model_folder

IDS = torch.arange(5, 25)[None]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_top_layers_freezes_exactly_what_lies_below(architecture: str) -> None:
    model = apply_top_layers(tiny_model(architecture), 1)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    for name, parameter in model.named_parameters():
        below = any(part in name for part in (".0.", "embed", "wte", "wpe"))
        head = name.startswith("lm_head")
        assert parameter.requires_grad == (not below and not (head and tied)), name
    trainable, total = count_parameters(model)
    assert 0 < trainable < total


def test_more_layers_than_there_are() -> None:
    with pytest.raises(ConfigError, match="the model has 2 layers, got 3"):
        apply_top_layers(tiny_model(), 3)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("tied", [True, False])
def test_bfloat16_below_float32_can_be_split(num_layers: int, tied: bool) -> None:
    model = tiny_model()
    if tied:
        model.lm_head.weight = model.model.embed_tokens.weight
    parts = causal_parts(apply_top_layers(model.bfloat16(), num_layers))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert parts.hidden_states(IDS).isfinite().all()


@pytest.mark.parametrize("targets", ["nothing", ["nothing"], ["q_proj", "nothing"]])
def test_a_target_that_is_not_there(targets: Any) -> None:
    with pytest.raises(ConfigError, match="nothing"):
        apply_lora(tiny_model(), lora_method(targets=targets), "toy")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("method", ["full", "top_layers", "lora", "dora", "rslora"])
def test_what_is_saved_comes_back(method: str, tied: bool, tmp_path: Path) -> None:
    base = model_folder(tmp_path / "base", tie_word_embeddings=tied)
    model = load_model(str(base), dtype="float32", device="cpu").model
    before = logits(model)
    torch.manual_seed(0)
    if method == "full":
        model = apply_full(model)
    elif method == "top_layers":
        model = apply_top_layers(model, 1)
    else:
        model = apply_lora(model, lora_method(method), str(base))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    trained = logits(model)
    assert (trained - before).abs().max() > 1e-3
    save_trained(model, byte_tokenizer(), tmp_path / "out")
    again = load_model(str(tmp_path / "out"), dtype="float32", device="cpu")
    assert torch.equal(logits(again.model), trained)
    files = list((tmp_path / "out").glob("*.safetensors"))
    with safe_open(files[0], framework="pt") as file:
        names = list(file.keys())
    if method in ("full", "top_layers"):
        assert ("lm_head.weight" in names) == (not tied)


def test_a_tied_model_is_written_once_in_another_dtype(tmp_path: Path) -> None:
    model = load_model(str(model_folder(tmp_path / "base", tie_word_embeddings=True)), dtype="float32").model
    save_trained(apply_full(model), byte_tokenizer(), tmp_path / "out", torch.bfloat16)
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
        assert file.get_tensor("model.embed_tokens.weight").dtype == torch.bfloat16
    assert stored_dtype(str(tmp_path / "out")) == torch.bfloat16
    assert load_model(str(tmp_path / "out"), dtype="float32").model.lm_head.weight.isfinite().all()
