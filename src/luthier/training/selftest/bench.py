"""What every test of the selftest stands on: the plan, a few of its rows, short runs in a temporary folder.

A short run is `run_job` itself with fewer rows and steps, in a real run folder. Knows nothing of what is tested.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from luthier.chat.messages import Conversation
from luthier.data.dataset import TokenDataset
from luthier.data.units import Units
from luthier.errors import ConfigError
from luthier.models.load import LoadedModel, load_model, load_weights
from luthier.models.methods import count_parameters
from luthier.models.quantized import Quantization
from luthier.registry.runs import Run, create_run
from luthier.training.checkpoint import CheckpointStore
from luthier.training.job import run_job
from luthier.training.method_config import PissaMethod, QloraMethod, base_quantization
from luthier.training.objectives import make_objective
from luthier.training.plan import Plan
from luthier.training.recipe import Resolved
from luthier.training.rows import training_conversations
from luthier.training.starting import model_to_train
from luthier.training.tracking import Checkpoint, End, Evaluation, Spike, Step

_MAX_ROWS = 8
_MAX_TOKENS = 2048
_FLOAT64_PARAMETERS = 20_000_000  # up to here float64 takes seconds


class Word(StrEnum):
    """How a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Skip(Exception):
    """A test that has nothing to test here; the message says why."""


@dataclass(frozen=True)
class Proof:
    """What a test found. `why`: a sentence; `numbers`: its evidence; `picture`: texts of a row, and are they learnt?"""

    word: Word
    why: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    picture: Sequence[tuple[str, bool]] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class ChatRow:
    """A row of tokens and the conversation that it was rendered from."""

    index: int
    place: str
    conversation: Conversation


@dataclass(frozen=True)
class Bench:
    """`rows`: a few of the training rows. `folder`: temporary, for runs."""

    plan: Plan
    folder: Path
    rows: TokenDataset

    @cached_property
    def chat_rows(self) -> list[ChatRow]:
        """The conversations of those rows that are one whole rendering. Raises Skip where no row is one."""
        objective = make_objective(self.plan.recipe.objective)
        if objective.rows not in ("chat", "text"):
            raise Skip(
                f"{objective.name} learns by comparing answers, not from turns that are learnt word by word"
            )
        places = list(self.rows.places)
        found = {}
        for place, conversation in training_conversations(self.plan.recipe):
            if place in places and place not in found:
                found[place] = conversation
        # A conversation over the limit was cut, and one of several renderings has its turns in several rows.
        limit = self.plan.recipe.data.max_length
        renderings = {place: self.plan.renderer.render(one) for place, one in found.items()}
        whole = {p for p, made in renderings.items() if len(made) == 1 and len(made[0].token_ids) <= limit}
        chat = [ChatRow(i, place, found[place]) for i, place in enumerate(places) if place in whole]
        if not chat:
            raise Skip("none of the first rows is a conversation that stands whole in one row")
        return chat

    @cached_property
    def exact_dtype(self) -> torch.dtype:
        """float64 where the model is small enough, else float32, which is also PiSSA's and QLoRA's finest."""
        if isinstance(self.plan.recipe.method, PissaMethod | QloraMethod):
            return torch.float32
        num_parameters = count_parameters(self.new_model(torch.float32))[1]
        return torch.float64 if num_parameters <= _FLOAT64_PARAMETERS else torch.float32

    def new_model(self, dtype: torch.dtype) -> Any:
        """The model of a run before its first step, in `dtype`, without dropout."""
        torch.manual_seed(self.plan.recipe.train.seed)
        return model_to_train(replace(self.plan, compute_dtype=dtype)).eval()

    def base_model(self, dtype: torch.dtype) -> Any:
        """What the run starts from, as it lies on the disk. Raises Skip where the model is a new one."""
        if self.plan.source is None:
            raise Skip("the model is a new one: there is no base to compare it with")
        model = load_weights(
            self.plan.source.base,
            dtype,
            rope_scaling=self.plan.recipe.model.rope_scaling,
            quantization=self._quantization,
            device=self.plan.device,
        )
        return (model if self._quantization else model.to(self.plan.device)).eval()

    @property
    def _quantization(self) -> Quantization | None:
        return base_quantization(self.plan.recipe.method)

    def short(
        self,
        num_steps: int,
        *,
        rows: TokenDataset | None = None,
        batch_size: int = 4,
        seed: int | None = None,
        checkpoint_every: int = 2,
        optim: Mapping[str, Any] | None = None,
        train: Mapping[str, Any] | None = None,
    ) -> Plan:
        """The plan with few rows and steps; everything else is the user's."""
        recipe, rows = self.plan.recipe, rows or self.rows
        counts = {"batch_size": batch_size, "max_steps": num_steps, "epochs": float(num_steps)}
        changed: dict[str, Any] = {**counts, "trunk_cache": str(self.folder / "trunk"), **(train or {})}
        if seed is not None:
            changed["seed"] = seed
        recipe = recipe.model_copy(
            update={
                "train": recipe.train.model_copy(update=changed),
                "optim": recipe.optim.model_copy(update=dict(optim or {})),
                "evaluation": recipe.evaluation.model_copy(update={"per_epoch": 0.0, "patience": 0}),
                "checkpoint": recipe.checkpoint.model_copy(
                    update={"every_steps": checkpoint_every, "keep": 1}
                ),
            }
        )
        resolved = Resolved(recipe, self.plan.resolved.sources)
        return replace(
            self.plan, resolved=resolved, train_rows=rows, validation_rows=None, num_steps=num_steps
        )

    def train(self, plan: Plan, name: str, *, stop_in_step: int | None = None) -> "Trained":
        """Run the plan in a new run folder; with `stop_in_step` it dies in that step, and is resumed."""
        run = create_run(self.folder / name, recipe_yaml="{}", data_manifest=[], overwrite=True)
        heard = _Heard(stop_in_step)
        models: list[Any] = []

        def keep_model(model: Any) -> Sequence[Any]:
            models.append(model)
            return ()

        try:
            run_job(plan, run, tracker=heard, evaluators=keep_model)
        except _Died:
            heard = _Heard(None, heard.losses)
            run_job(plan, run, tracker=heard, evaluators=keep_model, resume=True)
        return Trained(run, models[-1], heard.losses, heard.first_step, self._quantization)


@dataclass(frozen=True)
class Trained:
    """A short run that ended: its folder, the model in memory, the loss of each step, where it was taken up.

    quantization: how it held its base, so that what is loaded can be compared with what was trained.
    """

    run: Run
    model: Any
    losses: Mapping[int, float]
    first_step: int
    quantization: Quantization | None = None

    def weights(self) -> dict[str, Tensor]:
        """The trained weights of the last checkpoint, in full precision."""
        last = CheckpointStore(self.run.checkpoints_folder).list()[-1]
        weights: dict[str, Tensor] = load_file(last / "weights.safetensors")
        return weights

    def load(self, dtype: torch.dtype, device: torch.device) -> LoadedModel:
        """The model that the run saved, through the loader that everyone else uses."""
        name = str(dtype).removeprefix("torch.")
        folder = str(self.run.model_folder)
        return load_model(folder, dtype=name, device=str(device), quantization=self.quantization)


class _Died(Exception):
    """Stands for `kill -9` in a test of resuming."""


class _Heard:
    """A tracker that keeps the losses, and dies in one step if asked to."""

    def __init__(self, dies_in: int | None, losses: Mapping[int, float] | None = None) -> None:
        self.dies_in, self.losses, self.first_step = dies_in, dict(losses or {}), 0

    def start(self, total_steps: int, first_step: int = 0) -> None:
        self.first_step = first_step

    def step(self, event: Step) -> None:
        if event.step == self.dies_in:
            raise _Died  # the weights have moved, no checkpoint knows of it
        self.losses[event.step] = event.loss

    def spike(self, event: Spike) -> None:
        """Few steps, no spikes."""

    def evaluation(self, event: Evaluation) -> None:
        """Nothing is evaluated."""

    def checkpoint(self, event: Checkpoint) -> None:
        """They are found on the disk."""

    def message(self, text: str) -> None:
        """Nobody reads them here."""

    def close(self, event: End) -> None:
        """Nothing was opened."""


def open_bench(plan: Plan, folder: Path) -> Bench:
    """Choose the rows: those of the first steps, at most 8 and about 2000 tokens of them."""
    if plan.source is not None and plan.source.adapter is not None:
        raise ConfigError(
            f"{plan.source.name} is an adapter; test its base, or merge it first (luthier export)"
        )
    if plan.recipe.objective.name == "reward":
        raise ConfigError(
            "the selftest reads what a model writes, and a reward model writes nothing: test these rows with "
            "objective=dpo"
        )
    plan = _whole(plan)
    lengths, total = plan.train_rows.lengths(), 0
    chosen: list[int] = []
    for step in range(plan.batches.steps_per_epoch):
        for unit in dict.fromkeys(plan.train_rows.units_of_rows(plan.batches.rows_of_step(step))):
            rows = plan.train_rows.rows_of_units([unit])
            size = int(lengths[rows].sum())
            if len(chosen) < _MAX_ROWS and (not chosen or total + size <= _MAX_TOKENS):
                chosen += rows
                total += size
        if len(chosen) >= _MAX_ROWS or step > _MAX_ROWS:
            break
    return Bench(plan, folder, take(plan.train_rows, sorted(chosen)))


def _whole(plan: Plan) -> Plan:
    """The plan with all layers loaded: what is tested here is tested against the whole model."""
    model = plan.recipe.model.model_copy(update={"stream": False})
    recipe = plan.recipe.model_copy(update={"model": model})
    return replace(plan, resolved=Resolved(recipe, plan.resolved.sources))


def take(rows: TokenDataset, indices: Sequence[int]) -> TokenDataset:
    """Some rows as a dataset of their own; with units, all rows of theirs."""
    units = sorted(set(rows.units_of_rows(indices)))
    members, beside = None, None
    if rows.units is not None:
        indices = rows.rows_of_units(units)
        sizes = [len(rows.rows_of_units([unit])) for unit in units]
        reference = rows.units.reference_R
        members = Units(
            np.cumsum([0, *sizes]).astype(np.int64),
            rows.units.roles_R[indices],
            None if reference is None else reference[indices],
        )
        if rows.beside is not None:
            beside = take(rows.beside, rows.beside.rows_of_units(units))
    parts = [rows.row(index) for index in indices]
    return TokenDataset(
        np.concatenate([ids for ids, _ in parts]),
        np.concatenate([weights for _, weights in parts]),
        np.cumsum([0, *(len(ids) for ids, _ in parts)]).astype(np.int64),
        [rows.places[index] for index in indices],
        units=members,
        beside=beside,
    )
