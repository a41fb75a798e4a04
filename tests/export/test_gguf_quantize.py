"""K-quants through llama.cpp, and the importance matrix that steers them."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from luthier.errors import ConfigError, DataError, ExportError
from luthier.export.gguf.importance import importance_matrix
from luthier.export.gguf.quantize import K_QUANTS, quantize_gguf
from luthier.export.gguf.write import write_gguf
from tests.export.folders import VOCAB_SIZE, model_folder

ROWS = [[(7 * i + 13 * j) % VOCAB_SIZE for i in range(30)] for j in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 256, which K-quants need."""
    made, _ = model_folder(
        tmp_path_factory.mktemp("k") / "hf", hidden_size=256, intermediate_size=256, scale=0.05
    )
    return made


def weight(path: Path, name: str) -> tuple[str, Any]:
    stored = {t.name: t for t in gguf.GGUFReader(path).tensors}[name]
    return stored.tensor_type.name, gguf.dequantize(stored.data, stored.tensor_type)


def test_the_matrix_is_the_mean_square_of_the_inputs(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    found = importance_matrix(folder, ROWS)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = [model(torch.tensor([row]), output_hidden_states=True).hidden_states for row in ROWS]
        first = torch.cat([model.model.layers[0].input_layernorm(state[0][0]) for state in states])
        last = torch.cat([state[-1][0] for state in states])
    for name, inputs in (("blk.0.attn_q.weight", first), ("output.weight", last)):
        assert np.allclose(found[name], inputs.square().mean(0).numpy(), rtol=1e-4)
    assert found["blk.1.ffn_down.weight"].shape == (256,)
    assert len(found) == 2 * 7 + 1
    with pytest.raises(DataError, match="at least one token"):
        importance_matrix(folder, [[]])


def test_k_quants_round_and_the_matrix_moves_the_rounding_to_what_matters_less(
    folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: nothing makes K-quants")
    name = "blk.0.attn_q.weight"
    matrix = {name: np.where(np.arange(256) % 4 == 0, 100.0, 0.01).astype(np.float32)}
    write_gguf(folder, tmp_path / "f32.gguf", "f32")
    write_gguf(folder, tmp_path / "even.gguf", "q4_k_m")
    write_gguf(folder, tmp_path / "steered.gguf", "q4_k_m", importance=matrix)
    kind, even = weight(tmp_path / "even.gguf", name)
    _, want = weight(tmp_path / "f32.gguf", name)
    _, steered = weight(tmp_path / "steered.gguf", name)
    assert kind == "Q4_K"
    errors = [np.square(have - want)[:, ::4].mean() for have in (even, steered)]
    assert 0 < errors[1] < 0.9 * errors[0]
    assert (tmp_path / "even.gguf").stat().st_size < 0.3 * (tmp_path / "f32.gguf").stat().st_size


@pytest.mark.parametrize("kind", K_QUANTS)
def test_every_k_quant_answers_near_the_whole_model(folder: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: nothing makes K-quants")
    from luthier.models.gguf import GgufModel

    write_gguf(folder, tmp_path / "f32.gguf", "f32")
    quantize_gguf(tmp_path / "f32.gguf", tmp_path / "k.gguf", kind)
    logits = []
    for name in ("f32", "k"):
        with GgufModel(tmp_path / f"{name}.gguf", num_threads=1) as model:
            logits.append(model.logits(ROWS[0]))
    likeness = np.corrcoef(logits[0].ravel(), logits[1].ravel())[0, 1]
    bits = int("".join(filter(str.isdigit, kind.split("_")[0])))
    assert {2: 0.6, 3: 0.8, 4: 0.9, 5: 0.97, 6: 0.98}[bits] < likeness < 1


def test_what_would_do_nothing_or_cannot_be_done_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="changes nothing in q8_0"):
        write_gguf(folder, tmp_path / "m.gguf", "q8_0", importance={})
    with pytest.raises(ConfigError, match="q4_k_m"):
        write_gguf(folder, tmp_path / "m.gguf", "q4_k")
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: nothing makes K-quants")
    (tmp_path / "torn.gguf").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(ExportError, match="cannot quantise it to q4_k_m"):
        quantize_gguf(tmp_path / "torn.gguf", tmp_path / "m.gguf", "q4_k_m")
    assert [path.name for path in tmp_path.iterdir()] == ["torn.gguf"]
