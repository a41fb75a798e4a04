"""Models that cannot take a forest train on padded rows and say so exactly once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.config import Layer
from luthier.errors import ConfigError
from luthier.registry.runs import create_run
from luthier.training.job import run_job
from luthier.training.plan import Plan, plan_job
from luthier.training.tracking import MetricsFile
from tests.toy import byte_tokenizer
from tests.training.toys import chat_file

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": 0, "eos_token_id": 0}
OTHERS: dict[str, dict[str, Any]] = {
    "mamba": {**SMALL, "state_size": 4},  # carries state from token to token
    "bloom": {**SMALL, "n_head": 4},  # its attention is its own, and biased by distance (ALiBi)
}


def plan(architecture: str, folder: Path, **changes: Any) -> Plan:
    """Two steps of two rows each, on a model of that architecture."""
    tokenizer = byte_tokenizer()
    config = AutoConfig.for_model(architecture, vocab_size=len(tokenizer), **OTHERS[architecture])
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    values = {
        "model": str(folder / "base"),
        "method": "full",
        "data": {"train": str(chat_file(folder / "rows.jsonl", 4))},
        "train": {"max_steps": 2, "batch_size": 2, "dtype": "float32", "device": "cpu"},
        "evaluation": {"per_epoch": 0},
    }
    return plan_job([Layer("test", values), Layer("changes", {"train": changes})])


def trained(job: Plan, folder: Path) -> list[dict[str, Any]]:
    """All events of the run."""
    run = create_run(folder, recipe_yaml="{}", data_manifest=[])
    run_job(job, run, tracker=MetricsFile(run))
    return run.read_metrics()


def plain_loss(job: Plan, base: Path) -> float:
    """The loss of the first step, each row alone through transformers' own forward pass."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    total = weight = 0.0
    for index in job.batches.rows_of_step(0):
        ids, weights = map(torch.tensor, job.train_rows.row(index))
        with torch.no_grad():
            logits = model(input_ids=ids.long()[None]).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, ids[1:].long(), reduction="none")
        total, weight = total + float(losses @ weights[1:]), weight + float(weights[1:].sum())
    return total / weight


@pytest.mark.parametrize("architecture", OTHERS)
def test_a_model_that_cannot_take_a_forest_trains_on_padded_rows_and_says_so_once(
    architecture: str, tmp_path: Path
) -> None:
    job = plan(architecture, tmp_path)
    events = trained(job, tmp_path / "run")
    said = [event["text"] for event in events if event["event"] == "message"]
    told = [text for text in said if "forest" in text]
    assert len(told) == 1 and told[0].startswith("rows are padded: this model cannot take a forest ("), said
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert len(losses) == 2
    assert losses[0] == pytest.approx(plain_loss(job, tmp_path / "base"), rel=1e-5)


def test_a_forest_that_was_asked_for_and_cannot_be_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"packing is forest, but this model cannot take one.*use padding"):
        trained(plan("mamba", tmp_path, packing="forest"), tmp_path / "run")
