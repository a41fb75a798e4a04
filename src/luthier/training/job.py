"""From a plan to a finished run: the one place where the parts of training are put together.

    run_job       a plan and a run folder -> weights, metrics, report, status word

This file knows nothing of screens, tasks or exports: trackers and evaluators are handed in.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from luthier.data.batches import Batch, Cut
from luthier.data.dataset import TokenDataset
from luthier.data.targets import with_soft_labels
from luthier.errors import CheckpointError, LuthierError
from luthier.files import write_json_atomic
from luthier.models.experts import ExpertLoad, balance_note
from luthier.models.load import (
    stored_dtype,
)
from luthier.models.methods import count_parameters, save_trained
from luthier.registry.runs import Run, RunStatus
from luthier.training.average import WeightAverage
from luthier.training.checkpoint import CheckpointStore
from luthier.training.gradient_noise import GradientNoise
from luthier.training.learner import choose_cut
from luthier.training.loop import Evaluator, LoopConfig, LoopResult, train
from luthier.training.objectives import Objective, make_objective
from luthier.training.open_trunk import TrunkRequest, no_bar, open_trunk
from luthier.training.optim import build_optimizers, build_schedule
from luthier.training.plan import Plan
from luthier.training.prepare import prepare
from luthier.training.recipe import (
    Recipe,
)
from luthier.training.rehearsal import rehearse
from luthier.training.report import write_report
from luthier.training.row_history import FILE
from luthier.training.row_losses import RowLosses
from luthier.training.starting import learner_of, model_to_train
from luthier.training.tracking import End, EndWord, Tracker
from luthier.training.trunk import Bar, rows_to_read

_CHECKPOINT_STEPS = 200  # where the recipe does not say: at least this often, so that little is lost


@dataclass(frozen=True)
class JobResult:
    """A finished run: how its loop ended, what was trained, and where the model lies."""

    loop: LoopResult
    trainable_parameters: int
    all_parameters: int
    model_folder: Path
    report: Path


def run_job(
    plan: Plan,
    run: Run,
    *,
    tracker: Tracker,
    evaluators: Callable[[Any], Sequence[Evaluator]] | None = None,
    bar: Bar = no_bar,
    resume: bool = False,
) -> JobResult:
    """Train the plan into the run folder. `evaluators` makes them from the model that will train; `bar` shows what is
    computed before the first step (see trunk.Bar).

    The status word of the run is always true afterwards: finished, interrupted or failed (with the reason);
    errors of the loop are raised again. The weights that are saved are the best ones by validation loss,
    or the last ones where nothing was held out. Raises RunError where another process trains this run.
    """
    with run.locked():
        return _run_locked(plan, run, tracker, evaluators, bar, resume)


def _run_locked(
    plan: Plan,
    run: Run,
    tracker: Tracker,
    evaluators: Callable[[Any], Sequence[Evaluator]] | None,
    bar: Bar,
    resume: bool,
) -> JobResult:
    recipe = plan.recipe
    run.set_status(RunStatus.RUNNING)
    end = End(step=0, status="failed", reason="stopped before the first step")
    try:
        torch.manual_seed(recipe.train.seed)  # before the adapter draws its first weights
        model = model_to_train(plan)
        learner = learner_of(plan, model)
        cut, notes = choose_cut(learner, recipe.train.packing)
        notes += balance_note(model, learner.experts)
        objective = make_objective(recipe.objective)
        request = _trunk_request(plan, cut, objective, bar)
        with open_trunk(learner, request) as (learner, said):
            prepared = prepare(
                recipe,
                objective,
                learner,
                _datasets(plan),
                plan.general_rows,
                cut,
                plan.compute_dtype,
                run.folder,
                bar,
            )
            known = prepared.datasets
            plan = replace(plan, train_rows=known["train"], validation_rows=known.get("validation"))
            cut = with_soft_labels(cut)
            optimizers = build_optimizers(model.named_parameters(), recipe.optim)
            store = CheckpointStore(run.checkpoints_folder, recipe.checkpoint.keep)
            batches = replace(plan.batches, cut=cut)
            if not resume:
                rehearse(learner, objective, batches, plan.num_steps, _loop_config(plan))
            result = train(
                learner,
                objective,
                batches,
                optimizers,
                build_schedule(recipe.optim, plan.num_steps),
                _loop_config(plan),
                store=store,
                tracker=tracker,
                validation=_validation(plan, cut),
                evaluators=evaluators(model) if evaluators else (),
                average=_average(model, recipe),
                gradient_noise=_gradient_noise(recipe),
                penalty=prepared.penalty,
                row_losses=RowLosses(run.folder / FILE) if recipe.train.per_row_losses else None,
                resume=resume,
                notes=[*notes, *said, *prepared.notes],
            )
        end = _end(result)
        if result.outcome != "interrupted":
            store.load_best(model)
            _save(model, plan, run, learner.experts)
        trainable, total = count_parameters(model)
    except BaseException as error:
        word: EndWord = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        end = End(step=end.step, status=word, reason=_reason(error))
        raise
    finally:
        try:
            tracker.close(end)
        finally:  # a tracker that cannot write must not keep the status word from being true
            run.set_status(end.status, end.reason)
    return JobResult(result, trainable, total, run.model_folder, write_report(run.folder))


def _save(model: Any, plan: Plan, run: Run, experts: ExpertLoad | None) -> None:
    try:
        if experts:
            write_json_atomic(run.folder / "experts.json", experts.table())
        save_trained(model, plan.tokenizer, run.model_folder, _save_dtype(plan))
    except (OSError, SafetensorError) as error:  # safetensors wraps the disk's refusal in its own error
        raise CheckpointError(
            f"cannot write the model {run.model_folder}: {error}. Free some space and resume: every step is kept"
        ) from error


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, LuthierError) else f"{type(error).__name__}: {error}"


def _end(result: LoopResult) -> End:
    progress = result.progress
    return End(
        step=result.num_steps,
        status="interrupted" if result.outcome == "interrupted" else "finished",
        best_step=progress.best_step,
        best_validation_loss=progress.best_validation_loss,
        reason=result.outcome if result.outcome == "stopped early" else None,
        seconds=progress.seconds,
    )


def _trunk_request(plan: Plan, cut: Cut, objective: Objective, bar: Bar) -> TrunkRequest:
    """The rows are those of the steps that will be taken; all of them where references are made."""
    used: Sequence[int] = range(plan.train_rows.num_rows)
    if plan.num_steps < plan.batches.steps_per_epoch and not objective.needs_reference:
        used = sorted(index for step in range(plan.num_steps) for index in plan.batches.rows_of_step(step))
    rows = rows_to_read(plan.train_rows, used, plan.validation_rows)
    return TrunkRequest(plan.recipe.train, rows, cut, plan.compute_dtype, plan.recipe.model.name or "", bar)


def _datasets(plan: Plan) -> dict[str, TokenDataset]:
    held_out = {} if plan.validation_rows is None else {"validation": plan.validation_rows}
    return {"train": plan.train_rows, **held_out}


def _gradient_noise(recipe: Recipe) -> GradientNoise | None:
    eta = recipe.train.gradient_noise
    return GradientNoise(eta, recipe.train.seed) if eta is not None else None


def _average(model: Any, recipe: Recipe) -> WeightAverage | None:
    decay = recipe.train.ema_decay
    return (
        WeightAverage((p for p in model.parameters() if p.requires_grad), decay)
        if decay is not None
        else None
    )


def _loop_config(plan: Plan) -> LoopConfig:
    recipe, steps_per_epoch = plan.recipe, plan.batches.steps_per_epoch
    per_epoch = recipe.evaluation.per_epoch
    evaluate_every = max(1, round(steps_per_epoch / per_epoch)) if per_epoch else plan.num_steps + 1
    return LoopConfig(
        num_steps=plan.num_steps,
        evaluate_every=evaluate_every,
        checkpoint_every=recipe.checkpoint.every_steps or min(evaluate_every, _CHECKPOINT_STEPS),
        clip_norm=recipe.optim.clip_norm,
        patience=recipe.evaluation.patience,
        compute_dtype=plan.compute_dtype,
    )


def _validation(plan: Plan, cut: Cut) -> Callable[[], Sequence[Batch]] | None:
    rows = plan.validation_rows
    if rows is None:
        return None
    return functools.cache(lambda: cut(rows, range(rows.num_rows), plan.recipe.train.tokens_per_microbatch))


def _save_dtype(plan: Plan) -> torch.dtype:
    """Whole models are saved in the dtype that their base was stored in; new ones in bfloat16."""
    if plan.recipe.model.new is not None:
        return torch.bfloat16
    assert plan.source is not None
    return stored_dtype(plan.source.base)
