"""What is a model folder, what is not, and what each mistake is told."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.errors import ModelError
from luthier.models.load import find_model, load_model
from luthier.models.methods import apply_lora, save_trained
from tests.toy import byte_tokenizer, tiny_model
from tests.training.toys import lora_method, model_folder


def adapter_folder(tmp_path: Path) -> Path:
    base = model_folder(tmp_path / "base")
    model = apply_lora(load_model(str(base), dtype="float32").model, lora_method(), str(base))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    save_trained(model, byte_tokenizer(), tmp_path / "adapter")
    return tmp_path / "adapter"


def test_places_that_hold_no_model(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("x")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_text("x")
    for place, said in [
        ("file", "got a file"),
        ("folder", r"not a model folder.*notes\.txt"),
        ("missing", "there is no such folder"),
        ("pickled", "never reads pickled weights"),
    ]:
        with pytest.raises(ModelError, match=said):
            find_model(str(tmp_path / place))


def test_a_model_that_brings_code_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "c.C", "AutoModelForCausalLM": "m.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "c.py").write_text("raise SystemExit('this ran')")
    with pytest.raises(ModelError, match="needs code of its own"):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_broken_file_of_a_model(name: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="cannot load"):
        load_model(str(folder))


def test_a_missing_weight_is_never_a_random_one(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights of this architecture.*layers\.1\.mlp\.up_proj"):
        load_model(str(folder))


def test_an_adapter_moves_the_logits(tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path)
    source = find_model(str(adapter))
    assert (source.base, source.adapter) == (str(tmp_path / "base"), adapter)
    ids = torch.arange(5, 20)[None]
    with torch.no_grad():
        moved = load_model(str(adapter), dtype="float32").model(input_ids=ids).logits
        base = load_model(str(tmp_path / "base"), dtype="float32").model(input_ids=ids).logits
    assert (moved - base).abs().max() > 1e-4


@pytest.mark.parametrize("how", ["renamed", "fewer", "more"])
def test_an_adapter_that_does_not_fit_is_refused(how: str, tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path)
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    first = sorted(weights)[0]
    if how != "more":
        value = weights.pop(first)
    if how != "fewer":
        weights[first.replace("layers.0", "layers.7")] = torch.clone(weights.get(first, torch.zeros(1)))
    if how == "renamed":
        weights[first.replace("layers.0", "layers.7")] = value
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match="does not fit this model"):
        load_model(str(adapter))


def test_other_adapters_that_are_refused(tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path)
    config = json.loads((adapter / "adapter_config.json").read_text())
    for change, said in [
        ({"base_model_name_or_path": None}, "names no base model"),
        ({"base_model_name_or_path": str(adapter)}, "is an adapter itself"),
        ({"base_model_name_or_path": str(tmp_path / "gone")}, "there is no such folder"),
    ]:
        (adapter / "adapter_config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=said):
            find_model(str(adapter))
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match="never reads pickled weights"):
        find_model(str(adapter))


def test_the_tiny_model_is_what_was_saved(tmp_path: Path) -> None:
    loaded = load_model(str(model_folder(tmp_path / "m")), dtype="float32", device="cpu")
    assert loaded.context_length == 1024 and not loaded.model.training
    ids = torch.arange(9)[None]
    own = tiny_model("llama", vocab_size=len(byte_tokenizer()))
    with torch.no_grad():
        assert torch.equal(loaded.model(input_ids=ids).logits, own(input_ids=ids).logits)
