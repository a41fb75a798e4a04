"""The engine that asks an upstream, with llama-cpp-python's own server as the upstream: the file's own answers.

That server keeps keys and values in float16, so long answers of a random model could differ.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.chat.messages import Message
from luthier.export.gguf.write import write_gguf
from luthier.models.endpoint import Endpoint
from luthier.models.generate import Sampling
from luthier.models.gguf import GgufModel
from luthier.models.load import load_tokenizer
from luthier.serving.engines.engine import Ask, Unavailable
from luthier.serving.engines.openai import open_openai_engine
from luthier.serving.engines.openai.engine import OpenAIEngine
from tests.export.toys import base_folder

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: nothing runs a GGUF file")
pytest.importorskip("starlette_context", reason="the server of llama-cpp-python is not installed")
pytestmark = pytest.mark.slow


def plain_words(base: Path) -> Path:
    """Let the model say ASCII alone: bytes that are no text are dropped by that server."""
    from safetensors.torch import load_file, save_file

    tokenizer = load_tokenizer(str(base))
    tensors = load_file(base / "model.safetensors")
    for token in range(len(tokenizer)):
        text = tokenizer.decode([token])
        if not (text.isascii() and text.isprintable()) or token in tokenizer.all_special_ids:
            tensors["lm_head.weight"][token] = 0
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    return base


@pytest.fixture(scope="module", params=["chatml", "llama3"])
def served(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Any]]:
    """(its URL, the file, the tokenizer)."""
    folder = tmp_path_factory.mktemp("served")
    plain_words(base_folder(folder / "base", family=request.param))
    write_gguf(folder / "base", folder / "base.gguf", "f32")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "llama_cpp.server",
        "--model",
        str(folder / "base.gguf"),
        "--port",
        str(port),
    ]
    process = subprocess.Popen([*command, "--n_ctx", "256", "--n_threads", "1", "--model_alias", "base"])
    try:
        yield f"http://127.0.0.1:{port}/v1", folder / "base.gguf", load_tokenizer(str(folder / "base"))
    finally:
        process.terminate()
        process.wait()


async def opened(url: str, tokenizer: Any) -> OpenAIEngine:
    """As soon as the server is there."""
    while True:
        try:
            endpoint = Endpoint(url, "base", timeout_seconds=30, max_retries=0)
            engine = await open_openai_engine(endpoint, tokenizer, context_length=256)
        except Unavailable:
            await asyncio.sleep(0.1)
        else:
            assert isinstance(engine, OpenAIEngine)
            return engine


def test_the_answers_are_those_of_the_file(served: tuple[str, Path, Any]) -> None:
    url, path, tokenizer = served

    async def work() -> list[str]:
        engine = await opened(url, tokenizer)
        assert engine.manner.server == "llama_cpp.server" and not engine.manner.takes_ids
        assert engine.manner.adds_bos == (tokenizer.bos_token_id is not None)
        stop_ids = frozenset(model.stop_ids)
        answers = []
        for prompt in prompts:
            one = Ask(None, tuple(prompt), Sampling(max_new_tokens=12), stop_ids)
            answers.append("".join([piece.text or "" async for piece in engine.answer(one)]))
        await engine.close()
        return answers

    with GgufModel(path, context_length=256, num_threads=1) as model:
        from luthier.chat.render import Renderer

        renderer = Renderer(tokenizer)
        prompts = [renderer.prompt([Message("user", text)]) for text in ("How wide?", "Say it twice: ä日")]
        want = [
            model.decode([token for token in model.generate(prompt, 12) if token not in model.stop_ids])
            for prompt in prompts
        ]
        assert asyncio.run(asyncio.wait_for(work(), 120)) == want
