"""GGUF files as transformers' own loader reads them back: the same logits, where nothing here runs llama.cpp."""

from pathlib import Path

import numpy as np
import pytest

from luthier.export.gguf.write import write_gguf
from tests.export.folders import VOCAB_SIZE, logits_of, model_folder

IDS = [(7 * i + 13) % VOCAB_SIZE for i in range(40)]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "phi3", "gemma2", "gemma3_text"])
def test_transformers_reads_the_same_weights_back(
    tmp_path: Path, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr("luthier.export.gguf.write.keys_tokeniser", lambda: None)
    folder, model = model_folder(tmp_path / "hf", architecture)
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    # Its reader of hyperparameters leaves some out (Qwen3's head, Gemma's scale); weights and names are its own.
    how = {} if architecture in ("llama", "qwen2", "phi3") else {"config": model.config}
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", **how).eval()
    want, have = logits_of(model, IDS), logits_of(read, IDS)
    assert np.abs(want - have).max() <= 1e-3 * np.abs(want).max()
    assert (want.argmax(1) == have.argmax(1)).all()
