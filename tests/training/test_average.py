"""The average of the weights: its formula, what is evaluated and kept, and that a stopped run goes on with it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.data.batches import microbatches
from luthier.training.average import WeightAverage
from luthier.training.checkpoint import CheckpointStore
from luthier.training.loop import Measured
from tests.training.toys import Memory, dropout_model, random_rows, run_loop, same, weights_of


def averaged(model: Any, decay: float = 0.9) -> WeightAverage:
    return WeightAverage((p for p in model.parameters() if p.requires_grad), decay)


def test_the_formula_and_the_swap() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    average = WeightAverage([weight], 0.5)
    expected = 0.0
    for step in range(1, 30):
        with torch.no_grad():
            weight.fill_(step)
        average.step()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.in_place():
        torch.testing.assert_close(weight.detach(), torch.full((2,), expected, dtype=torch.float64))
    assert weight.tolist() == [29, 29]


def test_what_is_evaluated_and_kept_is_the_average(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def evaluator(model: Any) -> Measured:
        seen.append(weights_of(model))
        return Measured({})

    plain, plain_told = run_loop(tmp_path / "plain", dropout_model(), num_steps=4)
    rows = random_rows([9, 9])
    model = dropout_model()
    average = averaged(model)
    _, told = run_loop(
        tmp_path / "average",
        model,
        num_steps=4,
        average=average,
        evaluators=[evaluator],
        validation=lambda: microbatches(rows, [0, 1], 100),
    )
    assert told.losses == plain_told.losses  # the average moves nothing
    assert same(weights_of(model), seen[-1])
    best = dropout_model()
    assert CheckpointStore(tmp_path / "average").load_best(best)
    assert same(weights_of(best), seen[-1])
    straight = dropout_model()
    run_loop(tmp_path / "again", straight, num_steps=4)
    assert not same(weights_of(straight), weights_of(model))
    assert plain.num_steps == 4


@pytest.mark.parametrize("method", ["full", "lora"])
def test_resumed_it_is_the_straight_run(method: str, tmp_path: Path) -> None:
    straight = dropout_model(method)
    run_loop(tmp_path / "straight", straight, num_steps=5, average=averaged(straight), evaluate_every=2)
    first = dropout_model(method)
    stop = Memory(stop_after=3)
    run_loop(
        tmp_path / "stopped", first, num_steps=5, average=averaged(first), evaluate_every=2, tracker=stop
    )
    resumed = dropout_model(method, seed=9)
    run_loop(
        tmp_path / "stopped",
        resumed,
        num_steps=5,
        average=averaged(resumed),
        evaluate_every=2,
        resume=True,
    )
    assert same(weights_of(resumed), weights_of(straight))
