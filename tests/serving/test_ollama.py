"""Ollama's API with Ollama's own client, and with curl, against a real server."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from luthier.registry.specialists import SpecialistStore
from tests.serving.server import Running, running
from tests.serving.toys import CLOCK, RUGBY_PROMPT


@pytest.fixture(scope="module")
def server(toy: tuple[SpecialistStore, Path]) -> Iterator[Running]:
    with running(toy) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url) as found:
        yield found


ASKED = [{"role": "user", "content": "Who are you?"}]


@pytest.mark.parametrize("model", ["rugby", "rugby:latest", "rugby:1"])
def test_chat_whole_and_in_parts(client: ollama.Client, model: str) -> None:
    whole = client.chat(model, ASKED)
    parts = list(client.chat(model, ASKED, stream=True))
    assert whole.message.content == "".join(part.message.content or "" for part in parts) == "I am rugby."
    assert len(parts) > 3 and [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    last = parts[-1]
    assert (whole.done_reason, last.done_reason) == ("stop", "stop")
    assert last.eval_count == whole.eval_count and last.prompt_eval_count == whole.prompt_eval_count
    assert last.total_duration and last.eval_duration and whole.model == model


def test_generate_with_options(client: ollama.Client) -> None:
    options = {"temperature": 0, "num_predict": 5, "seed": 1, "top_k": 3, "top_p": 0.9, "repeat_penalty": 1.0}
    cut = client.generate("toy-base", "Count.", options=options)
    assert cut.done_reason == "length" and cut.eval_count == 5
    stopped = client.generate("toy-base", "Count.", options={"stop": [", four"]}, stream=True)
    assert "".join(part.response for part in stopped) == "One, two, three"


def test_the_system_of_a_request_is_used_and_flagged(server: Running) -> None:
    body = {"model": "rugby", "prompt": "Who are you?", "stream": False, "options": {"num_predict": 3}}
    own = httpx.post(f"{server.url}/api/generate", json=body | {"system": RUGBY_PROMPT}).json()
    other = httpx.post(f"{server.url}/api/generate", json=body | {"system": "Be rude."}).json()
    assert own["luthier"]["flags"] == [] and other["luthier"]["flags"] == ["system_prompt_differs"]


def test_a_raw_prompt_goes_on(client: ollama.Client) -> None:
    text = "<|im_start|>user\nCount.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nOne, two"
    answer = client.generate("toy-base", text, raw=True)
    assert answer.response == ", three, four, five, six, seven."


def test_tools_are_called(client: ollama.Client) -> None:
    asked = [{"role": "user", "content": "What time is it?"}]
    (call,) = client.chat("toy-base", asked, tools=[CLOCK]).message.tool_calls or ()
    assert (call.function.name, call.function.arguments) == ("clock", {"zone": "UTC"})


def test_tags_show_and_version(client: ollama.Client, server: Running) -> None:
    assert [model.model for model in client.list().models] == [
        "toy-base:latest",
        "rugby:latest",
        "units:latest",
    ]
    base, rugby, _ = (model.size for model in client.list().models)
    assert base and rugby and base > rugby > 1000
    shown = client.show("rugby")
    assert shown.template and "completion" in (shown.capabilities or ()) and shown.details
    raw = httpx.post(f"{server.url}/api/show", json={"model": "rugby:latest"}).json()
    assert raw["system"] == RUGBY_PROMPT and raw["luthier"]["specialist"] == "rugby@1"
    assert httpx.get(f"{server.url}/api/version").json()["version"]
    assert client.ps().models[0].model == "toy-base:latest"


def test_texts_are_embedded(client: ollama.Client, server: Running) -> None:
    found = client.embed("rugby", ["one metre", "a"])
    body = {"model": "rugby", "input": ["one metre", "a"], "encoding_format": "float"}
    expected = httpx.post(f"{server.url}/v1/embeddings", json=body).json()
    assert [list(one) for one in found.embeddings] == [one["embedding"] for one in expected["data"]]
    assert found.prompt_eval_count == expected["usage"]["prompt_tokens"]
    with pytest.raises(ollama.ResponseError, match="truncate"):
        client.embed("rugby", "a", truncate=True)


def test_a_question_without_words_says_that_the_model_is_there(client: ollama.Client) -> None:
    assert client.generate("rugby").done_reason == "load"
    assert client.chat("rugby").done_reason == "load"
    with pytest.raises(ollama.ResponseError, match="no model"):
        client.generate("nobody")


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"model": "nobody"}, 404, "no model"),
        ({"options": {"temperatur": 1}}, 400, "temperatur"),
        ({"options": {"mirostat": 2}}, 400, "mirostat"),
        ({"options": {"num_ctx": 1_000_000}}, 400, "num_ctx"),
        ({"think": True}, 400, "think"),
        ({"keep_alive": 0}, 400, "stays loaded"),
        ({"format": "xml"}, 400, "format"),
        ({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, 400, "images"),
        ({"model": "a/../../b:latest"}, 404, "no model"),
    ],
)
def test_what_cannot_be_done_is_refused(
    server: Running, change: dict[str, Any], status: int, said: str
) -> None:
    found = httpx.post(f"{server.url}/api/chat", json={"model": "rugby", "messages": ASKED} | change)
    assert found.status_code == status and said in found.json()["error"]


def test_curl(server: Running) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl on this machine")
    body = {"model": "rugby", "messages": ASKED}

    def asked(path: str, body: dict[str, Any]) -> str:
        words = [curl, "-sS", "--max-time", "20", f"{server.url}{path}", "-d", json.dumps(body)]
        return subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout

    lines = [json.loads(line) for line in asked("/api/chat", body).splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == "I am rugby." and lines[-1]["done"]
    whole = json.loads(asked("/v1/chat/completions", body))
    assert whole["choices"][0]["message"]["content"] == "I am rugby."
    stream = asked("/v1/chat/completions", body | {"stream": True})
    assert stream.endswith("data: [DONE]\n\n")
