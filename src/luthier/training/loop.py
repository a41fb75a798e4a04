"""The loop: one, for every objective, read from top to bottom.

A step takes its micro-batches, adds up loss sums divided by the weight of the whole step, clips, and moves
the weights, but only if loss and gradient are finite. It knows what it is handed: a model, an objective,
batches by step number, optimizers, evaluators, a tracker, a checkpoint store. It knows nothing of files of
data, recipes, tasks or screens.
"""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from luthier.data.batches import Batch
from luthier.training.average import WeightAverage
from luthier.training.checkpoint import CheckpointStore
from luthier.training.gradient_noise import GradientNoise
from luthier.training.learner import Learner, precision
from luthier.training.not_finite import not_finite, places_of
from luthier.training.objectives import Averages, Objective
from luthier.training.optim import Schedule, set_learning_rate
from luthier.training.row_losses import RowLosses
from luthier.training.spikes import SpikeWatch
from luthier.training.stop import stop_signal
from luthier.training.tracking import (
    Checkpoint,
    Evaluation,
    Sample,
    Spike,
    Step,
    Tracker,
    peak_memory_bytes,
)


class Batches(Protocol):
    """Micro-batches by step number (see data.batches.BatchPlan)."""

    @property
    def steps_per_epoch(self) -> int: ...

    def step(self, step: int) -> Sequence[Batch]: ...


@dataclass(frozen=True)
class Measured:
    """What an evaluator found: named numbers, and sample answers for the eye."""

    metrics: dict[str, float]
    samples: Sequence[Sample] = ()


Evaluator = Callable[[nn.Module], Measured]


class Penalty(Protocol):
    """Something that is added to the loss of every step, and depends on the weights alone."""

    @property
    def name(self) -> str: ...

    def add_gradients(self) -> float:
        """Add its gradient to those of the parameters; returns its value."""


@dataclass(frozen=True)
class LoopConfig:
    """`evaluate_every` and `checkpoint_every` count steps. `patience` 0 never stops early."""

    num_steps: int
    evaluate_every: int
    checkpoint_every: int
    clip_norm: float
    patience: int = 0
    compute_dtype: torch.dtype = torch.float32


@dataclass
class Progress:
    """What the loop must remember beyond weights, optimizers and random state; saved with every checkpoint."""

    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0
    best_validation_loss: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0


@dataclass(frozen=True)
class LoopResult:
    """How the loop ended: `finished`, `stopped early` or `interrupted`, after `num_steps` steps."""

    outcome: Literal["finished", "stopped early", "interrupted"]
    num_steps: int
    progress: Progress
    last_loss: float | None


def train(
    learner: Learner,
    objective: Objective,
    batches: Batches,
    optimizers: Sequence[Optimizer],
    schedule: Schedule,
    config: LoopConfig,
    *,
    store: CheckpointStore,
    tracker: Tracker,
    validation: Callable[[], Sequence[Batch]] | None = None,
    evaluators: Sequence[Evaluator] = (),
    average: WeightAverage | None = None,
    gradient_noise: GradientNoise | None = None,
    penalty: Penalty | None = None,
    row_losses: RowLosses | None = None,
    resume: bool = False,
    notes: Sequence[str] = (),
) -> LoopResult:
    """Train for `config.num_steps` steps; the model holds the last weights afterwards.

    With an `average`, it is the average that is evaluated and kept as the best, and what the model holds afterwards
    (unless interrupted). A `penalty` is told beside the loss, not in it; `row_losses` keeps the loss of each row.
    `notes` are told to the tracker at the start. With `resume`, continues from the newest whole checkpoint of `store`:
    the curve is the one of a run that was never stopped. Raises TrainingError where loss or
    gradient is not finite (the weights are not moved and the rows are named), CheckpointError where a checkpoint
    cannot be written.
    """
    model, done, progress = learner.model, 0, Progress()
    states = [*optimizers, average] if average else list(optimizers)
    said = list(notes)  # a tracker is told nothing before its start
    if resume:
        if restored := store.load_latest(model, states, said.append):
            done, progress = restored[0], Progress(**restored[1])
        if problem := store.mend_best(progress.best_step):
            said.append(f"the best weights so far are gone ({problem}); the best from here on are kept")
            progress.best_validation_loss = progress.best_step = None
    tracker.start(config.num_steps, done)
    if row_losses:
        row_losses.start(done)
    for text in said:
        tracker.message(text)
    parameters = [p for p in model.parameters() if p.requires_grad]
    outcome: Literal["finished", "stopped early", "interrupted"] = "finished"
    loss: float | None = None
    saved = done
    watch = SpikeWatch()

    def save() -> None:
        nonlocal saved
        path = store.save(done, model, states, vars(progress))
        tracker.checkpoint(Checkpoint(done, path.name))
        saved = done

    def evaluate() -> None:
        told = Averages()
        validation_loss = mean_loss(learner, objective, validation(), config, told) if validation else None
        model.eval()
        found = [evaluator(model) for evaluator in evaluators]
        model.train()
        metrics = {f"validation_{name}": value for name, value in told.means().items()}
        metrics |= {name: value for one in found for name, value in one.metrics.items()}
        samples = [sample for one in found for sample in one.samples]
        tracker.evaluation(Evaluation(done, validation_loss, metrics, samples))
        if validation_loss is None:
            return
        best = progress.best_validation_loss
        if math.isfinite(validation_loss) and (best is None or validation_loss < best):
            progress.best_validation_loss, progress.best_step = validation_loss, done
            progress.evaluations_without_gain = 0
            store.save_best(model, {"step": done, "validation_loss": validation_loss, "metrics": metrics})
            tracker.checkpoint(Checkpoint(done, "best", kind="best"))
        else:
            progress.evaluations_without_gain += 1

    def out_of_patience() -> bool:
        return bool(config.patience) and progress.evaluations_without_gain >= config.patience

    model.train()
    if out_of_patience():  # the run that is resumed had stopped early already
        outcome = "stopped early"
    with stop_signal() as stop_asked:
        while outcome == "finished" and done < config.num_steps:
            started = time.perf_counter()
            step_batches = batches.step(done)
            told = Averages()
            loss, grad_norm = forward_backward(
                learner, objective, step_batches, parameters, config, told, penalty, row_losses
            )
            if not (math.isfinite(loss) and math.isfinite(grad_norm)):
                rate = optimizers[0].param_groups[0]["base_learning_rate"] * schedule(done)
                raise not_finite(
                    done + 1, loss, grad_norm, step_batches, watch, rate, model, config.compute_dtype
                )
            if gradient_noise:  # after the clipping, which would take it for gradient
                gradient_noise.add(done, parameters)
            learning_rate = set_learning_rate(optimizers, schedule(done))
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            if average:
                average.step()
            done += 1
            seconds = time.perf_counter() - started
            num_tokens = sum(batch.num_tokens for batch in step_batches)
            progress.tokens += num_tokens
            progress.supervised_tokens += sum(batch.num_supervised for batch in step_batches)
            progress.seconds += seconds
            tracker.step(
                Step(
                    step=done,
                    epoch=done / batches.steps_per_epoch,
                    loss=loss,
                    learning_rate=learning_rate,
                    grad_norm=grad_norm,
                    tokens=progress.tokens,
                    supervised_tokens=progress.supervised_tokens,
                    tokens_per_second=num_tokens / seconds,
                    peak_memory_bytes=peak_memory_bytes(),
                    seconds=progress.seconds,
                    metrics=told.means(),
                )
            )
            if row_losses:
                row_losses.step(done, done / batches.steps_per_epoch)
            typical = watch.typical
            if score := watch.see(loss):
                tracker.spike(Spike(done, loss, typical, score, places_of(step_batches)))
            if done % config.evaluate_every == 0 or done == config.num_steps:
                with average.in_place() if average else contextlib.nullcontext():
                    evaluate()
                if out_of_patience():
                    outcome = "stopped early"
                    break
            if stop_asked.is_set() and done < config.num_steps:
                outcome = "interrupted"
                break
            if done % config.checkpoint_every == 0:
                save()
        if saved != done:
            save()
    if average and outcome != "interrupted":
        average.swap()
    return LoopResult(outcome, done, progress, loss)


def forward_backward(
    learner: Learner,
    objective: Objective,
    step_batches: Sequence[Batch],
    parameters: Sequence[nn.Parameter],
    config: LoopConfig,
    told: Averages | None = None,
    penalty: Penalty | None = None,
    row_losses: RowLosses | None = None,
) -> tuple[float, float]:
    """Gradients of the step's mean loss per unit of weight; returns that loss and the norm before clipping.

    What the objective and the penalty tell beside the loss is added to `told`.
    """
    weight_sum = sum(batch.weight_sum for batch in step_batches)
    if weight_sum == 0:
        return math.nan, math.nan  # a mean over nothing; the caller says so
    baseline = _baseline(learner, objective, step_batches, config)
    if learner.experts:
        learner.experts.forget()
    loss = 0.0
    for batch in step_batches:
        with learner.laid_out(
            batch
        ):  # through the backward pass: checkpointed layers are computed again in it
            with precision(learner.device, config.compute_dtype):
                outputs, targets = learner.outputs(batch)
                sums = objective.loss(outputs, replace(targets, baseline=baseline))
                part = sums.loss_sum / weight_sum
            part.backward()  # type: ignore[no-untyped-call]
        loss += float(part.detach())
        if told is not None:
            told.add(sums.metrics)
        if row_losses is not None:
            row_losses.see(batch, sums)
    if learner.experts and told is not None:
        told.add(learner.experts.metrics())
    if penalty is not None:
        value = penalty.add_gradients()
        if told is not None:
            told.add({penalty.name: (value, 1.0)})
    grad_norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
    return loss, float(grad_norm)


@torch.no_grad()
def _baseline(learner: Learner, objective: Objective, batches: Sequence[Batch], config: LoopConfig) -> float:
    """The mean of what the objective measures over the rows beside all of `batches`, without dropout."""
    if objective.baseline is None:
        return 0.0
    total = count = 0.0
    training = learner.model.training
    learner.model.eval()
    try:
        for batch in batches:
            assert batch.beside is not None, "this objective measures rows beside those that it learns"
            with learner.laid_out(batch.beside), precision(learner.device, config.compute_dtype):
                value, number = objective.baseline(*learner.outputs(batch.beside))
            total, count = total + value, count + number
    finally:
        learner.model.train(training)
    return total / count


@torch.no_grad()
def mean_loss(
    learner: Learner,
    objective: Objective,
    batches: Sequence[Batch],
    config: LoopConfig,
    told: Averages | None = None,
) -> float:
    """The loss per unit of weight over all of `batches`, without dropout."""
    learner.model.eval()
    loss_sum = weight_sum = 0.0
    try:
        baseline = _baseline(learner, objective, batches, config)
        if learner.experts:
            learner.experts.forget()
        for batch in batches:
            with learner.laid_out(batch), precision(learner.device, config.compute_dtype):
                outputs, targets = learner.outputs(batch)
                sums = objective.loss(outputs, replace(targets, baseline=baseline))
            loss_sum += float(sums.loss_sum)
            if told is not None:
                told.add(sums.metrics)
            weight_sum += batch.weight_sum
        if learner.experts and told is not None:
            told.add(learner.experts.metrics())
    finally:
        learner.model.train()
    return loss_sum / weight_sum
