"""PiSSA: the base in memory is changed, what is saved fits the base on the disk."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from luthier.errors import ConfigError
from luthier.models.load import attach_adapter, load_model, load_weights
from luthier.models.methods import apply_pissa, save_trained
from tests.toy import byte_tokenizer, tiny_model
from tests.training.toys import method_config, model_folder

IDS = torch.arange(5, 25)[None]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def stir(model: Any) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)


@pytest.mark.parametrize("changes", [{}, {"iterations": 4}, {"alpha": 8}])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_start_is_the_base_in_two_parts(architecture: str, changes: Any) -> None:
    model = tiny_model(architecture)
    before, weights = logits(model), {n: p.clone() for n, p in model.named_parameters()}
    torch.manual_seed(0)
    adapted = apply_pissa(model, method_config("pissa", **changes), "toy")
    torch.testing.assert_close(logits(adapted), before, rtol=1e-4, atol=1e-5)
    changed = [n for n, p in adapted.named_parameters() if "base_layer.weight" in n]
    assert changed and all(
        not torch.equal(dict(adapted.named_parameters())[n], weights[_plain(n)]) for n in changed
    )


def _plain(name: str) -> str:
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


def test_the_adapter_holds_the_largest_singular_values() -> None:
    model = tiny_model()
    weight = model.model.layers[0].self_attn.q_proj.weight.detach().double().clone()
    adapted = apply_pissa(model, method_config("pissa"), "toy")
    layer = adapted.get_base_model().model.layers[0].self_attn.q_proj
    product = (layer.lora_B["default"].weight @ layer.lora_A["default"].weight).detach().double()
    left, values, right = torch.linalg.svd(weight)
    best = left[:, :4] @ torch.diag(values[:4]) @ right[:4]
    torch.testing.assert_close(product, best, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("iterations", [None, 2])
def test_what_is_saved_answers_the_same_on_the_original_base(iterations: int | None, tmp_path: Path) -> None:
    base = model_folder(tmp_path / "base")
    untouched = logits(load_model(str(base), dtype="float32").model)
    model = apply_pissa(
        load_weights(str(base), torch.float32), method_config("pissa", iterations=iterations), str(base)
    )
    stir(model)
    trained = logits(model)
    assert (trained - untouched).abs().max() > 1e-2
    save_trained(model, byte_tokenizer(), tmp_path / "out")
    again = attach_adapter(load_weights(str(base), torch.float32), tmp_path / "out")
    torch.testing.assert_close(logits(again), trained, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(again.merge_and_unload()), trained, rtol=1e-4, atol=1e-5)
    shapes = {
        t.shape for n, t in load_file(tmp_path / "out" / "adapter_model.safetensors").items() if "_A" in n
    }
    assert {shape[0] for shape in shapes} == {8}  # twice the rank
    save_trained(model, byte_tokenizer(), tmp_path / "twice")  # saving changes nothing that trains
    first, second = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("out", "twice"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_float64_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.dtype"):
        apply_pissa(tiny_model().double(), method_config("pissa"), "toy", torch.float64)
