"""Mixtures of experts: routers and experts train, the forest is exact, and the load is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from luthier.data.batches import microbatches
from luthier.data.forest import forests
from luthier.errors import ConfigError, ModelError
from luthier.models.attention import use_forest_attention
from luthier.models.experts import balance_note, expert_load
from luthier.models.forward import causal_parts
from luthier.models.load import load_model, load_weights
from luthier.models.methods import apply_full, apply_lora, apply_method
from luthier.models.quantized import Quantization
from luthier.training.learner import Learner, choose_cut
from luthier.training.loop import forward_backward
from luthier.training.objectives import OBJECTIVES, Averages
from tests.toy import MIXTURES, byte_tokenizer, tiny_model
from tests.training.test_job import run
from tests.training.test_learner import EXACT, assert_same, gradients, shared_rows
from tests.training.toys import VOCAB, chat_file, lora_method, method_config

EXPERTS = ["q_proj", "gate.weight", "experts.gate_up_proj", "experts.down_proj"]


def toy(architecture: str, dtype: torch.dtype = torch.float32) -> Any:
    """With routers that prefer, so that no choice hangs on a rounding."""
    model = tiny_model(architecture, vocab_size=VOCAB).to(dtype)
    torch.manual_seed(0)
    for layer in model.model.layers:
        nn.init.normal_(layer.mlp.gate.weight)
    if dtype == torch.float64:
        model.set_experts_implementation("eager")
    return model


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("architecture", MIXTURES)
def test_a_forest_is_its_rows(architecture: str, method: str) -> None:
    rows, model = shared_rows(), toy(architecture, torch.float64)
    if method == "full":
        model = apply_full(model, torch.float64)
    else:
        adapter = lora_method(targets=EXPERTS, dropout=0.0)
        model = apply_lora(model, adapter, "toy", torch.float64)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
    model.eval()
    alone = [batch for i in range(rows.num_rows) for batch in microbatches(rows, [i], 1000)]
    expected = gradients(model, rows, alone)
    assert any("gate." in name and grad.abs().max() > 0 for name, grad in expected[1].items())
    use_forest_attention(model)
    assert_same(gradients(model, rows, forests(rows, range(rows.num_rows), 1000)), expected)


@pytest.mark.parametrize("architecture", MIXTURES)
def test_the_forest_is_taken(architecture: str) -> None:
    model = toy(architecture)
    assert choose_cut(Learner(model, causal_parts(model), torch.device("cpu")), "auto")[1] == []


@pytest.mark.parametrize("packing", ["forest", "padding"])
@pytest.mark.parametrize("architecture", MIXTURES)
def test_the_load_is_that_of_the_router_logits(architecture: str, packing: str) -> None:
    rows, model = shared_rows(), apply_full(toy(architecture), torch.float32).eval()
    ids = [torch.from_numpy(rows.row(i)[0].astype("int64"))[None] for i in range(rows.num_rows)]
    if packing == "forest":
        use_forest_attention(model)
        rows_taken = [3]  # nothing shared: each token counts once on both sides
    else:
        rows_taken = list(range(rows.num_rows))
    counts = torch.zeros(2, 4)
    for index in rows_taken:
        with torch.no_grad():
            found = model(input_ids=ids[index], output_router_logits=True).router_logits
        for layer, logits in enumerate(found):
            counts[layer] += torch.bincount(logits.topk(2).indices.flatten(), minlength=4)
    load = expert_load(model)
    assert load is not None and len(load.names) == 2
    learner = Learner(model, causal_parts(model), torch.device("cpu"), experts=load)
    cut = forests if packing == "forest" else microbatches
    told = Averages()
    parameters = list(model.parameters())
    forward_backward(learner, OBJECTIVES["sft"], cut(rows, rows_taken, 60), parameters, EXACT, told)
    shares = counts / counts.sum(1, keepdim=True)
    means = told.means()
    assert means["expert_load_max"] == pytest.approx(float(shares.max() * 4))
    entropy = torch.distributions.Categorical(shares).entropy() / torch.tensor(4.0).log()
    assert means["expert_load_entropy"] == pytest.approx(float(entropy.mean()), rel=1e-5)
    assert means["experts_idle"] == pytest.approx(float((counts == 0).float().mean()))
    table = torch.tensor(list(load.table().values()))
    torch.testing.assert_close(table, shares, rtol=1e-5, atol=1e-6)


def test_a_router_that_sends_all_to_two_experts_is_seen() -> None:
    model = toy("mixtral")
    for layer in model.model.layers:
        layer.mlp.gate.weight.data.zero_()  # ties go to the same two
    load = expert_load(model)
    assert load is not None
    with load.over(None):
        model(input_ids=torch.arange(9)[None])
    found = load.metrics()
    assert found["experts_idle"][0] == 0.5 and found["expert_load_max"][0] == 2.0
    assert found["expert_load_entropy"][0] == pytest.approx(0.5)
    assert expert_load(tiny_model("llama")) is None


@pytest.mark.parametrize(
    "method",
    [
        "full",
        {"name": "lora", "rank": 2, "dropout": 0.0, "targets": EXPERTS},
        {"name": "lora", "rank": 2, "dropout": 0.0},
    ],
    ids=["full", "named", "all-linear"],
)
@pytest.mark.parametrize("architecture", MIXTURES)
def test_a_run_is_saved_loaded_and_told(architecture: str, method: Any, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tiny_model(architecture, vocab_size=len(tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    chat_file(tmp_path / "rows.jsonl")
    trained: list[Any] = []
    with pytest.MonkeyPatch.context() as patched:
        from luthier.models.methods import save_trained

        patched.setattr(
            "luthier.training.job.save_trained",
            lambda model, *rest: (trained.append(model), save_trained(model, *rest)),
        )
        _, made, result = run(tmp_path, method=method, optim={"learning_rate": 1e-2})
    steps = [event for event in made.read_metrics() if event["event"] == "step"]
    assert all(1 <= step["metrics"]["expert_load_max"] <= 4 for step in steps)
    ends = [event for event in made.read_metrics() if event["event"] == "evaluation"]
    assert "validation_expert_load_entropy" in ends[-1]["metrics"]
    notes = [event["text"] for event in made.read_metrics() if event["event"] == "message"]
    assert any("without an auxiliary loss" in note for note in notes)
    table = json.loads((made.folder / "experts.json").read_text(encoding="utf-8"))
    assert [sum(shares) for shares in table.values()] == pytest.approx([1.0, 1.0])
    loaded = load_model(str(result.model_folder), dtype="float32", device="cpu")
    with torch.no_grad():
        ids = torch.arange(40)[None]
        expected = trained[0].eval()(input_ids=ids).logits
        torch.testing.assert_close(loaded.model(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", MIXTURES)
def test_patterns_find_routers_and_experts(architecture: str) -> None:
    model = apply_method(
        toy(architecture), method_config("freeze", train=[r"mlp\.gate\."]), "toy", torch.float32
    )
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"model.layers.{i}.mlp.gate.weight" for i in range(2)}
    assert balance_note(model, expert_load(model)) != []
    still = apply_lora(toy(architecture), lora_method(targets=["q_proj"]), "toy", torch.float32)
    assert balance_note(still, expert_load(still)) == []


@pytest.mark.parametrize("architecture", MIXTURES)
def test_all_linear_takes_experts_and_routers_too(architecture: str) -> None:
    model = apply_lora(toy(architecture), lora_method(dropout=0.0), "toy", torch.float32)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(any(part in name for name in trained) for part in ("q_proj", "mlp.gate.", "mlp.experts."))
    for name in ("lora", "dora"):
        with pytest.raises(ConfigError, match=r"with method\.dropout 0"):
            apply_lora(toy(architecture), lora_method(name), "toy", torch.float32)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="take lora or rslora"):
        apply_lora(toy("mixtral"), lora_method("dora", targets=EXPERTS, dropout=0.0), "toy")
    with pytest.raises(ConfigError, match="dropout to 0"):
        apply_lora(toy("mixtral"), lora_method(targets=EXPERTS), "toy")
    with pytest.raises(ConfigError, match=r"no module named 'experts\.nothing'"):
        apply_lora(toy("mixtral"), lora_method(targets=["experts.nothing"], dropout=0.0), "toy")


def test_experts_that_would_stay_in_full_precision_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
    toy("qwen3_moe").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="does not quantise"):
        load_weights(str(tmp_path), torch.float32, quantization=Quantization("nf4"))
    assert load_weights(str(tmp_path), torch.float64)(input_ids=torch.arange(9)[None]).logits.isfinite().all()
