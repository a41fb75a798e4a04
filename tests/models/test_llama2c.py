"""The 260K-parameter checkpoint of llama2.c: its documented greedy text word for word, also through GGUF."""

import re
import struct
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import ModelError
from luthier.models.foreign.llama2c import import_llama2c
from tests.data.shared import SHARED, needs_shared

STORIES = SHARED / "models" / "stories260K"
CHECKPOINT, TOKENIZER = STORIES / "stories260K.bin", STORIES / "tok512.bin"
pytestmark = needs_shared


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stories") / "hf"
    import_llama2c(CHECKPOINT, TOKENIZER, out)
    return out


def documented() -> str:
    """The greedy text as its authors printed it."""
    text = (STORIES / "stories260K.md").read_text(encoding="utf-8")
    found = re.search(r"-t 0\.0\n(Once upon a time.*?)\n```", text, re.S)
    assert found is not None
    return found[1]


def greedy(folder: Path, **how: Any) -> str:
    """256 tokens after the beginning of text: what llama2.c's program writes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, **how).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, **how)
    with torch.inference_mode():
        ids = model.generate(torch.tensor([[1]]), max_new_tokens=256, do_sample=False, eos_token_id=None)
    return str(tokenizer.decode(ids[0, 1:])).strip()


def test_the_documented_text_comes_out_word_for_word(folder: Path) -> None:
    assert greedy(folder) == documented()


def test_it_comes_out_of_the_gguf_file_as_transformers_reads_it(folder: Path, tmp_path: Path) -> None:
    from luthier.export.gguf.write import write_gguf

    write_gguf(folder, tmp_path / "m.gguf", "f32")
    assert greedy(tmp_path, gguf_file="m.gguf") == documented()


def test_it_comes_out_of_the_gguf_file_through_llama_cpp(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: nothing runs a GGUF file")
    from luthier.export.gguf.write import write_gguf
    from luthier.models.gguf import GgufModel

    write_gguf(folder, tmp_path / "m.gguf", "f32")
    with GgufModel(tmp_path / "m.gguf", num_threads=1) as model:
        assert model.decode(model.generate([1], 256)).strip() == documented()


def test_the_tokenizer_splits_as_scores_say(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("Once upon a time, Lily")["input_ids"]
    assert ids[0] == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Once upon a time, Lily"
    assert tokenizer("é🙂")["input_ids"][-4:] == [3 + byte for byte in "🙂".encode()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:20], "the header of llama2.c alone has 28"),
        (lambda data: data[:-4], "promises 1056540 bytes, the file has 1056536"),
        (lambda data: struct.pack("<i", -5) + data[4:], "not a legacy checkpoint"),
        (lambda data: struct.pack("<i", 1 << 23) + data[4:], "promises"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(change(CHECKPOINT.read_bytes()))
    with pytest.raises(ModelError, match=message):
        import_llama2c(path, TOKENIZER, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tok.bin"
    for data, message in (
        (TOKENIZER.read_bytes()[:-1], "is said to have|cut short"),
        (TOKENIZER.read_bytes()[:8] + struct.pack("<i", -3), "is said to have -3 bytes"),
        (TOKENIZER.read_bytes() + struct.pack("<fi", 0.0, 1) + b"x", "513 pieces for a model of 512"),
    ):
        path.write_bytes(data)
        with pytest.raises(ModelError, match=message):
            import_llama2c(CHECKPOINT, path, tmp_path / "out")
