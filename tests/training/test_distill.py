"""Distillation: TRL's generalized divergence, a float64 reference, and runs from a teacher on the disk."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from luthier.config import Layer
from luthier.data.batches import microbatches
from luthier.data.dataset import TokenDataset
from luthier.data.forest import forests
from luthier.data.soft_labels import SoftLabels
from luthier.data.targets import supervised_tokens, with_soft_labels
from luthier.errors import ConfigError
from luthier.models.forward import Head
from luthier.registry.runs import create_run
from luthier.training.job import run_job
from luthier.training.loop import forward_backward
from luthier.training.objective_config import DistillObjective
from luthier.training.objectives import log_probs, make_objective
from luthier.training.objectives.distill import distill, divergence, outcomes, token_losses
from luthier.training.objectives.objective import Outputs, SoftLogProbs, Targets
from luthier.training.plan import plan_job
from luthier.training.tracking import MetricsFile
from tests.toy import tiny_model
from tests.training.pairs import random_units
from tests.training.test_preferences import EXACT, exact_model, gradients, learner_of
from tests.training.toys import VOCAB, chat_file, model_folder

KINDS = {"forward": 0.0, "js": 0.5, "reverse": 1.0}  # TRL's beta


def config(**changes: Any) -> DistillObjective:
    values: dict[str, Any] = {"divergence": "forward", "temperature": 1.0, "alpha": 0.0, "top_k": None}
    return DistillObjective(name="distill", teacher="", **(values | changes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_whole_vocabulary_gives_the_divergence_of_trl(kind: str, temperature: float) -> None:
    gkd = pytest.importorskip("trl.experimental.gkd")
    g = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(7, 50, generator=g) for _ in range(2))
    theirs = gkd.GKDTrainer.generalized_jsd_loss(
        student[None], teacher[None], beta=KINDS[kind], temperature=temperature, reduction="sum"
    )
    soft = SoftLogProbs(None, (teacher / temperature).log_softmax(1))
    ours = token_losses(
        student, torch.zeros(7).long(), soft, config(divergence=kind, temperature=temperature)
    )
    torch.testing.assert_close(ours.sum(), theirs * temperature**2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_tokens_are_a_lower_bound_that_closes(kind: str) -> None:
    g = torch.Generator().manual_seed(1)
    student, teacher = (2 * torch.randn(5, 40, generator=g, dtype=torch.float64) for _ in range(2))
    p, q = teacher.log_softmax(1), student.log_softmax(1)
    found = []
    for kept in (1, 4, 16, 39):
        ids = p.topk(kept, 1).indices
        assert torch.allclose(outcomes(p, ids).exp().sum(1), torch.ones(5, dtype=torch.float64))
        found.append(divergence(outcomes(p, ids), outcomes(q, ids), kind).sum().item())
    assert found == sorted(found)
    assert found[-1] == pytest.approx(divergence(p, q, kind).sum().item(), rel=1e-9)


def test_a_teacher_without_doubt_has_a_finite_loss_and_gradient() -> None:
    certain = torch.zeros(2, 6)
    certain[:, 0] = 1e4
    ids = torch.zeros(2, 1, dtype=torch.long)
    soft = SoftLogProbs(ids, outcomes(certain.log_softmax(1), ids))
    for kind in KINDS:
        for logits in (torch.zeros(2, 6), certain.clone()):
            logits.requires_grad_()
            losses = token_losses(logits, torch.zeros(2).long(), soft, config(divergence=kind))
            (gradient,) = torch.autograd.grad(losses.sum(), logits)
            assert losses.isfinite().all() and gradient.isfinite().all()


@pytest.mark.parametrize("kept", [None, 3])
@pytest.mark.parametrize("softcap", [0.0, 2.0])
def test_chunks_give_the_gradients_of_the_plain_loss(
    kept: int | None, softcap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    g = torch.Generator().manual_seed(2)
    hidden, weight = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((9, 5), (12, 5)))
    bias, weights = torch.randn(12, generator=g).double(), torch.rand(9, generator=g).double()
    leaves = [one.requires_grad_() for one in (hidden, weight, bias)]
    p = torch.randn(9, 12, generator=g, dtype=torch.float64).log_softmax(1)
    ids = None if kept is None else p.topk(kept, 1).indices
    soft = SoftLogProbs(ids, outcomes(p, ids))
    objective = config(divergence="js", temperature=2.0, alpha=0.3, top_k=kept)
    head, targets = Head(weight, bias, 0.5, softcap), torch.randint(12, (9,), generator=g)
    plain = (token_losses(head.logits(hidden), targets, soft, objective) * weights).sum()
    wanted = torch.autograd.grad(plain, leaves)
    monkeypatch.setattr(log_probs, "_CHUNK_BYTES", 4 * 12 * 2)
    sums = distill(objective).loss(Outputs(hidden, head), Targets(targets, weights, teacher=soft))
    torch.testing.assert_close(sums.loss_sum, plain, rtol=1e-12, atol=0)
    assert sums.losses_M is not None and not sums.losses_M.requires_grad
    for got, want in zip(torch.autograd.grad(sums.loss_sum, leaves), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def labelled(dataset: TokenDataset, teacher: Any, kept: int) -> tuple[TokenDataset, list[Tensor]]:
    """Soft labels by one ordinary call of the teacher for each row, and its log-probabilities."""
    from dataclasses import replace

    rows = []
    with torch.no_grad():
        for row in range(dataset.num_rows):
            ids = torch.from_numpy(dataset.row(row)[0].copy()).long()
            logits = teacher(input_ids=ids[None]).logits[0]
            rows.append(torch.cat([torch.zeros_like(logits[:1]), logits[:-1]]).double().log_softmax(-1))
    places = supervised_tokens(dataset)
    every = torch.cat(rows)[places]
    ids = every.topk(kept, 1).indices
    soft = SoftLabels(places, ids.numpy().astype(np.int32), outcomes(every, ids).numpy())
    return replace(dataset, units=None, soft=soft), rows


@pytest.mark.parametrize("cut", [forests, microbatches])
def test_steps_are_those_of_separate_rows(cut: Any) -> None:
    teacher = tiny_model("llama", vocab_size=VOCAB, seed=5).double()
    dataset, rows = labelled(random_units(weighted=True), teacher, kept=4)
    objective = config(divergence="reverse", temperature=1.0, alpha=0.25, top_k=4)
    model = exact_model()
    total, weight_sum = torch.zeros((), dtype=torch.float64), 0.0
    for row, p in enumerate(rows):
        ids, weights = (torch.from_numpy(array.copy()) for array in dataset.row(row))
        logits = model(input_ids=ids[None].long()).logits[0, :-1]
        top = p[1:].topk(4, 1).indices
        soft = SoftLogProbs(top, outcomes(p[1:], top))
        total = total + (token_losses(logits, ids[1:].long(), soft, objective) * weights[1:]).sum()
        weight_sum += float(weights[1:].sum())
    (total / weight_sum).backward()
    wanted = gradients(model)
    learner = learner_of(model, cut)
    for budget in (1, 30, 10_000):
        model.zero_grad()
        batches = with_soft_labels(cut)(dataset, range(dataset.num_rows), budget)
        parameters = list(model.parameters())
        loss, _ = forward_backward(learner, make_objective(objective), batches, parameters, EXACT)
        assert loss == pytest.approx(total.item() / weight_sum, rel=1e-6)
        largest = max(float(one.abs().max()) for one in wanted.values())
        for name, got in gradients(model).items():
            torch.testing.assert_close(got, wanted[name], rtol=1e-4, atol=1e-6 * largest, msg=name)


def layers(tmp_path: Path, **objective: Any) -> list[Layer]:
    if not (tmp_path / "student").exists():
        model_folder(tmp_path / "student")
        model_folder(tmp_path / "teacher")
    data = str(chat_file(tmp_path / "rows.jsonl"))
    values: dict[str, Any] = {
        "model": str(tmp_path / "student"),
        "objective": {"name": "distill", "teacher": str(tmp_path / "teacher"), **objective},
        "method": "full",
        "data": {"train": data, "validation_share": 0.25},
        "train": {"batch_size": 4, "epochs": 2, "dtype": "float32", "device": "cpu"},
        "optim": {"learning_rate": 1e-3},
    }
    return [Layer("test", values)]


def test_a_run_reads_its_teacher_once(tmp_path: Path) -> None:
    for number, top_k in enumerate((8, None)):
        plan = plan_job(layers(tmp_path, alpha=0.0, top_k=top_k))
        run = create_run(tmp_path / f"run-{number}", recipe_yaml="{}", data_manifest=plan.data_manifest)
        bars: list[tuple[str, int, list[float]]] = []

        @contextmanager
        def bar(
            what: str, total: int, *, unit: str, into: list[tuple[str, int, list[float]]] = bars
        ) -> Iterator[Callable[[float], None]]:
            into.append((what, total, steps := []))
            yield steps.append

        run_job(plan, run, tracker=MetricsFile(run), bar=bar)
        # The student begins as its own teacher: nothing is to be learnt at the first step.
        steps = [event for event in run.read_metrics() if event["event"] == "step"]
        assert steps[0]["loss"] == pytest.approx(0, abs=1e-5)
        assert bars and all(what == "the teacher's soft labels" for what, _, _ in bars)
        assert all(sum(done) == total for _, total, done in bars)
        written = (run.folder / "teacher" / "key.json").stat().st_mtime_ns
        run_job(plan, run, tracker=MetricsFile(run), resume=True)
        assert (run.folder / "teacher" / "key.json").stat().st_mtime_ns == written
        assert any("read from teacher/" in str(event.get("text")) for event in run.read_metrics())


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    asked = layers(tmp_path)
    tokenizer = json.loads((tmp_path / "teacher" / "tokenizer.json").read_text(encoding="utf-8"))
    renamed = {"ÿ" + token if token == "a" else token: i for token, i in tokenizer["model"]["vocab"].items()}
    tokenizer["model"]["vocab"] = renamed
    tokenizer["model"]["merges"] = []
    (tmp_path / "teacher" / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"another vocabulary.*'a' is"):
        plan_job(asked)
