"""The loop: its gradients against transformers, its steps against PEFT, its resume against itself."""

import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.data.batches import microbatches
from luthier.errors import TrainingError
from luthier.models.forward import causal_parts
from luthier.models.methods import apply_full, apply_lora, apply_top_layers
from luthier.training.loop import Learner, LoopConfig, Measured, forward_backward
from luthier.training.objectives import OBJECTIVES
from tests.toy import ARCHITECTURES, tiny_model
from tests.training.toys import (
    VOCAB,
    Memory,
    dropout_model,
    lora_method,
    optim_config,
    random_rows,
    run_loop,
    same,
    weights_of,
)

NO_CLIP = LoopConfig(1, 1, 1, clip_norm=1e9, compute_dtype=torch.float64)


def step_gradients(model: Any, rows: Any, budget: int) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    learner = Learner(model, causal_parts(model), torch.device("cpu"))
    batches = microbatches(rows, range(rows.num_rows), budget)
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss, _ = forward_backward(learner, OBJECTIVES["sft"], batches, parameters, NO_CLIP)
    return loss, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padded_microbatches_equal_transformers_row_by_row(architecture: str) -> None:
    """Unit weights: `model(labels=...)` is the row's mean, so mean * count adds up to the token sum."""
    model = apply_full(tiny_model(architecture, vocab_size=VOCAB), torch.float64)
    rows = random_rows([5, 9, 21, 3, 14])
    rows.weights[rows.weights != 0] = 1.0
    results = [step_gradients(model, rows, budget) for budget in (24, 10_000)]
    model.zero_grad()
    total = 0.0
    for index in range(rows.num_rows):
        ids, weights = (torch.from_numpy(part.copy()) for part in rows.row(index))
        labels = torch.where(weights > 0, ids.long(), -100)[None]
        count = int((weights > 0).sum())
        part = model(input_ids=ids.long()[None], labels=labels).loss * count / rows.num_supervised
        part.backward()
        total += part.item()
    for loss, gradients in results:
        assert loss == pytest.approx(total, rel=1e-7)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_accumulation_equals_the_one_large_batch(architecture: str) -> None:
    model = apply_full(tiny_model(architecture, vocab_size=VOCAB), torch.float64)
    rows = random_rows([5, 9, 21, 3, 14, 2, 30, 8])
    small_loss, small = step_gradients(model, rows, 1)
    large_loss, large = step_gradients(model, rows, 10_000)
    # Some norms and losses of transformers compute in float32 whatever the model's dtype is.
    assert small_loss == pytest.approx(large_loss, rel=1e-7 if architecture != "gpt2" else 1e-12)
    for name, gradient in large.items():
        torch.testing.assert_close(small[name], gradient, rtol=1e-5, atol=1e-8)
    if architecture == "gpt2":
        assert all((small[name] - large[name]).abs().max() < 1e-10 for name in large)


@pytest.mark.parametrize("method", ["full", "lora", "top_layers"])
def test_gradient_checkpointing_changes_no_gradient(method: str) -> None:
    model = tiny_model(vocab_size=VOCAB)
    if method == "lora":
        torch.manual_seed(0)
        model = apply_lora(model, lora_method(dropout=0.0), "toy")
    elif method == "top_layers":
        model = apply_top_layers(model, 1)
    else:
        model = apply_full(model)
    rows = random_rows([5, 9, 14])
    model.train()
    _, plain = step_gradients(model, rows, 30)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    _, checkpointed = step_gradients(model, rows, 30)
    assert plain.keys() == checkpointed.keys() and plain
    for name in plain:
        torch.testing.assert_close(checkpointed[name], plain[name])
    assert any(gradient.any() for gradient in checkpointed.values())


def test_lora_steps_equal_a_plain_peft_loop(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    rows = random_rows([6, 11, 9, 13, 7, 10, 8, 12])
    rows.weights[rows.weights != 0] = 1.0
    optim = optim_config(schedule="constant", warmup_share=0.0, weight_decay=0.0)
    torch.manual_seed(3)
    ours = apply_lora(tiny_model(vocab_size=VOCAB), lora_method(dropout=0.0), "toy")
    _, tracker = run_loop(tmp_path, ours, num_steps=6, optim=optim, rows=rows)

    torch.manual_seed(3)
    config = LoraConfig(
        r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    theirs = get_peft_model(tiny_model(vocab_size=VOCAB), config)
    adamw = torch.optim.AdamW(
        [p for p in theirs.parameters() if p.requires_grad], 1e-2, (0.9, 0.99), 1e-8, 0.0
    )
    for step in range(6):
        epoch, place = divmod(step, 2)
        order = np.random.default_rng([0, epoch]).permutation(8)[4 * place : 4 * place + 4]
        losses, count = [], 0
        for index in order:
            ids, weights = (torch.from_numpy(part.copy()) for part in rows.row(int(index)))
            logits = theirs(input_ids=ids.long()[None]).logits[0, :-1]
            each = torch.nn.functional.cross_entropy(logits, ids[1:].long(), reduction="none")
            losses.append((each * weights[1:]).sum())
            count += int(weights[1:].sum())
        loss = torch.stack(losses).sum() / count
        adamw.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        adamw.step()
        assert tracker.losses[step + 1] == pytest.approx(loss.item(), rel=1e-5)
    ours_now, theirs_now = weights_of(ours), weights_of(theirs)
    for name, value in theirs_now.items():
        torch.testing.assert_close(ours_now[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_the_seed_decides_the_adapter(method: str, tmp_path: Path) -> None:
    finals = []
    for number, seed in enumerate((1, 1, 2)):
        model = dropout_model(method, seed)
        run_loop(tmp_path / str(number), model, num_steps=3)
        finals.append(weights_of(model))
    assert same(finals[0], finals[1])
    assert not same(finals[0], finals[2])


@pytest.mark.parametrize(("method", "optimizer"), [("full", "adamw"), ("full", "muon"), ("lora", "adamw")])
def test_resumed_at_every_step_it_is_the_straight_run(method: str, optimizer: str, tmp_path: Path) -> None:
    num_steps, optim = 6, optim_config(name=optimizer)
    straight = dropout_model(method)
    _, told = run_loop(tmp_path / "straight", straight, num_steps=num_steps, optim=optim)
    for stop in range(1, num_steps):
        folder = tmp_path / f"stop-{stop}"
        first = Memory(stop_after=stop)
        result, _ = run_loop(
            folder,
            dropout_model(method),
            num_steps=num_steps,
            optim=optim,
            tracker=first,
            checkpoint_every=1000,
        )
        assert (result.outcome, result.num_steps) == ("interrupted", stop)
        resumed = dropout_model(method, seed=99)
        result, second = run_loop(folder, resumed, num_steps=num_steps, optim=optim, resume=True)
        assert result.outcome == "finished"
        assert first.losses | second.losses == told.losses
        assert same(weights_of(resumed), weights_of(straight))


CHILD = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.training.toys import Memory, dropout_model, run_loop

class Printing(Memory):
    def step(self, event):
        print(event.step, event.loss.hex(), flush=True)
        time.sleep(float(sys.argv[3]))

model = dropout_model("full")
resume = sys.argv[2] == "resume"
result, _ = run_loop(Path(sys.argv[1]), model, num_steps=30, tracker=Printing(), resume=resume)
print("outcome", result.outcome, flush=True)
"""


def child(folder: Path, mode: str, pause: float = 0.0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder), mode, str(pause)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=None
    )


def losses_in(output: str) -> dict[str, str]:
    lines = [line.split() for line in output.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2 and line[0].isdigit()}


@pytest.mark.slow
def test_killed_three_times_the_losses_are_bit_identical(tmp_path: Path) -> None:
    straight = losses_in(child(tmp_path / "straight", "fresh").communicate()[0])
    assert len(straight) == 30
    seen: dict[str, str] = {}
    mode = "fresh"
    for kill_after in sorted(random.Random(0).sample(range(2, 9), 3)):
        with child(tmp_path / "killed", mode, pause=0.05) as process:
            assert process.stdout is not None
            for count, line in enumerate(process.stdout, start=1):
                seen |= losses_in(line)
                if count == kill_after:
                    process.send_signal(signal.SIGKILL)
                    break
        mode = "resume"
    seen |= losses_in(child(tmp_path / "killed", "resume").communicate()[0])
    assert seen == straight


def test_ctrl_c_writes_a_checkpoint_and_can_be_resumed(tmp_path: Path) -> None:
    process = child(tmp_path, "fresh", pause=0.05)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert "outcome interrupted" in output and process.returncode == 0
    newest = max(path.name for path in tmp_path.glob("step-*"))
    assert 1 <= int(newest.removeprefix("step-")) < 30


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    class Impatient(Memory):
        def step(self, event: Any) -> None:
            super().step(event)
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_loop(tmp_path, dropout_model(), tracker=Impatient())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stop_asked_in_the_last_step_is_a_finished_run(tmp_path: Path) -> None:
    result, _ = run_loop(tmp_path, dropout_model(), num_steps=2, tracker=Memory(stop_after=2))
    assert result.outcome == "finished"


def test_a_loss_that_is_not_finite_moves_nothing(tmp_path: Path) -> None:
    model = dropout_model()
    with torch.no_grad():
        model.lm_head.weight[3, 3] = math.inf
    before = weights_of(model)
    with pytest.raises(TrainingError, match=r"step 1: the loss is .*not moved.*Rows of this step") as caught:
        learner_safe_run(tmp_path, model)
    assert "Likely cause: the weight lm_head.weight was not finite before this step" in str(caught.value)
    assert same(before, weights_of(model))


def learner_safe_run(folder: Path, model: Any) -> None:
    """causal_parts would refuse the infinite logits, so the proof is made before they are there."""
    value = model.lm_head.weight[3, 3].item()
    with torch.no_grad():
        model.lm_head.weight[3, 3] = 0.0
    real = causal_parts(model)
    with torch.no_grad():
        model.lm_head.weight[3, 3] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.training.toys.causal_parts", lambda _: real)
        run_loop(folder, model)


def test_patience_stops_and_the_best_is_kept(tmp_path: Path) -> None:
    rows = random_rows([9, 9, 9, 9])
    other = random_rows([9, 9, 9], seed=5)
    model = apply_full(tiny_model(vocab_size=VOCAB))
    options: dict[str, Any] = {
        "num_steps": 60,
        "rows": rows,
        "evaluate_every": 2,
        "patience": 2,
        "checkpoint_every": 100,
        "validation": lambda: iter(microbatches(other, range(3), 100)),
        "optim": optim_config(learning_rate=3e-2),
    }
    result, tracker = run_loop(tmp_path, model, **options)
    losses = {event.step: event.validation_loss for event in tracker.of("evaluation")}
    best = min(losses, key=lambda step: losses[step])
    assert result.outcome == "stopped early"
    assert result.num_steps == best + 4 < 60
    assert (result.progress.best_step, result.progress.best_validation_loss) == (best, losses[best])
    from luthier.training.checkpoint import CheckpointStore
    from luthier.training.loop import mean_loss

    assert CheckpointStore(tmp_path).load_best(model)
    learner = Learner(model, causal_parts(model), torch.device("cpu"))
    again = mean_loss(learner, OBJECTIVES["sft"], options["validation"](), LoopConfig(1, 1, 1, 1.0))
    assert again == losses[best]
    result, tracker = run_loop(tmp_path, model, resume=True, **options)
    assert (result.outcome, tracker.of("step")) == ("stopped early", [])


def test_evaluators_run_at_their_steps_without_dropout(tmp_path: Path) -> None:
    modes: list[bool] = []

    def evaluator(model: Any) -> Measured:
        modes.append(model.training)
        return Measured({"accuracy": 0.5})

    _, tracker = run_loop(
        tmp_path, dropout_model(), num_steps=7, evaluate_every=3, evaluators=[evaluator], checkpoint_every=2
    )
    evaluations = tracker.of("evaluation")
    assert [(e.step, e.metrics, e.validation_loss) for e in evaluations] == [
        (step, {"accuracy": 0.5}, None) for step in (3, 6, 7)
    ]
    assert modes == [False] * 3
    assert [event.step for event in tracker.of("checkpoint")] == [2, 4, 6, 7]


def test_a_validation_loss_that_is_not_finite_is_never_the_best(tmp_path: Path) -> None:
    rows = random_rows([9, 9])
    calls: list[int] = []

    def validation() -> Any:
        calls.append(1)
        batch = microbatches(rows, [0, 1], 100)[0]
        if len(calls) == 1:
            batch.weights_BT[:] *= np.inf
        return iter([batch])

    with np.errstate(invalid="ignore"):
        result, _ = run_loop(tmp_path, dropout_model(), num_steps=4, evaluate_every=2, validation=validation)
    assert result.progress.best_step == 4


def test_the_events_of_a_straight_run(tmp_path: Path) -> None:
    started = time.perf_counter()
    result, tracker = run_loop(tmp_path, dropout_model(), num_steps=3, checkpoint_every=10)
    steps = tracker.of("step")
    assert tracker.events[0] == ("start", (3, 0))
    assert [event.step for event in steps] == [1, 2, 3]
    assert steps[-1].epoch == pytest.approx(1.0) and steps[-1].tokens == 98
    assert all(event.seconds < time.perf_counter() - started for event in steps)
    assert [event.step for event in tracker.of("checkpoint")] == [3]
    assert result.last_loss == steps[-1].loss


def test_a_step_of_rows_without_a_token_to_learn_says_so(tmp_path: Path) -> None:
    rows = random_rows([5, 9, 12, 7])
    rows.weights[:] = 0.0
    model = dropout_model()
    before = weights_of(model)
    with pytest.raises(TrainingError, match="Likely cause: empty rows"):
        run_loop(tmp_path, model, rows=rows)
    assert same(before, weights_of(model))
