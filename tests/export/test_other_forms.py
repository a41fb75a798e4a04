"""Forms that other runtimes answer for: a server by its text, llama.cpp and mlx-lm by their logits."""

import importlib.util
from pathlib import Path

import pytest

from luthier.export.certificate.check import Asked, ask, check_form
from luthier.export.certificate.forms import Trained
from luthier.export.certificate.probes import built_in
from luthier.export.certificate.server_form import ServerForm
from luthier.export.shipment import FormName, Shipment, parse_form
from luthier.export.write import apply_export, plan_export
from luthier.models.endpoint import parse_endpoint
from luthier.models.load import find_model, load_model
from luthier.pipeline.certifying import certify_forms, opener
from tests.export.toys import adapter_folder, base_folder, lora_config, teach_to_stop
from tests.models.chat_server import Raw, Request, chat_server, completion

WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
"""Rows that mlx-lm's and llama.cpp's groups of weights divide."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Asked]:
    folder = tmp_path_factory.mktemp("others")
    base = base_folder(folder / "base", **WIDE)
    adapter = adapter_folder(base, folder / "adapter", lora_config())
    teach_to_stop(base, adapter)
    trained = Trained(load_model(str(adapter), dtype="float32", device="cpu"))
    return folder, ask(trained, built_in(trained.renderer)[0], max_new_tokens=12)


def served(
    made: tuple[Path, Asked], *, extra_tokens: int = 0, more: str = "", model: str = "adapter"
) -> list[str]:
    """What the certificate says of a server that answers with a model's own answers, or spoils them."""
    asked = made[1]
    answerer = Trained(load_model(str(made[0] / model), dtype="float32", device="cpu"))
    replies = answerer.answers(asked.probes, 12)
    by_question = {
        tuple(one.content for one in probe.messages): (reply, len(asked.trained.prompt_ids(probe)))
        for probe, reply in zip(asked.probes, replies, strict=True)
    }

    def answer(request: Request) -> Raw:
        reply, length = by_question[tuple(one["content"] for one in request["messages"])]
        text = reply.text + (more if reply.stopped else "")
        status, headers, body = completion(
            text, finish_reason="stop" if reply.stopped and not more else "length"
        )
        return (
            status,
            headers,
            body.replace(b'"prompt_tokens": 7', b'"prompt_tokens": %d' % (length + extra_tokens)),
        )

    with chat_server(answer) as (url, _):
        form = ServerForm(parse_endpoint(f"{url}#served", max_retries=0))
        verdict, _ = check_form(asked, form)
        form.close()
    return [verdict.word, *verdict.causes]


def test_a_server_that_answers_as_trained_is_equal(made: tuple[Path, Asked]) -> None:
    assert served(made) == ["equal within tolerance"]


def test_a_server_that_runs_on_has_other_stop_ids(made: tuple[Path, Asked]) -> None:
    assert any(reply.stopped for reply in made[1].replies)
    assert served(made, more=" and so on and on") == ["different", "stop ids"]


def test_a_server_that_serves_the_base_has_no_adapter(made: tuple[Path, Asked]) -> None:
    assert served(made, model="base") == ["different", "adapter not applied"]


def test_prompts_of_another_length_are_another_template(made: tuple[Path, Asked]) -> None:
    assert served(made, extra_tokens=3)[:2] == ["different", "template"]


def exported(made: tuple[Path, Asked], tmp_path: Path, *forms: str) -> list[str]:
    adapter = made[0] / "adapter"
    shipment = Shipment("toy", find_model(str(adapter)))
    names: list[FormName] = [parse_form(form) for form in forms]
    out = tmp_path / "out"
    out.mkdir()
    apply_export(plan_export(shipment, names), out, out, lambda _: None)
    openers = [opener(name, out / name.folder, shipment, tmp_path) for name in names]
    certificate = certify_forms(made[1], [one for one in openers if one is not None], shipment, [])
    return [f"{form.form} {form.said}" for form in certificate.forms]


@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="needs llama-cpp-python")
def test_llama_cpp_answers_as_trained(made: tuple[Path, Asked], tmp_path: Path) -> None:
    said = exported(made, tmp_path, "gguf:f32", "gguf-lora", "ollama:f32")
    assert said == [
        "gguf:f32 equal within tolerance",
        "gguf-lora equal within tolerance",
        "ollama:f32 equal within tolerance",
    ]
    assert (tmp_path / "out" / "ollama-f32" / "Modelfile").read_text().startswith("FROM ./model.gguf\n")


@pytest.mark.skipif(importlib.util.find_spec("mlx_lm") is None, reason="needs mlx-lm")
def test_mlx_answers_as_trained(made: tuple[Path, Asked], tmp_path: Path) -> None:
    assert exported(made, tmp_path, "mlx:16") == ["mlx:16 equal within tolerance"]
    from luthier.export.certificate.mlx_form import MlxForm

    assert MlxForm(tmp_path / "out" / "mlx-16", "mlx:16").precision == "float32"


@pytest.mark.skipif(importlib.util.find_spec("mlx_lm") is None, reason="needs mlx-lm")
@pytest.mark.parametrize("bits", [8, 4])
def test_mlx_computes_with_the_weights_that_it_rounded(
    bits: int, made: tuple[Path, Asked], tmp_path: Path
) -> None:
    """Its logits are those of transformers with the same rounded weights."""
    import mlx.core as mx
    import numpy as np
    import torch

    from luthier.export.certificate.mlx_form import MlxForm
    from luthier.export.mlx import GROUP_SIZE, write_mlx

    write_mlx(made[0] / "base", tmp_path / "mlx", bits)
    stored = mx.load(str(tmp_path / "mlx" / "model.safetensors"))
    twin = load_model(str(made[0] / "base"), dtype="float32", device="cpu")
    rounded = 0
    with torch.no_grad():
        for name, parameter in twin.model.named_parameters():
            parts = [
                stored.get(name.removesuffix("weight") + part) for part in ("weight", "scales", "biases")
            ]
            if parts[1] is not None:
                whole = mx.dequantize(*parts, group_size=GROUP_SIZE, bits=bits)
                parameter.copy_(torch.from_numpy(np.array(whole)))
                rounded += 1
    form = MlxForm(tmp_path / "mlx", f"mlx:{bits}", f"{bits} bit")
    ids = list(range(5, 45))
    with torch.inference_mode():
        want = twin.model(torch.tensor([ids])).logits[0]
    assert rounded > 10 and float((form.logits(ids) - want).std() / want.std()) < 1e-3
