"""`luthier export`: merged, certified, or refused."""

import json
import sys
from pathlib import Path

import pytest
import torch

from luthier.chat.messages import Message
from luthier.cli.main import main
from luthier.errors import NotTheSame
from luthier.export import certificate
from luthier.export.certificate import certify
from luthier.export.merge import merge
from luthier.models.load import load_model, load_weights
from luthier.models.methods import apply_lora, save_trained
from luthier.training.method_config import LoraMethod
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
    monkeypatch.setattr(
        sys, "argv", ["luthier", "export", str(adapter(tmp_path)), "--out", str(tmp_path / "out")]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0 and "answers the same, token for token" in " ".join(
        capsys.readouterr().out.split()
    )
    kept = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert (kept["word"], kept["num_same"]) == ("same", kept["num_probes"])
    assert kept["num_tokens"] > 0 and kept["max_logit_difference"] < 1e-3
    merged = load_model(str(tmp_path / "out"), dtype="float32")
    assert not hasattr(merged.model, "peft_config")
    settings = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == list(merged.renderer.stop_ids)


def test_a_model_that_answers_unlike_the_tested_one_does_not_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # With no allowance for rounding, the bfloat16 copy of a float32 model is another model.
    monkeypatch.setattr(certificate, "MAX_RELATIVE_DIFFERENCE", 0.0)
    command = [
        "luthier",
        "export",
        str(adapter(tmp_path)),
        "--out",
        str(tmp_path / "out"),
        "--dtype",
        "bfloat16",
    ]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1 and "does not answer like" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_rounding_is_a_tie_and_another_adapter_is_not(tmp_path: Path) -> None:
    probes = [(Message("user", f"What is {n} plus one?"),) for n in range(6)]
    trained = load_model(str(adapter(tmp_path)), dtype="float32")
    merge(str(tmp_path / "adapter"), tmp_path / "rounded", dtype="bfloat16")
    rounded = certify(trained, load_model(str(tmp_path / "rounded"), dtype="float32"), probes)
    assert rounded.word in ("same", "same but for ties") and 0 < rounded.relative_difference < 0.05
    base = certify(trained, load_model(str(tmp_path / "base"), dtype="float32"), probes)
    assert base.word == "different" and base.relative_difference > 0.1
    with pytest.raises(NotTheSame, match="does not answer like"):
        base.require_same()
