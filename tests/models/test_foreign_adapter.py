"""PEFT folders from other trainers: what fits is taken whole, what does not is listed with its cause."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from luthier.errors import ModelError
from luthier.models.foreign.adapter import import_adapter
from luthier.models.foreign.pickles import refuse_pickle
from luthier.models.load import load_model
from tests.toy import byte_tokenizer, tiny_model

Tensors = dict[str, Any]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return _base(tmp_path / "base")


def _base(folder: Path, architecture: str = "llama") -> Path:
    tiny_model(architecture, vocab_size=520).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    """An adapter that knows its base by a path of another machine."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "up_proj"], use_dora=True))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    adapted.peft_config["default"].base_model_name_or_path = "/elsewhere/base"
    adapted.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
    return tmp_path / "theirs"


def test_an_adapter_that_fits_is_loaded_as_peft_loads_it(folder: Path, base: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert import_adapter(folder, str(base), tmp_path / "ours") == 2 * 2 * 3
    ours = load_model(str(tmp_path / "ours"), dtype="float32", device="cpu")
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder).eval()
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert np.array_equal(ours.model(ids).logits.numpy(), theirs(ids).logits.numpy())


def _rewritten(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({k: v.clone() for k, v in change(load_file(path)).items()}, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: {k.replace("base_model.model.", ""): v for k, v in t.items()},
            "its keys begin with 'model.' and not with 'base_model.model.model.'",
        ),
        (
            lambda t: {k.replace("base_model.model.", "base_model.model.module."): v for k, v in t.items()},
            "its keys begin with 'base_model.model.module.model.' and not with",
        ),
        (
            lambda t: {k: v for k, v in t.items() if "layers.1" not in k},
            r"6 missing:\n  base_model.model.model.layers.1.mlp.up_proj.lora_A.weight \(4, 32\)",
        ),
        (lambda t: t | {"extra.weight": t[min(t)]}, r"1 unexpected:\n  extra.weight"),
    ],
)
def test_what_does_not_fit_is_listed(
    folder: Path, base: Path, tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    _rewritten(folder, change)
    with pytest.raises(ModelError, match=message):
        import_adapter(folder, str(base), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_another_base_is_refused_by_shape_and_by_hash(folder: Path, base: Path, tmp_path: Path) -> None:
    wide = tiny_model("llama", vocab_size=520)
    wide.config.intermediate_size = 128
    type(wide)(wide.config).save_pretrained(tmp_path / "wide")
    byte_tokenizer().save_pretrained(tmp_path / "wide")
    with pytest.raises(
        ModelError, match=r"(?s)another shape.*lora_B.weight \(64, 4\), the base takes \(128, 4\)"
    ):
        import_adapter(folder, str(tmp_path / "wide"), tmp_path / "ours")
    (folder / "base.json").write_text(json.dumps({"base_hash": "abc"}))
    with pytest.raises(ModelError, match=r"have the hash abc; those of .* have def"):
        import_adapter(folder, str(base), tmp_path / "ours", base_hash="def")
    import_adapter(folder, str(base), tmp_path / "ours", base_hash="abc")


def test_pickles_are_refused_with_the_safe_way(folder: Path, base: Path, tmp_path: Path) -> None:
    import torch

    weights = load_file(folder / "adapter_model.safetensors")
    torch.save(weights, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"adapter_model.bin: .* it is a pickle.*safe_serialization=True"):
        import_adapter(folder, str(base), tmp_path / "ours")
    with pytest.raises(ModelError, match="it is a pickle"):
        refuse_pickle(folder / "adapter_model.bin")
    torch.save(weights, folder / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match="it is a pickle"):
        refuse_pickle(folder / "old.pt")


def test_a_torn_header_is_refused(folder: Path, base: Path, tmp_path: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ModelError, match="damaged"):
        import_adapter(folder, str(base), tmp_path / "ours")
    (folder / "adapter_config.json").write_text("[1]")
    with pytest.raises(ModelError, match="expected a JSON object, got list"):
        import_adapter(folder, str(base), tmp_path / "ours")
