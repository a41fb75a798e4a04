"""The reward model: TRL's loss, a float64 reference, and what is saved is what others load."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.config import Layer
from luthier.data.batches import microbatches
from luthier.data.dataset import TokenDataset
from luthier.data.forest import forests
from luthier.data.units import BETTER, WORSE, Units
from luthier.errors import ConfigError, ModelError
from luthier.models.attention import use_forest_attention
from luthier.models.load import load_model
from luthier.models.methods import apply_full, apply_lora
from luthier.models.reward import load_reward_model, score_parts, train_head
from luthier.registry.runs import create_run
from luthier.training.job import run_job
from luthier.training.learner import Learner
from luthier.training.loop import forward_backward
from luthier.training.objective_config import RewardObjective
from luthier.training.objectives import make_objective
from luthier.training.objectives.reward import reward_losses
from luthier.training.plan import plan_job
from luthier.training.scoring import score_file
from luthier.training.tracking import MetricsFile
from tests.toy import tiny_model
from tests.training.test_preference_job import layers as preference_layers
from tests.training.test_preferences import EXACT, gradients
from tests.training.toys import VOCAB, lora_method

REWARD = RewardObjective(name="reward", margin=0.5, center_coefficient=0.1)


def scorer(architecture: str = "llama", method: str = "full") -> Any:
    config = tiny_model(architecture, vocab_size=VOCAB).config
    config.num_labels = 1
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).double().eval()
    if method == "full":
        return apply_full(model, torch.float64)
    return train_head(apply_lora(model, lora_method(dropout=0.0), "toy", torch.float64), torch.float64).eval()


def pairs(count: int = 5) -> tuple[TokenDataset, list[list[int]]]:
    """Rows with the place behind the last token, and the answers as they are."""
    rng = np.random.default_rng(0)
    answers = []
    for unit in range(count):
        prompt = rng.integers(1, VOCAB, 3 + unit % 3).tolist()
        answers += [prompt + rng.integers(1, VOCAB, rng.integers(2, 8)).tolist() for _ in range(2)]
    ids = [np.array([*one, one[-1]], np.int32) for one in answers]
    weights = [np.array([0.0] * len(one) + [1.0], np.float32) for one in answers]
    units = Units(np.arange(0, 2 * count + 1, 2), np.array([BETTER, WORSE] * count, np.int8))
    offsets = np.cumsum([0, *map(len, ids)]).astype(np.int64)
    places = [f"rows:{i}" for i in range(len(ids))]
    return TokenDataset(np.concatenate(ids), np.concatenate(weights), offsets, places, units=units), answers


@pytest.mark.parametrize("cut", [forests, microbatches])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_step_is_that_of_separate_answers(cut: Any, method: str) -> None:
    dataset, answers = pairs()
    model = scorer(method=method)
    scores = torch.stack([model(input_ids=torch.tensor([one])).logits[0, 0] for one in answers])
    chosen, rejected = scores[0::2], scores[1::2]
    expected = (-logsigmoid(chosen - rejected - 0.5) + 0.1 * (chosen + rejected) ** 2).mean()
    expected.backward()
    wanted = gradients(model)
    assert any("score" in name for name in wanted)
    if cut is forests:
        use_forest_attention(model)
    learner = Learner(model, score_parts(model), torch.device("cpu"))
    parameters = [p for p in model.parameters() if p.requires_grad]
    for budget in (1, 30, 10_000):
        model.zero_grad()
        batches = cut(dataset, range(dataset.num_rows), budget)
        loss, _ = forward_backward(learner, make_objective(REWARD), batches, parameters, EXACT)
        assert loss == pytest.approx(expected.item(), rel=1e-9)
        got = gradients(model)
        assert got.keys() == wanted.keys()
        largest = max(float(one.abs().max()) for one in wanted.values())
        for name, want in wanted.items():
            torch.testing.assert_close(got[name], want, rtol=1e-5, atol=1e-6 * largest, msg=name)


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3", "mistral", "phi3"])
def test_other_architectures_are_split(architecture: str) -> None:
    assert score_parts(scorer(architecture)).head().weight_VC.shape == (1, 32)


def test_the_loss_is_that_of_trl(tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    from tests.toy import byte_tokenizer

    dataset, answers = pairs()
    model = scorer().float()
    model.config.pad_token_id = 0
    rows = Dataset.from_list([{"chosen": "You.", "rejected": "No."}] * 2)
    args = RewardConfig(
        output_dir=str(tmp_path),
        center_rewards_coefficient=0.1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
    )
    tokenizer = byte_tokenizer()
    trainer = RewardTrainer(model, args=args, train_dataset=rows, processing_class=tokenizer)
    width = max(map(len, answers))
    ordered = answers[0::2] + answers[1::2]
    model.config.pad_token_id = 0  # the trainer sets its own; no id of these rows is 0
    inputs = {
        "input_ids": torch.tensor([one + [0] * (width - len(one)) for one in ordered]),
        "attention_mask": torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in ordered]),
        "margin": torch.full((len(answers) // 2,), 0.5),
    }
    theirs = trainer.compute_loss(trainer.model.eval(), inputs).item()
    learner = Learner(model, score_parts(model), torch.device("cpu"))
    batches = microbatches(dataset, range(dataset.num_rows), 40)
    ours, _ = forward_backward(learner, make_objective(REWARD), batches, list(model.parameters()), EXACT)
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_a_won_pair_costs_nothing_more() -> None:
    plain = REWARD.model_copy(update={"margin": 0.0, "center_coefficient": 0.0})
    losses = reward_losses(torch.tensor([60.0, 0.0]), torch.tensor([0.0, 0.0]), plain)
    assert losses[0] < 1e-20 and losses[1] == pytest.approx(np.log(2))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_learns_to_score_and_others_load_it(method: str, tmp_path: Path) -> None:
    changes = {"method": method, "train": {"epochs": 12}, "optim": {"learning_rate": 3e-3}}
    plan = plan_job(preference_layers(tmp_path, "reward", **changes))
    run = create_run(tmp_path / "run", recipe_yaml="{}", data_manifest=plan.data_manifest)
    run_job(plan, run, tracker=MetricsFile(run))
    told = [event for event in run.read_metrics() if event["event"] == "evaluation"][-1]["metrics"]
    assert told["validation_reward_accuracy"] == 1.0 and told["validation_reward_margin"] > 0.5
    ours = load_reward_model(str(run.model_folder), dtype="float32")
    data = str(tmp_path / "rows.jsonl")
    scored = list(score_file(ours, data, batch_size=3))
    assert len(scored) == 8 and all(one.record["agrees"] for one in scored)
    # The same numbers from transformers and PEFT alone, by text.
    tokenizer = AutoTokenizer.from_pretrained(run.model_folder)
    if method == "full":
        theirs = AutoModelForSequenceClassification.from_pretrained(run.model_folder, dtype=torch.float32)
        assert AutoConfig.from_pretrained(run.model_folder).num_labels == 1
    else:
        from peft import AutoPeftModelForSequenceClassification

        theirs = AutoPeftModelForSequenceClassification.from_pretrained(
            run.model_folder, num_labels=1, dtype=torch.float32
        )
        theirs.config.pad_token_id = tokenizer.pad_token_id
    turns = [{"role": "user", "content": "Is it 0 today?"}, {"role": "assistant", "content": "Yes, it is."}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    padded = torch.nn.functional.pad(ids, (0, 3), value=tokenizer.pad_token_id)
    with torch.no_grad():
        got = theirs.eval()(input_ids=padded, attention_mask=torch.ones_like(padded)).logits[0, 0].item()
    assert got == pytest.approx(scored[0].chosen, rel=1e-4, abs=1e-4)


def test_the_verb_scores_and_language_models_are_refused(tmp_path: Path) -> None:
    plan = plan_job(preference_layers(tmp_path, "reward", method="lora", train={"max_steps": 1}))
    run = create_run(tmp_path / "run", recipe_yaml="{}", data_manifest=plan.data_manifest)
    run_job(plan, run, tracker=MetricsFile(run))
    data, out = str(tmp_path / "rows.jsonl"), tmp_path / "scores.jsonl"
    result = CliRunner().invoke(app, ["score", str(run.folder), data, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_pairs"] == 8
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [record["place"].rpartition(":")[2] for record in records] == [str(i) for i in range(1, 9)]
    assert records[0].keys() == {"place", "chosen", "rejected", "agrees"}
    with pytest.raises(ModelError, match="a language model, not a reward model"):
        load_reward_model(str(tmp_path / "base"))
    with pytest.raises(ModelError, match=r"writes none.*luthier score"):
        load_model(str(run.model_folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "prompt"}, "method prompt cannot save the head"),
        ({"evaluation": {"items": "items.jsonl"}}, "writes none"),
        ({"train": {"ewc": {"rows": "general.jsonl"}}}, "a reward model predicts none"),
    ],
)
def test_what_a_scorer_cannot_do_is_refused(changes: Any, said: str, tmp_path: Path) -> None:
    asked = preference_layers(tmp_path, "reward")
    with pytest.raises(ConfigError, match=said):
        plan_job([*asked, Layer("", changes)])
