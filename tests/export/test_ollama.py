"""Ollama's side: the template rendered by real Go, the Modelfile read back, the protocol held to."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from luthier.chat.messages import Message
from luthier.chat.templates import FAMILIES
from luthier.errors import ConfigError, ExportError
from luthier.export.ollama.folder import create_request, quote, read_value, render_modelfile, template_of
from luthier.export.ollama.pattern import conversations
from luthier.export.ollama.push import push
from luthier.export.shipment import Shipment
from luthier.models.load import Source
from tests.export.ollama_server import ollama_server
from tests.toy import byte_tokenizer, metaspace_tokenizer


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The renderer, compiled."""
    if shutil.which("go") is None:
        pytest.skip("needs Go (apt-get install golang-go) to render Ollama's templates as Ollama does")
    folder = tmp_path_factory.mktemp("go")
    shutil.copy(Path(__file__).with_name("go_template.go"), folder / "main.go")
    env = {**os.environ, "GOCACHE": str(folder / "cache"), "GO111MODULE": "off"}
    subprocess.run(
        ["go", "build", "-o", "render", "main.go"], cwd=folder, env=env, check=True, capture_output=True
    )
    return folder / "render"


@pytest.mark.parametrize("make", [byte_tokenizer, metaspace_tokenizer])
@pytest.mark.parametrize("family", FAMILIES)
def test_go_renders_what_jinja_renders_token_for_token(family: str, make: Any, go: Path) -> None:
    tokenizer = make(family)
    pattern = template_of(tokenizer)
    asked = conversations(pattern.system_open is not None)
    request = {
        "template": pattern.go_template(),
        "conversations": [
            [{"Role": one.role, "Content": one.content} for one in messages] for messages in asked
        ],
    }
    done = subprocess.run([go], input=json.dumps(request).encode(), capture_output=True, check=True)
    for messages, text in zip(asked, json.loads(done.stdout), strict=True):
        dicts = [message.to_dict() for message in messages]
        want = tokenizer.apply_chat_template(dicts, add_generation_prompt=True, return_dict=False)
        bos = [] if tokenizer.bos_token is None else [tokenizer.bos_token_id]
        assert bos + tokenizer.encode(text, add_special_tokens=False) == want, messages


def test_a_begun_answer_is_gone_on_with() -> None:
    pattern = template_of(byte_tokenizer("chatml"))
    assert pattern.render([Message("user", "Count."), Message("assistant", "One,")]).endswith(
        "assistant\nOne,"
    )


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{% for m in messages %}[{{ loop.index }}]{{ m.role }}:{{ m.content }}<|im_end|>{% endfor %}A:",
            "Ollama",
        ),
        ("{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}", "does not show every turn"),
        ("{{ strftime_now('%d') }}{% for m in messages %}{{ m.content }}{% endfor %}", "today's date"),
        (
            "{% for m in messages %}{{ m.content | replace('a', 'b') }}<|im_end|>{% endfor %}",
            "fixed texts between",
        ),
    ],
)
def test_a_template_that_fixed_texts_cannot_say_is_refused(template: str, said: str) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ExportError, match=said):
        template_of(tokenizer)


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        " edges \n",
        'say "it"',
        '"""quoted""" here',
        "two\n\nlines\twith tab",
        "日本語 🙂",
        'ends with "',
        "FROM x\nSYSTEM y",
    ],
)
def test_a_system_prompt_comes_back_byte_for_byte(text: str) -> None:
    assert read_value(quote(text, "it")) == text


@pytest.mark.parametrize(
    "text", ["no\u00a0break", "zero\u200bwidth", "👩‍🚀 joined", 'ends a line with """\nand goes on']
)
def test_what_a_modelfile_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(ExportError, match="byte for byte"):
        quote(text, "the system prompt")


def folder_of(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder as an export writes it, with weights that nobody reads."""
    shipment = Shipment(
        "rugby",
        Source("rugby", "base"),
        system_prompt="Answer from the facts.\n",
        licence="Apache-2.0",
        sampling={"temperature": 0.0, "max_new_tokens": 64, "repetition_penalty": 1.1},
    )
    request = create_request(shipment, byte_tokenizer())
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(range(256)) * 999)
    (tmp_path / "create.json").write_text(json.dumps({**request, "files": ["model.gguf"]}))
    return tmp_path, request


def test_the_modelfile_says_template_stops_sampling_and_system(tmp_path: Path) -> None:
    _, request = folder_of(tmp_path)
    text = render_modelfile("./model.gguf", request)
    assert text.startswith('FROM ./model.gguf\nTEMPLATE """')
    assert 'PARAMETER stop """<|im_end|>"""\nPARAMETER stop """<|endoftext|>"""\n' in text
    assert "PARAMETER temperature 0.0\nPARAMETER num_predict 64\nPARAMETER repeat_penalty 1.1\n" in text
    assert 'SYSTEM """Answer from the facts.\n"""\nLICENSE """Apache-2.0"""\n' in text


def test_a_push_sends_what_is_missing_and_creates_the_model(tmp_path: Path) -> None:
    folder, request = folder_of(tmp_path)
    with ollama_server() as server:
        push(folder, "rugby:v1", server.url)
        push(folder, "rugby:v2", server.url)
        assert [path.split(":")[0] for path in server.posts] == [
            "/api/blobs/sha256",
            "/api/create",
            "/api/create",
        ]
        made = server.models["rugby:v2"]
        assert server.blobs[made["files"]["model.gguf"]] == (folder / "model.gguf").read_bytes()
        assert (made["system"], made["template"]) == ("Answer from the facts.\n", request["template"])
        assert made["parameters"]["stop"] == ["<|im_end|>", "<|endoftext|>"]


def test_what_a_server_refuses_is_told(tmp_path: Path) -> None:
    folder, request = folder_of(tmp_path)
    with ollama_server() as server:
        server.fail = "unsupported architecture"
        with pytest.raises(ExportError, match="unsupported architecture"):
            push(folder, "rugby", server.url)
        (folder / "create.json").write_text(
            json.dumps({**request, "files": ["model.gguf"], "modelfile": "FROM x"})
        )
        with pytest.raises(ExportError, match=r"400 unknown fields \['modelfile'\]"):
            push(folder, "rugby", server.url)
    with pytest.raises(ExportError, match="cannot reach the server"):
        push(folder, "rugby", server.url)
    with pytest.raises(ConfigError, match="expected a folder that luthier export --to ollama wrote"):
        push(tmp_path / "none", "rugby", server.url)
