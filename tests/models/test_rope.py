"""Scaled rotary positions: transformers' own numbers, and the same ones wherever a run is loaded again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.cli.main import main
from luthier.errors import ConfigError, ModelError
from luthier.models.forward import causal_parts
from luthier.models.generate import Sampling, generate
from luthier.models.load import find_model, load_model, load_weights
from luthier.models.rope import RopeScaling, depends_on_length, read_scaling, scale_positions
from luthier.training.learner import Learner, choose_cut
from tests.toy import tiny_model
from tests.training.test_job import run
from tests.training.toys import VOCAB, chat_file, model_folder, random_rows

TYPES = ["linear", "dynamic", "yarn"]


def base(folder: Path, architecture: str = "llama", positions: int = 32) -> Path:
    model = tiny_model(architecture, vocab_size=VOCAB)
    model.config.max_position_embeddings = positions
    model.save_pretrained(folder)
    return folder


def cos_and_sin(model: Any, length: int) -> torch.Tensor:
    positions = torch.arange(length)[None]
    return torch.stack(model.model.rotary_emb(torch.zeros(1, length, 32), positions))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("length", [20, 100])
def test_cos_and_sin_are_those_of_transformers(kind: str, length: int, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    mine = load_weights(str(base(tmp_path)), torch.float32, rope_scaling=RopeScaling(type=kind, factor=4.0))
    values = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    theta = values["rope_parameters"]["rope_theta"]
    parameters = {"rope_type": kind, "factor": 4.0, "rope_theta": theta}
    if kind == "yarn":
        parameters["original_max_position_embeddings"] = 32
    positions = 32 if kind == "dynamic" else 128
    changed = {**values, "rope_parameters": parameters, "max_position_embeddings": positions}
    theirs = LlamaForCausalLM(LlamaConfig(**changed))
    torch.testing.assert_close(cos_and_sin(mine, length), cos_and_sin(theirs, length), rtol=0, atol=0)
    plain = load_weights(str(tmp_path), torch.float32)
    unscaled = kind == "dynamic" and length <= 32
    assert torch.equal(cos_and_sin(mine, length), cos_and_sin(plain, length)) == unscaled


def test_settings_of_yarn_reach_the_frequencies(tmp_path: Path) -> None:
    folder = str(base(tmp_path, positions=1024))
    found = [
        cos_and_sin(load_weights(folder, torch.float32, rope_scaling=one), 100)
        for one in (
            RopeScaling(type="yarn", factor=4.0),
            RopeScaling(type="yarn", factor=4.0, beta_fast=8.0),
            RopeScaling(type="yarn", factor=4.0, attention_factor=1.0),
            RopeScaling(type="yarn", factor=4.0, original_max_length=256),
        )
    ]
    assert all(not torch.equal(found[0], other) for other in found[1:])


def test_dynamic_positions_do_not_remember_the_sequence_before(tmp_path: Path) -> None:
    folder = str(base(tmp_path))
    scaling = RopeScaling(type="dynamic", factor=4.0)
    model = load_weights(folder, torch.float32, rope_scaling=scaling)
    first = cos_and_sin(model, 50)
    cos_and_sin(model, 120)
    assert torch.equal(cos_and_sin(model, 50), first)


ROPE = {"type": "yarn", "factor": 8.0}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("method", ["full", "lora", "adapter", pytest.param("pissa", marks=pytest.mark.slow)])
def test_a_run_is_loaded_with_the_positions_that_it_was_trained_with(
    method: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Any] = []
    from luthier.models.methods import save_trained

    monkeypatch.setattr(
        "luthier.training.job.save_trained",
        lambda model, *rest: (trained.append(model), save_trained(model, *rest)),
    )
    model_folder(tmp_path / "base", max_position_embeddings=16)
    chat_file(tmp_path / "rows.jsonl")
    scaling = {"type": kind, "factor": 8.0}
    _, made, result = run(
        tmp_path,
        model={"name": str(tmp_path / "base"), "rope_scaling": scaling},
        method=method,
        data={"max_length": 128},
    )
    loaded = load_model(str(result.model_folder), dtype="float32", device="cpu")
    assert loaded.context_length == 128
    ids = torch.arange(100)[None]
    with torch.no_grad():
        expected = trained[0].eval()(input_ids=ids).logits
        torch.testing.assert_close(loaded.model(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-5)
    assert len(generate(loaded, [[5] * 40], Sampling(max_new_tokens=5))[0]) <= 5
    source = find_model(str(result.model_folder))
    assert (source.rope_scaling is None) == (method == "full")
    if method == "adapter":
        return
    monkeypatch.setattr("sys.argv", ["luthier", "export", str(made.folder), "--out", str(tmp_path / "plain")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    merged = load_model(str(tmp_path / "plain" / "hf"), dtype="float32", device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(merged.model(input_ids=ids).logits, expected, rtol=1e-3, atol=1e-4)


def test_without_the_record_the_logits_would_be_others(tmp_path: Path) -> None:
    """What the record is there for: an adapter on the base as it lies on the disk is another model."""
    model_folder(tmp_path / "base", max_position_embeddings=16)
    chat_file(tmp_path / "rows.jsonl")
    model = {"name": str(tmp_path / "base"), "rope_scaling": ROPE}
    _, _, result = run(tmp_path, model=model, data={"max_length": 128})
    ids = torch.arange(60)[None]
    with torch.no_grad():
        right = load_model(str(result.model_folder), dtype="float32").model(input_ids=ids).logits
        (result.model_folder / "rope_scaling.json").unlink()
        wrong = load_model(str(result.model_folder), dtype="float32").model(input_ids=ids).logits
    assert (right - wrong).abs().max() > 5e-4  # the toy hardly attends; what is loaded is held to 1e-5


def test_rows_may_be_as_long_as_the_factor_says(tmp_path: Path) -> None:
    model_folder(tmp_path / "base", max_position_embeddings=16)
    chat_file(tmp_path / "rows.jsonl")
    name = str(tmp_path / "base")
    with pytest.raises(ConfigError, match="made for 16 positions"):
        run(tmp_path, model=name, data={"max_length": 128})
    for kind in TYPES:
        scaling = {"type": kind, "factor": 4.0}
        with pytest.raises(ConfigError, match="made for 64 positions"):
            run(tmp_path, model={"name": name, "rope_scaling": scaling}, data={"max_length": 65})


def test_dynamic_rows_are_alone(tmp_path: Path) -> None:
    scaling = RopeScaling(type="dynamic", factor=4.0)
    model = load_weights(str(base(tmp_path)), torch.float32, rope_scaling=scaling)
    assert depends_on_length(model)
    learner = Learner(model, causal_parts(model), torch.device("cpu"))
    cut, notes = choose_cut(learner, "auto")
    assert "one by one" in notes[0]
    rows = random_rows([40, 90, 61])
    with torch.no_grad():
        for batch in cut(rows, [0, 1, 2], 1000):
            index = int(batch.row_indices_B[0])
            ids = torch.from_numpy(rows.row(index)[0].astype("int64"))[None]
            hidden = learner.parts.hidden_states(torch.from_numpy(batch.token_ids_BT.copy()))
            assert torch.equal(hidden, model.model(input_ids=ids).last_hidden_state)
    with pytest.raises(ConfigError, match="depend on a row's length"):
        choose_cut(learner, "forest")


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_scaled_rows_share_a_forest(kind: str, tmp_path: Path) -> None:
    scaling = RopeScaling(type=kind, factor=4.0)
    model = load_weights(str(base(tmp_path)), torch.float32, rope_scaling=scaling)
    assert choose_cut(Learner(model, causal_parts(model), torch.device("cpu")), "auto")[1] == []


def test_layers_with_windows_keep_their_positions(tmp_path: Path) -> None:
    config = tiny_model("gemma3_text").config
    before = dict(config.rope_parameters["sliding_attention"])
    scale_positions(config, RopeScaling(type="linear", factor=4.0))
    assert config.rope_parameters["sliding_attention"] == before
    assert config.rope_parameters["full_attention"]["factor"] == 4.0


def test_what_cannot_be_scaled_is_refused(tmp_path: Path) -> None:
    linear = RopeScaling(type="linear", factor=2.0)
    with pytest.raises(ConfigError, match="gpt2 has no rotary positions"):
        scale_positions(tiny_model("gpt2").config, linear)
    config = tiny_model("llama").config
    scale_positions(config, linear)
    with pytest.raises(ConfigError, match="scaled already"):
        scale_positions(config, linear)
    with pytest.raises(ConfigError, match="several kinds"):
        scale_positions(tiny_model("gemma3_text").config, RopeScaling(type="dynamic", factor=2.0))
    with pytest.raises(ValueError, match="beta_fast would do nothing"):
        RopeScaling(type="linear", factor=2.0, beta_fast=3.0)
    with pytest.raises(ConfigError, match="greater than 1"):
        run(tmp_path, model={"name": str(tmp_path / "base"), "rope_scaling": {"type": "yarn", "factor": 1.0}})
    (tmp_path / "rope_scaling.json").write_text('{"type": "spiral"}', encoding="utf-8")
    with pytest.raises(ModelError, match=r"rope_scaling\.json"):
        read_scaling(tmp_path)
