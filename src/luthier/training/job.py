"""From a recipe to a finished run: the one place where the parts of training are put together.

    plan_job      recipe layers -> rows of tokens, every value resolved, nothing written yet
    run_job       a plan and a run folder -> weights, metrics, report, status word

This file knows nothing of screens, tasks or exports: trackers and evaluators are handed in.
"""

import functools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from luthier.chat.render import Renderer
from luthier.config import Layer
from luthier.data.batches import Batch, BatchPlan, Cut
from luthier.data.dataset import TokenDataset
from luthier.data.targets import with_soft_labels
from luthier.data.token_store import TokenStore, default_token_store
from luthier.errors import CheckpointError, ConfigError, LuthierError
from luthier.files import write_json_atomic
from luthier.models.embedded import EMBEDDED
from luthier.models.experts import ExpertLoad, balance_note, expert_load
from luthier.models.fresh import new_model
from luthier.models.hardware import choose_dtype
from luthier.models.load import (
    DTYPES,
    Source,
    find_device,
    find_model,
    load_tokenizer,
    load_weights,
    stored_dtype,
)
from luthier.models.methods import apply_method, count_parameters, save_trained
from luthier.models.reward import choose_pad, is_scorer, load_scorer, parts_of, train_head
from luthier.models.stream import load_crown
from luthier.registry.runs import Run, RunStatus
from luthier.training.average import WeightAverage
from luthier.training.checkpoint import CheckpointStore
from luthier.training.gradient_noise import GradientNoise
from luthier.training.learner import Learner, choose_cut
from luthier.training.loop import Evaluator, LoopConfig, LoopResult, train
from luthier.training.manifest import data_files, data_manifest
from luthier.training.method_config import base_quantization
from luthier.training.neftune import EmbeddingNoise
from luthier.training.objectives import Objective, make_objective
from luthier.training.open_trunk import TrunkRequest, no_bar, open_trunk
from luthier.training.optim import build_optimizers, build_schedule
from luthier.training.positions import check_length
from luthier.training.prepare import prepare
from luthier.training.recipe import (
    FEW_ROWS,
    FEW_ROWS_DEFAULTS,
    Recipe,
    Resolved,
    resolve,
)
from luthier.training.report import write_report
from luthier.training.row_losses import FILE, RowLosses
from luthier.training.rows import read_general_rows
from luthier.training.streamed import crown_learner
from luthier.training.teacher import check_teacher
from luthier.training.template import choose_template
from luthier.training.tokens import Tokens, read_tokens
from luthier.training.tracking import End, EndWord, Tracker
from luthier.training.trunk import Bar, rows_to_read

_CHECKPOINT_STEPS = 200  # where the recipe does not say: at least this often, so that little is lost


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs, known before the first step and before anything is written."""

    resolved: Resolved
    tokenizer: Any
    renderer: Renderer
    source: Source | None
    train_rows: TokenDataset
    validation_rows: TokenDataset | None
    data_manifest: list[dict[str, Any]]
    num_steps: int
    device: torch.device
    compute_dtype: torch.dtype
    dtype_reason: str
    token_store: str | None = None
    """What became of the rows in the store of tokens, for people; None where they are too few to be kept."""
    general_rows: TokenDataset | None = None

    @property
    def recipe(self) -> Recipe:
        return self.resolved.recipe

    @property
    def dtype_name(self) -> str:
        return str(self.compute_dtype).removeprefix("torch.")

    @property
    def batches(self) -> BatchPlan:
        train_config = self.recipe.train
        return BatchPlan(
            self.train_rows, train_config.batch_size, train_config.tokens_per_microbatch, train_config.seed
        )


@dataclass(frozen=True)
class JobResult:
    """A finished run: how its loop ended, what was trained, and where the model lies."""

    loop: LoopResult
    trainable_parameters: int
    all_parameters: int
    model_folder: Path
    report: Path


def plan_job(layers: Sequence[Layer], *, where: str = "recipe", assumed: TokenDataset | None = None) -> Plan:
    """Read and render the data, and resolve every value of the recipe.

    `assumed`: rows to take instead of the recipe's, whose files are then not read. Raises ConfigError, DataError
    (with file and line), TemplateError or ModelError.
    """
    first = resolve(layers, implied=_implied_by_model(layers, where), where=where).recipe
    source = find_model(first.model.name) if first.model.name is not None else None
    tokenizer = load_tokenizer(source.tokenizer_place if source else str(first.model.tokenizer))
    choose_template(tokenizer, first.model)
    renderer = Renderer(tokenizer)
    check_length(first, source)

    objective = make_objective(first.objective)
    files = data_files(first) if assumed is None else []
    if assumed is None:
        tokens = read_tokens(first, files, objective, renderer, tokenizer, TokenStore(default_token_store()))
    else:
        tokens = Tokens(assumed, None, {})
    train_rows, validation_rows = tokens.train, tokens.validation
    implied = list(_implied_by_model(layers, where))
    if train_rows.num_units < FEW_ROWS:
        implied.append(Layer(f"default under {FEW_ROWS} rows", FEW_ROWS_DEFAULTS))
    resolved = resolve(layers, implied=implied, where=where)
    recipe = resolved.recipe
    if objective.teacher is not None:
        check_teacher(objective.teacher, tokenizer)

    device = find_device(recipe.train.device)
    if recipe.train.dtype == "auto":
        choice = choose_dtype(device)
        compute_dtype, reason = choice.dtype, choice.reason
    else:
        compute_dtype, reason = DTYPES[recipe.train.dtype], resolved.sources["train.dtype"]
    steps_per_epoch = math.ceil(train_rows.num_units / recipe.train.batch_size)
    num_steps = max(1, round(steps_per_epoch * recipe.train.epochs))
    if recipe.train.max_steps is not None:
        num_steps = min(num_steps, recipe.train.max_steps)
    return Plan(
        resolved,
        tokenizer,
        renderer,
        source,
        train_rows,
        validation_rows,
        data_manifest(files, train_rows, validation_rows, tokens.num_rows),
        num_steps,
        device,
        compute_dtype,
        reason,
        tokens.said,
        read_general_rows(recipe, renderer, tokenizer),
    )


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
        learner = _learner(plan, model)
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
            result = train(
                learner,
                objective,
                replace(plan.batches, cut=cut),
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


def resolve_for_model(layers: Sequence[Layer], *, where: str = "recipe") -> Recipe:
    """The recipe as far as it follows from the model, without a look at rows or weights. Raises ConfigError."""
    return resolve(layers, implied=_implied_by_model(layers, where), where=where).recipe


def _implied_by_model(layers: Sequence[Layer], where: str) -> list[Layer]:
    name = resolve([*layers], implied=[Layer("", {"model": {}})], where=where).recipe.model.name
    if name in EMBEDDED and EMBEDDED[name].training_defaults:
        return [Layer(f"default for {name}", EMBEDDED[name].training_defaults)]
    return []


def model_to_train(plan: Plan) -> Any:
    """The model of a plan with its method applied, on its device. First weights come from torch's random state."""
    recipe = plan.recipe
    exact = plan.compute_dtype == torch.float64
    master_dtype = torch.float64 if exact else torch.float32
    if recipe.model.new is not None:
        model = new_model(recipe.model.new, plan.tokenizer)
    else:
        assert plan.source is not None
        if plan.source.adapter is not None:
            raise ConfigError(
                f"{plan.source.name} is an adapter; train on its base, or merge it first (luthier export)"
            )
        model = _load(plan, plan.source)
    model = apply_method(model, recipe.method, recipe.model.name or "", master_dtype)
    if is_scorer(model):
        choose_pad(model, plan.tokenizer)
        train_head(model, master_dtype)
    if recipe.train.gradient_checkpointing:
        # Not reentrant: gradients need no input that requires them, so frozen lower layers cost no backward.
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model if recipe.model.stream else model.to(plan.device)


def _load(plan: Plan, source: Source) -> Any:
    """The weights that a run begins with: all of them, the crown alone, or with a head that scores."""
    recipe = plan.recipe
    if recipe.model.stream:
        num_layers = int(getattr(recipe.method, "num_layers", 0))
        return load_crown(source.base, num_layers, plan.compute_dtype, plan.device)
    if make_objective(recipe.objective).scores:
        return load_scorer(source.base, plan.compute_dtype)
    return load_weights(
        source.base,
        plan.compute_dtype,
        rope_scaling=recipe.model.rope_scaling,
        quantization=base_quantization(recipe.method),
        device=plan.device,
    )


def _learner(plan: Plan, model: Any) -> Learner:
    noise = _noise(model, plan.recipe)
    if plan.recipe.model.stream:
        return replace(crown_learner(model, plan.device), noise=noise)
    return Learner(model, parts_of(model), plan.device, noise, experts=expert_load(model))


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


def _noise(model: Any, recipe: Recipe) -> EmbeddingNoise | None:
    alpha = recipe.train.neftune_alpha
    return EmbeddingNoise(model.get_input_embeddings(), alpha) if alpha is not None else None


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


def describe(plan: Plan) -> list[tuple[str, str, str]]:
    """Every value of the run with where it came from: (dotted key, value as JSON, source)."""
    values = plan.recipe.model_dump(mode="json", exclude_none=True)

    def leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix.rstrip("."), node

    return [
        (key, json.dumps(value), plan.resolved.sources.get(key, "default"))
        for key, value in leaves(values, "")
    ]
