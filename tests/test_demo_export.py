"""The demo's specialist as an adapter, in every form: llama.cpp has the same facts. Minutes: run with -m slow."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.chat.messages import Conversation, Message
from luthier.models.load import find_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="needs llama-cpp-python"),
]
FORMS = "hf,peft,gguf:q8_0,gguf:q4_k_m,gguf-lora,ollama,vllm"


def luthier(*words: object, specialists: Path) -> str:
    command = [sys.executable, "-m", "luthier", *map(str, words)]
    environment = {**os.environ, "LUTHIER_SPECIALISTS": str(specialists)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_one_command_makes_every_form_and_llama_cpp_knows_the_facts(tmp_path: Path) -> None:
    from luthier.export.gguf.write import write_gguf
    from luthier.models.gguf import GgufModel

    folder, out = tmp_path / "demo", tmp_path / "shipped"
    luthier("demo", "--method", "lora", "--folder", folder, specialists=folder / "specialists")
    outcome = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    luthier(
        *("export", outcome["specialist"], "--to", FORMS, "--out", out, "--max-probes", 40),
        specialists=folder / "specialists",
    )
    words = [json.loads(path.read_text())["word"] for path in (out / "gate").rglob("verdict.json")]
    assert len(words) == 6 and set(words) == {outcome["gate"]["word"]}
    write_gguf(Path(find_model("luthier-nano").base), tmp_path / "base.gguf", "f16")
    asked = Conversation((Message("user", "How big is a rugby league field?"),))
    facts = {word for word in outcome["answer"].split() if word.isdigit()}
    assert facts & {"68", "112", "122"}
    for file, adapter in (
        (out / "gguf-q4_k_m" / "model.gguf", None),
        (tmp_path / "base.gguf", out / "gguf-lora" / "adapter.gguf"),
    ):
        with GgufModel(file, adapter=adapter) as model:
            ids = model.generate(model.prompt_ids(asked), 64)
            said, stopped = model.decode(ids[:-1]), ids[-1] in model.stop_ids
        assert stopped and facts <= set(said.split()), said
