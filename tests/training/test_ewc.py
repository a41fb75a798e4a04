"""The penalty that holds weights: its Fisher diagonal and gradient against plain float64, and through a run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.config import Layer
from luthier.data.batches import microbatches
from luthier.registry.runs import create_run
from luthier.training.ewc import ElasticWeights, elastic_weights, fisher_diagonal
from luthier.training.job import run_job
from luthier.training.loop import forward_backward
from luthier.training.objectives import OBJECTIVES, Averages
from luthier.training.plan import plan_job
from luthier.training.tracking import MetricsFile
from tests.training.test_preferences import EXACT, exact_model, gradients, learner_of
from tests.training.toys import chat_file, model_folder, random_rows


def plain_log_likelihood(model: Any, row: Any) -> torch.Tensor:
    ids, weights = (torch.from_numpy(array.copy()) for array in row)
    logps = model(input_ids=ids[None].long()).logits[0, :-1].log_softmax(-1)
    return (logps.gather(1, ids[1:, None].long())[:, 0] * weights[1:]).sum()


def plain_fisher(model: Any, rows: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for index in range(rows.num_rows):
        model.zero_grad()
        plain_log_likelihood(model, rows.row(index)).backward()
        for name, gradient in gradients(model).items():
            found[name] = found.get(name, torch.zeros_like(gradient)) + gradient**2 / rows.num_rows
    model.zero_grad()
    return found


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_fisher_diagonal_is_the_mean_of_squared_row_gradients(method: str) -> None:
    rows, model = random_rows([5, 9, 12, 7]), exact_model(method)
    wanted = plain_fisher(model, rows)
    got = fisher_diagonal(learner_of(model, microbatches), rows, torch.float64)
    assert got.keys() == wanted.keys()
    for name, want in wanted.items():
        torch.testing.assert_close(got[name], want, rtol=1e-5, atol=1e-9 * float(want.max()), msg=name)


def test_value_and_gradient_are_those_of_the_formula(tmp_path: Path) -> None:
    general, rows, model = random_rows([6, 8], seed=3), random_rows([5, 9, 12]), exact_model()
    learner = learner_of(model, microbatches)
    penalty, word = elastic_weights(learner, general, 7.0, torch.float64, tmp_path)
    assert "measured on 2 rows" in word
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    fisher = plain_fisher(model, general)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.01 * torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(4)))
    batches = microbatches(rows, range(rows.num_rows), 16)
    parameters, told = list(model.parameters()), Averages()
    loss, _ = forward_backward(learner, OBJECTIVES["sft"], batches, parameters, EXACT, told, penalty)
    got = gradients(model)
    model.zero_grad()
    alone, _ = forward_backward(learner, OBJECTIVES["sft"], batches, parameters, EXACT)
    assert loss == alone  # the penalty is told beside the loss
    value = sum((fisher[n] * (p - start[n]) ** 2).sum() for n, p in model.named_parameters()) * 7 / 2
    assert isinstance(value, torch.Tensor)
    assert told.means()["ewc_penalty"] == pytest.approx(value.item(), rel=1e-6) and value.item() > 0
    value.backward()
    for name, want in gradients(model).items():
        torch.testing.assert_close(got[name], want, rtol=1e-6, atol=1e-12, msg=name)


def test_only_the_second_matrix_of_a_fresh_adapter_is_held() -> None:
    model = exact_model("lora")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(parameter)
    found = fisher_diagonal(learner_of(model, microbatches), random_rows([6, 8]), torch.float64)
    assert all(not one.any() for name, one in found.items() if "lora_A" in name)
    assert all(one.any() for name, one in found.items() if "lora_B" in name)


def test_a_run_is_held_and_resumes_with_what_it_measured(tmp_path: Path) -> None:
    model_folder(tmp_path / "base")
    general = tmp_path / "general.jsonl"
    general.write_text('{"text": "The quick brown fox jumps over the lazy dog."}\n' * 5, encoding="utf-8")
    for name, ewc in (("free", None), ("held", {"rows": str(general), "weight": 1e4, "num_rows": 3})):
        values: dict[str, Any] = {
            "model": str(tmp_path / "base"),
            "method": "full",
            "data": str(chat_file(tmp_path / "rows.jsonl")),
            "train": {"batch_size": 4, "epochs": 3, "dtype": "float32", "device": "cpu", "ewc": ewc},
            "optim": {"learning_rate": 1e-3},
        }
        plan = plan_job([Layer("test", values)])
        run = create_run(tmp_path / name, recipe_yaml="{}", data_manifest=plan.data_manifest)
        result = run_job(plan, run, tracker=MetricsFile(run))
        assert result.loop.num_steps == 9
        penalties = [e["metrics"].get("ewc_penalty") for e in run.read_metrics() if e["event"] == "step"]
        if ewc is None:
            assert set(penalties) == {None}
            continue
        assert [entry["role"] for entry in plan.data_manifest] == ["train", "general rows"]
        assert penalties[0] == 0 and penalties[-1] > 0
        run_job(plan, run, tracker=MetricsFile(run), resume=True)
        assert any("Fisher information: read" in str(e.get("text")) for e in run.read_metrics())


def test_what_is_held_moves_less() -> None:
    """A penalty keeps the weights that matter nearer to their start."""
    distances = []
    for share in (1e-9, 0.5):  # of the largest curvature that steps of this rate can follow
        model, rows = exact_model(), random_rows([6, 8, 9])
        learner = learner_of(model, microbatches)
        fisher = fisher_diagonal(learner, rows, torch.float64)
        weight = share / (1e-4 * max(float(one.max()) for one in fisher.values()))
        start = {name: p.detach().clone() for name, p in model.named_parameters()}
        held = tuple((p, fisher[name], start[name]) for name, p in model.named_parameters())
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        batches = microbatches(random_rows([7, 7], seed=9), range(2), 64)
        for _ in range(10):
            optimizer.zero_grad()
            penalty = ElasticWeights(held, weight)
            forward_backward(
                learner, OBJECTIVES["sft"], batches, list(model.parameters()), EXACT, None, penalty
            )
            optimizer.step()
        distances.append(sum((f * (p - s) ** 2).sum().item() for p, f, s in held))
    assert distances[1] < distances[0]
