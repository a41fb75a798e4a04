"""The engine that asks an upstream, with real servers as the upstream: the answers are the model's own.

llama.cpp's servers keep keys and values in float16, so long answers of a random model could differ.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.chat.messages import Message
from luthier.chat.render import Renderer
from luthier.errors import ServingError
from luthier.export.gguf.write import write_gguf
from luthier.models.endpoint import Endpoint
from luthier.models.generate import Sampling
from luthier.models.gguf import GgufModel
from luthier.models.load import load_tokenizer
from luthier.serving.engines.engine import Ask, Mounted, Unavailable
from luthier.serving.engines.openai import open_openai_engine
from luthier.serving.engines.openai.engine import OpenAIEngine
from tests.export.toys import base_folder

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: nothing runs a GGUF file")
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


def command_of(server: str, folder: Path, port: int) -> list[str]:
    """How a server is started. Skips where it is not installed."""
    gguf, more = str(folder / "base.gguf"), ["--port", str(port)]
    if server == "llama_cpp.server":
        pytest.importorskip("starlette_context", reason="the server of llama-cpp-python is not installed")
        command = [sys.executable, "-m", "llama_cpp.server", "--model", gguf, *more, "--n_ctx", "256"]
        return [*command, "--n_threads", "1", "--model_alias", "base"]
    if server == "llama-server":
        program = os.environ.get("LLAMA_SERVER") or shutil.which("llama-server")
        if program is None:
            pytest.skip("llama-server is not on the path, and LLAMA_SERVER does not name it")
        command = [program, "--model", gguf, *more, "--ctx-size", "512", "--parallel", "2", "--threads", "1"]
        return [*command, "--alias", "base", "--no-webui"]
    command = [sys.executable, "-m", "luthier", "serve", "--base", str(folder / "base"), *more]
    return [*command, "--dtype", "float32", "--no-record", "--cache-mb", "0"]


@pytest.fixture(scope="module", params=["chatml", "llama3"])
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as a folder (`base`) and as a file (`base.gguf`)."""
    folder = tmp_path_factory.mktemp("served")
    plain_words(base_folder(folder / "base", family=request.param))
    write_gguf(folder / "base", folder / "base.gguf", "f32")
    return folder


@contextlib.contextmanager
def serving(server: str, folder: Path) -> Iterator[str]:
    """Its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(command_of(server, folder, port), cwd=folder)
    try:
        yield f"http://127.0.0.1:{port}/v1"
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


@pytest.mark.parametrize("server", ["llama_cpp.server", "llama-server", "luthier"])
def test_the_answers_are_those_of_the_file(folder: Path, server: str) -> None:
    tokenizer = load_tokenizer(str(folder / "base"))

    async def work(url: str) -> list[str]:
        engine = await opened(url, tokenizer)
        assert engine.manner.server == server
        assert engine.manner.takes_ids == (server == "llama-server")
        stop_ids = frozenset(model.stop_ids)
        answers = []
        for prompt in prompts:
            one = Ask(None, tuple(prompt), Sampling(max_new_tokens=12), stop_ids)
            answers.append("".join([piece.text or "" async for piece in engine.answer(one)]))
        with pytest.raises(ServingError, match="the upstream has no model 'nobody'"):
            await engine.mount(Mounted("nobody@1", "nobody"))
        await engine.close()
        return answers

    with GgufModel(folder / "base.gguf", context_length=256, num_threads=1) as model:
        renderer = Renderer(tokenizer)
        prompts = [renderer.prompt([Message("user", text)]) for text in ("How wide?", "Say it twice: ä日")]
        want = [
            model.decode([token for token in model.generate(prompt, 12) if token not in model.stop_ids])
            for prompt in prompts
        ]
        with serving(server, folder) as url:
            assert asyncio.run(asyncio.wait_for(work(url), 120)) == want
