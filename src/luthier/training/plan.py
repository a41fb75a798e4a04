"""From a recipe to a plan: rows of tokens, every value resolved, nothing written yet.

Knows nothing of weights and steps.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier.chat.render import Renderer
from luthier.config import Layer
from luthier.data.batches import BatchPlan
from luthier.data.dataset import TokenDataset
from luthier.data.token_store import TokenStore, default_token_store
from luthier.models.embedded import EMBEDDED
from luthier.models.hardware import choose_dtype
from luthier.models.load import (
    DTYPES,
    Source,
    find_device,
    find_model,
    load_tokenizer,
)
from luthier.training.manifest import data_files, data_manifest
from luthier.training.objectives import make_objective
from luthier.training.positions import check_length
from luthier.training.recipe import (
    FEW_ROWS,
    FEW_ROWS_DEFAULTS,
    Recipe,
    Resolved,
    resolve,
)
from luthier.training.rows import read_general_rows
from luthier.training.teacher import check_teacher
from luthier.training.template import choose_template
from luthier.training.tokens import Tokens, read_tokens


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


def resolve_for_model(layers: Sequence[Layer], *, where: str = "recipe") -> Recipe:
    """The recipe as far as it follows from the model, without a look at rows or weights. Raises ConfigError."""
    return resolve(layers, implied=_implied_by_model(layers, where), where=where).recipe


def _implied_by_model(layers: Sequence[Layer], where: str) -> list[Layer]:
    name = resolve([*layers], implied=[Layer("", {"model": {}})], where=where).recipe.model.name
    if name in EMBEDDED and EMBEDDED[name].training_defaults:
        return [Layer(f"default for {name}", EMBEDDED[name].training_defaults)]
    return []


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
