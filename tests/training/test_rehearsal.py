"""The heaviest micro-batch is found, and its rehearsal leaves no trace."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.data.batches import BatchPlan
from luthier.data.forest import forests
from luthier.errors import TrainingError
from luthier.models.attention import use_forest_attention
from luthier.models.forward import causal_parts
from luthier.training.learner import Learner
from luthier.training.loop import LoopConfig
from luthier.training.objectives import OBJECTIVES
from luthier.training.rehearsal import MIN_STEPS, heaviest, rehearse
from tests.training.toys import dropout_model, random_rows, run_loop, same, weights_of

CONFIG = LoopConfig(6, 1000, 1, clip_norm=1.0)


def plan(tokens_per_microbatch: int = 64) -> BatchPlan:
    rows = random_rows([5, 9, 12, 7, 17, 3, 20, 11, 6, 8, 61, 4])
    return BatchPlan(rows, 3, tokens_per_microbatch, seed=0)


@pytest.mark.parametrize("budget", [16, 64, 1000])
def test_no_micro_batch_of_the_epoch_holds_more(budget: int) -> None:
    for batches in (plan(budget), replace(plan(budget), cut=forests)):
        sizes = [
            getattr(batch, "num_nodes", None) or batch.token_ids_BT.size  # type: ignore[union-attr]
            for step in range(batches.steps_per_epoch)
            for batch in batches.step(step)
        ]
        found: Any = heaviest(batches)
        assert (getattr(found, "num_nodes", None) or found.token_ids_BT.size) == max(sizes)


def learner_of(model: Any) -> Learner:
    return Learner(model, causal_parts(model), torch.device("cpu"))


def test_a_rehearsed_run_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    straight, rehearsed = dropout_model("lora"), dropout_model("lora")
    torch.manual_seed(5)
    expected, memory = run_loop(tmp_path / "straight", straight)
    torch.manual_seed(5)
    rehearse(learner_of(rehearsed), OBJECTIVES["sft"], plan(), MIN_STEPS, CONFIG)
    assert all(p.grad is None for p in rehearsed.parameters())
    got, again = run_loop(tmp_path / "rehearsed", rehearsed)
    assert again.losses == memory.losses
    assert same(weights_of(rehearsed), weights_of(straight))
    assert got.num_steps == expected.num_steps


def test_a_lack_of_memory_is_told_with_what_to_do() -> None:
    model = dropout_model("lora")
    use_forest_attention(model)

    def too_large(*_: Any) -> Any:
        return torch.empty(1 << 60)  # what torch's own allocator says of it

    objective = replace(OBJECTIVES["sft"], loss=too_large)
    with pytest.raises(TrainingError, match=r"lower train.tokens_per_microbatch"):
        rehearse(learner_of(model), objective, plan(), MIN_STEPS, CONFIG)
    rehearse(learner_of(model), objective, plan(), MIN_STEPS - 1, CONFIG)  # too short to be rehearsed
