"""Preferences from a file to a run: the reference is kept, the margin rises, what does not fit is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from luthier.config import Layer
from luthier.data.batches import microbatches
from luthier.errors import ConfigError, DataError
from luthier.models.forward import causal_parts
from luthier.models.methods import apply_lora
from luthier.registry.runs import Run, create_run
from luthier.training.job import run_job
from luthier.training.learner import Learner
from luthier.training.plan import Plan, describe, plan_job
from luthier.training.recipe import resolve
from luthier.training.reference import FILE, adapter_off, reference_log_probs
from luthier.training.tracking import MetricsFile
from tests.toy import tiny_model
from tests.training.pairs import random_units
from tests.training.test_preferences import plain_rows
from tests.training.toys import VOCAB, lora_method, model_folder


def rows(kind: str, count: int = 8) -> list[dict[str, Any]]:
    """Answers that say yes are preferred."""
    questions = [f"Is it {n} today?" for n in range(count)]
    if kind == "pairs":
        return [{"prompt": q, "chosen": "Yes, it is.", "rejected": "No."} for q in questions]
    return [
        {"prompt": q, "completion": "Yes, it is." if n % 2 else "No.", "label": bool(n % 2)}
        for n, q in enumerate(questions)
    ]


def write(path: Path, values: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return str(path)


def layers(tmp_path: Path, objective: Any, kind: str = "pairs", **changes: Any) -> list[Layer]:
    if not (tmp_path / "base").exists():
        model_folder(tmp_path / "base")
    data = write(tmp_path / "rows.jsonl", rows(kind))
    values: dict[str, Any] = {
        "model": str(tmp_path / "base"),
        "objective": objective,
        "method": "full",
        "data": {"train": data, "validation": data},
        "train": {"batch_size": 4, "epochs": 4, "dtype": "float32", "device": "cpu"},
        "optim": {"learning_rate": 1e-3},
        "evaluation": {"per_epoch": 0.25},
    }
    return [Layer("test", values), Layer("changes", changes)]


def run(tmp_path: Path, objective: Any, kind: str = "pairs", **changes: Any) -> tuple[Plan, Run]:
    plan = plan_job(layers(tmp_path, objective, kind, **changes))
    made = create_run(tmp_path / "run", recipe_yaml="{}", data_manifest=plan.data_manifest)
    run_job(plan, made, tracker=MetricsFile(made))
    return plan, made


def of(made: Run, kind: str) -> list[dict[str, Any]]:
    return [event for event in made.read_metrics() if event["event"] == kind]


@pytest.mark.parametrize(("objective", "raised"), [("dpo", 0.1), ("orpo", 0.005), ("simpo", 0.1)])
def test_training_raises_the_margin(objective: str, raised: float, tmp_path: Path) -> None:
    plan, made = run(tmp_path, objective)
    steps = of(made, "step")
    assert (len(steps), plan.num_steps) == (8, 8)
    first, last = (step["metrics"]["reward_margin"] for step in (steps[0], steps[-1]))
    assert last > first + raised
    assert steps[-1]["loss"] < steps[0]["loss"]
    told = of(made, "evaluation")[-1]
    assert told["metrics"]["validation_reward_accuracy"] == 1.0
    assert told["validation_loss"] < steps[0]["loss"]
    assert (made.folder / FILE).exists() == (objective == "dpo")
    if objective == "dpo":  # before the first step the policy is the reference
        assert first == pytest.approx(0, abs=1e-4) and steps[0]["loss"] == pytest.approx(np.log(2), abs=1e-4)


def test_kto_lifts_the_desirable_answers(tmp_path: Path) -> None:
    _, made = run(tmp_path, {"name": "kto", "beta": 0.5}, "labelled")
    last = of(made, "step")[-1]["metrics"]
    assert last["reward_desirable"] > 0.1 > last["reward_undesirable"]
    assert last["kl"] >= 0
    kept = load_file(made.folder / FILE)
    assert {name: len(part) for name, part in kept.items()} == dict.fromkeys(
        ("train", "train.beside", "validation", "validation.beside"), 8
    )


def test_the_reference_is_that_of_the_base_and_is_computed_once(tmp_path: Path) -> None:
    plan, made = run(tmp_path, "dpo", method="lora", train={"max_steps": 2})
    kept = load_file(made.folder / FILE)["train"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base").float().eval()
    learner = Learner(model, causal_parts(model), torch.device("cpu"))
    again = reference_log_probs(learner, plan.train_rows, microbatches, 4096, torch.float32)
    np.testing.assert_allclose(kept, again, rtol=1e-5)
    written = (made.folder / FILE).stat().st_mtime_ns
    run_job(plan, made, tracker=MetricsFile(made), resume=True)
    assert (made.folder / FILE).stat().st_mtime_ns == written
    assert any("read from" in event["text"] for event in of(made, "message"))
    # Other rows: it is computed anew.
    write(tmp_path / "rows.jsonl", rows("pairs", 5))
    plan = plan_job([*layers(tmp_path, "dpo", method="lora")[:1], Layer("", {"method": "lora"})])
    (tmp_path / "other").mkdir()
    other = create_run(tmp_path / "other" / "run", recipe_yaml="{}", data_manifest=[])
    (other.folder / FILE).write_bytes((made.folder / FILE).read_bytes()[:-7])  # torn, too
    run_job(plan, other, tracker=MetricsFile(other))
    assert any("computed once" in event["text"] for event in of(other, "message"))


def test_an_adapter_that_has_moved_is_taken_off() -> None:
    dataset = random_units()
    base = tiny_model("llama", vocab_size=VOCAB)
    sums, _, _ = plain_rows(base, dataset)
    expected = sums.detach().numpy()
    adapted = apply_lora(base, lora_method(dropout=0.5), "toy")
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    learner = Learner(adapted, causal_parts(adapted), torch.device("cpu"))
    got = reference_log_probs(learner, dataset, microbatches, 64, torch.float32)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    adapted.peft_config["default"].init_lora_weights = "pissa"  # its base alone is not the reference
    with adapter_off(adapted):
        assert not np.allclose(plain_rows(adapted, dataset)[0].detach().numpy(), expected)


@pytest.mark.parametrize(
    ("objective", "kind", "changes", "error", "said"),
    [
        ("sft", "pairs", {}, DataError, r"rows.jsonl:1: .*a preference.*which supervised training cannot"),
        ("dpo", "labelled", {}, DataError, r"rows.jsonl:1: .*\(kto\).*dpo learns from rows with.*to kto"),
        ("kto", "pairs", {}, DataError, "kto learns from rows with an answer and whether.*to dpo"),
        ("dpo", "pairs", {"data": {"too_long": "head"}}, ConfigError, "expected error or drop, got head"),
        ("dpo", "pairs", {"data": {"max_length": 12}}, DataError, r"rows.jsonl:1: \d+ tokens"),
        ({"name": "dpo", "gama": 1}, "pairs", {}, ConfigError, "gama"),
        (
            {"name": "dpo", "loss": "ipo", "label_smoothing": 0.1},
            "pairs",
            {},
            ConfigError,
            "objective.label_smoothing would do nothing",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    objective: Any, kind: str, changes: Any, error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        plan_job(layers(tmp_path, objective, kind, **changes))


def test_each_value_says_where_it_came_from(tmp_path: Path) -> None:
    asked = layers(tmp_path, {"name": "simpo", "gamma": 3})[0].values
    values = {key: value for key, value in asked.items() if key != "optim"} | {"method": "lora"}
    plan = plan_job([Layer("file", values), Layer("option", {"objective": {"name": "dpo"}})])
    told = {key: (value, source) for key, value, source in describe(plan)}
    assert told["optim.learning_rate"] == ("5e-06", "default for dpo with lora")
    assert told["optim.clip_norm"] == ("0.5", "default for dpo with lora")
    assert told["objective.beta"] == ("0.1", "default for dpo with lora")
    assert told["objective.name"] == ('"dpo"', "option") and "objective.gamma" not in told


@pytest.mark.parametrize(
    ("method", "rate"),
    [("full", 5e-7), ("freeze", 5e-7), ("lora", 5e-6), ("qlora", 5e-6)],
)
def test_dpo_moves_slowly(method: str, rate: float) -> None:
    asked: dict[str, Any] = {"model": "x", "objective": "dpo", "data": {"train": "x", "too_long": "drop"}}
    section = {"name": method, **({"train": ["mlp"]} if method == "freeze" else {})}
    optim = resolve([Layer("file", {**asked, "method": section})]).recipe.optim
    assert (optim.learning_rate, optim.clip_norm, optim.warmup_share) == (rate, 0.5, 0.1)


def test_smoothed_answers_are_refused_with_the_reason(tmp_path: Path) -> None:
    asked = layers(tmp_path, {"name": "sft", "label_smoothing": 0.1})
    data = write(tmp_path / "chat.jsonl", [{"prompt": "Is it?", "completion": "It is."}])
    with pytest.raises(ConfigError, match=r"tokens are context and carry no loss.*doubt where to stop"):
        plan_job([*asked, Layer("", {"data": {"train": data, "validation": data}})])
    data = write(tmp_path / "text.jsonl", [{"text": "It is what it is."}])
    asked = layers(tmp_path, {"name": "cpt", "label_smoothing": 0.1})
    assert (
        plan_job([*asked, Layer("", {"data": {"train": data, "validation": data}})]).train_rows.num_rows == 1
    )
