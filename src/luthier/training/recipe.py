"""The recipe of a run: typed, frozen, one file that a person can write.

Values come in layers: the field's defaults, the defaults of the method, what the model or the data imply,
the defaults of the objective, the recipe file, the command line. `resolve` lays them over each other and keeps
where each came from.
This file knows nothing of torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from luthier.config import Config, Layer, build, merge_layers
from luthier.errors import ConfigError
from luthier.training.data_config import DataConfig as DataConfig
from luthier.training.method_config import MethodConfig, Positive, PrefixMethod, Share, method_defaults
from luthier.training.model_config import ModelConfig as ModelConfig
from luthier.training.model_config import NewModelConfig as NewModelConfig
from luthier.training.objective_config import (
    PREFERENCE_OBJECTIVES,
    DpoObjective,
    EwcConfig,
    ObjectiveConfig,
    RewardObjective,
    objective_defaults,
    refuse_with_reward,
)


class OptimConfig(Config):
    """How weights move. Shares are of all steps (`decay_share` of those after the warm-up); `final_share` is of the
    learning rate. `lora_plus_ratio`: how much faster the B matrices of adapters learn. `num_cycles` is of
    cosine_restarts, `power` of polynomial, `decay_share` of wsd.
    """

    name: Literal["adamw", "adamw_8bit", "paged_adamw", "muon", "lion", "adafactor"]
    learning_rate: Annotated[float, Field(gt=0)]
    lora_plus_ratio: Annotated[float, Field(gt=0)] | None = None
    schedule: Literal["cosine", "linear", "constant", "cosine_restarts", "polynomial", "wsd"]
    warmup_share: Share
    final_share: Share
    num_cycles: Positive
    power: Annotated[float, Field(gt=0)]
    decay_share: Share
    weight_decay: Annotated[float, Field(ge=0)]
    beta1: Share
    beta2: Share
    epsilon: Annotated[float, Field(gt=0)]
    momentum: Share
    clip_norm: Annotated[float, Field(gt=0)]


class TrainConfig(Config):
    """How much, in which pieces, in which precision. `max_steps` is a bound on what `epochs` asks for.

    `trunk`: are frozen lower layers computed once, and kept in `trunk_cache` (None: models.trunk_cache.default_cache)?
    """

    epochs: Annotated[float, Field(gt=0)]
    max_steps: Positive | None = None
    batch_size: Positive
    tokens_per_microbatch: Positive
    packing: Literal["auto", "forest", "padding"]
    dtype: Literal["auto", "float32", "bfloat16", "float64"]
    frozen_dtype: Literal["auto", "stored", "compute"]
    device: str
    gradient_checkpointing: bool
    trunk: Literal["auto", "on", "off"]
    trunk_cache: str | None = None
    trunk_cache_gb: Annotated[float, Field(gt=0)]
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    neftune_alpha: Annotated[float, Field(gt=0)] | None = None
    trackers: list[str] = Field(default_factory=list)
    gradient_noise: Annotated[float, Field(gt=0)] | None = None
    ewc: EwcConfig | None = None
    per_row_losses: bool
    seed: int


class EvaluationConfig(Config):
    """What is measured while training. `patience`: evaluations without a better loss before stopping, 0 = never."""

    per_epoch: Annotated[float, Field(ge=0)]
    items: str | None = None
    max_items: Positive
    max_new_tokens: Positive
    num_samples: Annotated[int, Field(ge=0)]
    patience: Annotated[int, Field(ge=0)]


class CheckpointConfig(Config):
    """Rolling checkpoints, the last `keep` of them: every `every_steps` steps, or else at each evaluation and
    at least every 200 steps."""

    every_steps: Positive | None = None
    keep: Positive


class Recipe(Config):
    """One run."""

    model: ModelConfig
    objective: ObjectiveConfig
    method: MethodConfig
    data: DataConfig
    optim: OptimConfig
    train: TrainConfig
    evaluation: EvaluationConfig
    checkpoint: CheckpointConfig

    @model_validator(mode="after")
    def _whole_if_new(self) -> "Recipe":
        if self.model.new is not None and self.method.name != "full":
            raise ValueError(
                f"a new architecture has random weights that {self.method.name} would freeze: set method=full"
            )
        return self

    @model_validator(mode="after")
    def _streams_what_is_frozen(self) -> "Recipe":
        if self.model.stream and (problem := cannot_stream(self)):
            raise ValueError(f"model.stream: {problem}")
        return self

    @model_validator(mode="after")
    def _keeps_what_stays(self) -> "Recipe":
        if self.train.frozen_dtype == "stored" and self.method.name in ("full", "pissa", "qlora"):
            raise ValueError(
                f"train.frozen_dtype: {self.method.name} keeps no weight as it is stored: leave it at auto"
            )
        return self

    @model_validator(mode="after")
    def _pairs_stay_whole(self) -> "Recipe":
        if self.objective.name in PREFERENCE_OBJECTIVES and self.data.too_long not in ("error", "drop"):
            raise ValueError(
                f"data.too_long: {self.objective.name} compares answers, and one that is cut says something else: "
                f"expected error or drop, got {self.data.too_long}"
            )
        return self

    @model_validator(mode="after")
    def _a_reward_model_scores(self) -> "Recipe":
        if isinstance(self.objective, RewardObjective):
            new, items, ewc = self.model.new, self.evaluation.items, self.train.ewc
            refuse_with_reward(new is not None, self.method.name, items is not None, ewc is not None)
            if self.model.rope_scaling is not None:
                raise ValueError("model.rope_scaling is not kept with a reward model: leave it out")
        return self

    @model_validator(mode="after")
    def _prefix_needs_its_past(self) -> "Recipe":
        if isinstance(self.method, PrefixMethod) and self.train.gradient_checkpointing:
            raise ValueError(
                "train.gradient_checkpointing cannot be used with prefix: layers that are computed again take no keys "
                "and values from before, so the prefix would be lost"
            )
        return self

    @model_validator(mode="after")
    def _virtual_tokens_are_padded(self) -> "Recipe":
        if self.method.name in ("prompt", "prefix") and self.train.packing == "forest":
            raise ValueError(
                f"train.packing cannot be forest with {self.method.name}: its virtual tokens stand before every row; "
                "use padding"
            )
        return self


DEFAULTS: dict[str, Any] = {
    "objective": {"name": "sft"},
    "method": {"name": "lora"},
    "data": {"validation_share": 0.0, "max_length": 1024, "too_long": "error", "overlap": 0},
    "optim": {
        "name": "adamw",
        "schedule": "cosine",
        "warmup_share": 0.05,
        "final_share": 0.0,
        "num_cycles": 3,
        "power": 2.0,
        "decay_share": 0.2,
        "weight_decay": 0.0,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "momentum": 0.95,
        "clip_norm": 1.0,
    },
    "train": {
        "epochs": 3,
        "batch_size": 16,
        "tokens_per_microbatch": 4096,
        "packing": "auto",
        "dtype": "auto",
        "frozen_dtype": "auto",
        "device": "auto",
        "gradient_checkpointing": False,
        "trunk": "auto",
        "trunk_cache_gb": 20,
        "per_row_losses": True,
        "seed": 0,
    },
    "evaluation": {"per_epoch": 1, "max_items": 200, "max_new_tokens": 64, "num_samples": 2, "patience": 0},
    "checkpoint": {"keep": 3},
}

# The paper's betas; its rates are 3 to 10 times smaller than AdamW's, for which the others are meant.
LION_DEFAULTS: dict[str, Any] = {"beta2": 0.99}
LION_RATE = 0.1

_NAMED = ("objective", "method")  # sections whose other keys depend on their name

FEW_ROWS = 500
FEW_ROWS_DEFAULTS: dict[str, Any] = {"optim": {"warmup_share": 0.1}}


@dataclass(frozen=True)
class Resolved:
    """A recipe and, for each dotted leaf that was set, the words that say where its value came from."""

    recipe: Recipe
    sources: Mapping[str, str]


def expand_shorthands(values: Mapping[str, Any]) -> dict[str, Any]:
    """`model: NAME`, `objective: NAME`, `method: NAME` and `data: FILE` (or a list of files) are short for mappings."""
    expanded = dict(values)
    for key in ("model", *_NAMED):
        if isinstance(expanded.get(key), str):
            expanded[key] = {"name": expanded[key]}
    if isinstance(expanded.get("data"), str | list):
        expanded["data"] = {"train": expanded["data"]}
    data = expanded.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("train"), str):
        expanded["data"] = {**data, "train": [data["train"]]}
    return expanded


def user_layers(asked: Sequence[Layer]) -> list[Layer]:
    """What the user said, shorthands expanded, without what a later layer makes meaningless.

    A rank of LoRA below says nothing once `method: top_layers` stands above it, nor does a share to hold out
    once a validation file is named.
    """
    layers = [Layer(layer.source, expand_shorthands(layer.values)) for layer in asked]
    chosen = {
        key: next((name for layer in reversed(layers) if (name := _name_in(layer, key)) is not None), None)
        for key in _NAMED
    }
    file_at = max((i for i, layer in enumerate(layers) if "validation" in _data_of(layer)), default=0)
    kept = []
    for number, layer in enumerate(layers):
        values = {
            key: value
            for key, value in layer.values.items()
            if key not in _NAMED or _name_in(layer, key) in (None, chosen[key])
        }
        if number < file_at and "validation_share" in _data_of(layer):
            values["data"] = {k: v for k, v in values["data"].items() if k != "validation_share"}
        kept.append(Layer(layer.source, values))
    return kept


def _name_in(layer: Layer, key: str) -> str | None:
    section = layer.values.get(key)
    return section.get("name") if isinstance(section, Mapping) else None


def _data_of(layer: Layer) -> Mapping[str, Any]:
    data = layer.values.get("data")
    return data if isinstance(data, Mapping) else {}


def resolve(layers: Sequence[Layer], *, implied: Sequence[Layer] = (), where: str = "recipe") -> Resolved:
    """Lay the user's `layers` over the defaults.

    `implied` are what the model and the data suggest; they stand above the method's defaults, below the objective's
    and everything the user said. Raises ConfigError that lists every problem.
    """
    user = user_layers(layers)
    chosen, _ = merge_layers([Layer("", DEFAULTS), *implied, *user])
    objective, method = (str(_name_in(Layer("", chosen), key)) for key in _NAMED)
    below = [Layer("default", DEFAULTS), Layer(f"default for {method}", method_defaults(method)), *implied]
    below.append(Layer(f"default for {objective} with {method}", objective_defaults(objective, method)))
    values, sources = merge_layers([*below, *_for_optimizer(chosen, below), *user])
    recipe = build(Recipe, values, where=where)
    _refuse_what_does_nothing(recipe, {key for layer in user for key in _leaves(layer.values)}, where)
    return Resolved(recipe, sources)


def _for_optimizer(chosen: Mapping[str, Any], below: Sequence[Layer]) -> list[Layer]:
    """What the chosen optimizer needs other than AdamW does; `below` holds the rate that AdamW would have."""
    optim = chosen.get("optim")
    if not isinstance(optim, Mapping) or optim.get("name") != "lion":
        return []
    rate = merge_layers(below)[0]["optim"].get("learning_rate")
    changed = {**LION_DEFAULTS, **({"learning_rate": rate * LION_RATE} if rate is not None else {})}
    return [Layer("default for lion", {"optim": changed})]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _refuse_what_does_nothing(recipe: Recipe, said: set[str], where: str) -> None:
    """Raises ConfigError for a value that the user set and that this recipe would never read."""
    optim, low_rank = recipe.optim, ("lora", "dora", "rslora", "qlora", "pissa")
    no_trunk = (recipe.train.trunk == "off", "train.trunk is off")
    no_betas = (optim.name == "adafactor", "adafactor has no such moment")
    without_effect = {
        "optim.momentum": (optim.name != "muon", "optim.name is not muon"),
        "optim.beta1": no_betas,
        "optim.beta2": no_betas,
        "optim.epsilon": (optim.name in ("lion", "adafactor"), f"{optim.name} does not read it"),
        "optim.lora_plus_ratio": (
            recipe.method.name not in low_rank,
            f"{recipe.method.name} has no B matrices",
        ),
        "method.double_quantization": (
            getattr(recipe.method, "quantization", "nf4") != "nf4",
            "method.quantization is not nf4",
        ),
        "optim.final_share": (optim.schedule == "constant", "the schedule is constant"),
        "optim.num_cycles": (optim.schedule != "cosine_restarts", "the schedule is not cosine_restarts"),
        "optim.power": (optim.schedule != "polynomial", "the schedule is not polynomial"),
        "optim.decay_share": (optim.schedule != "wsd", "the schedule is not wsd"),
        "objective.label_smoothing": (
            isinstance(recipe.objective, DpoObjective) and recipe.objective.loss != "sigmoid",
            "objective.loss is not sigmoid",
        ),
        "train.trunk_cache": no_trunk,
        "train.trunk_cache_gb": no_trunk,
        "data.too_long": (recipe.objective.name == "cpt", "cpt cuts documents into pieces of max_length"),
        "data.overlap": (recipe.data.too_long != "sliding", "data.too_long is not sliding"),
        "data.format": (recipe.objective.name == "cpt", "cpt reads the field text of any row"),
        "evaluation.max_items": (recipe.evaluation.items is None, "there are no evaluation.items"),
        "evaluation.max_new_tokens": (recipe.evaluation.items is None, "there are no evaluation.items"),
        "evaluation.num_samples": (recipe.evaluation.items is None, "there are no evaluation.items"),
    }
    problems = [
        f"  {key} would do nothing: {reason}"
        for key, (ignored, reason) in without_effect.items()
        if ignored and key in said
    ]
    if problems:
        raise ConfigError("\n".join([f"{where}:", *problems]))


def cannot_stream(recipe: Recipe) -> str | None:
    """Why a recipe cannot have its frozen layers streamed; None where it can."""
    if recipe.model.new is not None:
        return "a new architecture has no weights to read"
    if getattr(recipe.method, "rank", None) is None or getattr(recipe.method, "num_layers", None) is None:
        return "only the layers above those that are streamed can train: give lora, dora, rslora or pissa num_layers"
    if recipe.train.trunk == "off":
        return "what streamed layers give has to be kept: leave train.trunk=auto"
    if recipe.model.rope_scaling is not None:
        return "layers are streamed with the positions that they were made for: leave model.rope_scaling out"
    if isinstance(recipe.objective, RewardObjective):
        return "a reward model is loaded whole, with its head"
    if recipe.train.ewc is not None:
        return "train.ewc measures the whole model, which is never loaded"
    if recipe.evaluation.items is not None:
        return (
            "evaluation.items are answered by the whole model, which is never loaded: ask them after training"
        )
    return None
