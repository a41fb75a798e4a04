"""`luthier export`: merged, certified, or refused."""

import json
import sys
from pathlib import Path

import pytest
import torch

from luthier.cli.main import main
from luthier.models.load import load_model, load_weights
from luthier.models.methods import apply_lora, save_trained
from luthier.training.recipe import LoraMethod
from tests.toy import byte_tokenizer
from tests.training.toys import model_folder


def adapter(folder: Path) -> Path:
    """A tiny base with a LoRA adapter that is not zero, on the disk."""
    base = model_folder(folder / "base")
    torch.manual_seed(0)
    method = LoraMethod(name="lora", rank=4, alpha=8, dropout=0.0, targets="all-linear")
    model = apply_lora(load_weights(str(base), torch.float32), method, str(base))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    save_trained(model, byte_tokenizer(), folder / "adapter")
    return folder / "adapter"


def test_a_merged_adapter_comes_with_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["luthier", "export", str(adapter(tmp_path)), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0 and "answers are the same" in capsys.readouterr().out
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert (certificate["word"], certificate["num_same"]) == ("same", certificate["num_probes"])
    assert certificate["num_tokens"] > 0 and certificate["max_logit_difference"] < 1e-3
    merged = load_model(str(tmp_path / "out"), dtype="float32")
    assert not hasattr(merged.model, "peft_config")
    settings = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == list(merged.renderer.stop_ids)


def test_a_model_that_answers_unlike_the_tested_one_does_not_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Random weights rounded to bfloat16 go other ways within a few dozen greedy tokens.
    command = ["luthier", "export", str(adapter(tmp_path)), "--out", str(tmp_path / "out"), "--dtype", "bfloat16"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1 and "probes unlike" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
