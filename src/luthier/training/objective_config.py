"""The objectives as a recipe names them, with their numbers and the defaults that each brings.

This file knows nothing of torch; the losses are in `luthier.training.objectives`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.config import Config

AboveZero = Annotated[float, Field(gt=0)]
Smoothing = Annotated[float, Field(ge=0.0, lt=1.0)]


class SftObjective(Config):
    """The assistant's tokens, each with its turn's weight. `label_smoothing` is refused where only answers count."""

    name: Literal["sft"]
    label_smoothing: Smoothing


class CptObjective(Config):
    """Every token of documents. `label_smoothing`: the share of a label that is spread over the whole vocabulary."""

    name: Literal["cpt"]
    label_smoothing: Smoothing


class DistillObjective(Config):
    """The distribution of a teacher at the assistant's tokens (Hinton et al. 2015, arXiv:1503.02531).

    `alpha`: the share of the loss of the rows' own tokens. `top_k`: how many tokens of the teacher are kept at each
    place; None: the whole vocabulary.
    """

    name: Literal["distill"]
    teacher: str
    divergence: Literal["forward", "reverse", "js"]
    temperature: AboveZero
    alpha: Annotated[float, Field(ge=0, lt=1)]
    top_k: Annotated[int, Field(ge=1)] | None


class RewardObjective(Config):
    """A scalar head that scores answers (Bradley-Terry; Ouyang et al. 2022, arXiv:2203.02155).

    `margin`: by how much a chosen answer should win. `center_coefficient`: how strongly the two scores of a pair are
    pulled towards a sum of 0.
    """

    name: Literal["reward"]
    margin: Annotated[float, Field(ge=0)]
    center_coefficient: Annotated[float, Field(ge=0)]


class DpoObjective(Config):
    """Direct preference optimisation (arXiv:2305.18290)."""

    name: Literal["dpo"]
    beta: AboveZero
    loss: Literal["sigmoid", "ipo", "hinge"]
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)]


class OrpoObjective(Config):
    """Odds-ratio preference optimisation (arXiv:2403.07691); beta is the paper's lambda."""

    name: Literal["orpo"]
    beta: AboveZero


class SimpoObjective(Config):
    """Simple preference optimisation (arXiv:2405.14734)."""

    name: Literal["simpo"]
    beta: AboveZero
    gamma: Annotated[float, Field(ge=0)]


class KtoObjective(Config):
    """Kahneman-Tversky optimisation (arXiv:2402.01306)."""

    name: Literal["kto"]
    beta: AboveZero
    desirable_weight: Annotated[float, Field(ge=0)]
    undesirable_weight: Annotated[float, Field(ge=0)]


class EwcConfig(Config):
    """Elastic weight consolidation: a file of general `rows`, how strongly weights are held (`weight`), and on how many
    of the rows it is measured how much each weight matters.
    """

    rows: str
    weight: Annotated[float, Field(gt=0)] = 100.0
    num_rows: Annotated[int, Field(ge=1)] = 200


ObjectiveConfig = Annotated[
    SftObjective
    | CptObjective
    | DistillObjective
    | DpoObjective
    | OrpoObjective
    | SimpoObjective
    | KtoObjective
    | RewardObjective,
    Field(discriminator="name"),
]
PREFERENCE_OBJECTIVES = ("dpo", "orpo", "simpo", "kto", "reward")

_CAREFUL = {"clip_norm": 0.5, "warmup_share": 0.1}
_NUMBERS: Mapping[str, dict[str, Any]] = {
    "sft": {"label_smoothing": 0.0},
    "cpt": {"label_smoothing": 0.0},
    "distill": {"divergence": "forward", "temperature": 1.0, "alpha": 0.5, "top_k": 64},
    "dpo": {"beta": 0.1, "loss": "sigmoid", "label_smoothing": 0.0},
    "orpo": {"beta": 0.1},
    "simpo": {"beta": 2.0, "gamma": 1.0},
    "kto": {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
    "reward": {"margin": 0.0, "center_coefficient": 0.0},
}
# Of whole weights, and of adapters, which begin at nothing. The others take the rate of the method.
_LEARNING_RATES = {
    "dpo": (5e-7, 5e-6),
    "orpo": (8e-6, 8e-5),
    "simpo": (5e-7, 5e-6),
    "kto": (5e-7, 5e-6),
    "reward": (1e-5, 1e-4),
}
_WHOLE_WEIGHTS = ("full", "top_layers", "freeze")


def objective_defaults(objective: str, method: str) -> dict[str, Any]:
    """What an objective suggests for a recipe with this method, as values of a recipe; empty for an unknown name."""
    defaults: dict[str, Any] = {"objective": dict(_NUMBERS[objective])} if objective in _NUMBERS else {}
    if objective in _LEARNING_RATES:
        rate = _LEARNING_RATES[objective][method not in _WHOLE_WEIGHTS]
        defaults["optim"] = {"learning_rate": rate, **_CAREFUL}
    return defaults


_HEAD_TRAINS = ("full", "top_layers", "freeze", "lora", "dora", "rslora")


def refuse_with_reward(new_model: bool, method: str, asks_items: bool, elastic: bool) -> None:
    """Raises ValueError for what a model that only scores cannot be combined with."""
    if new_model:
        raise ValueError("objective reward needs a model that knows the language: give model.name")
    if method not in _HEAD_TRAINS:
        raise ValueError(
            f"method {method} cannot save the head of a reward model: take one of {', '.join(_HEAD_TRAINS)}"
        )
    if asks_items:
        raise ValueError(
            "evaluation.items: a reward model scores answers and writes none; hold pairs out (data.validation), and "
            "validation_reward_accuracy is told at each evaluation"
        )
    if elastic:
        raise ValueError("train.ewc measures how well tokens are predicted, and a reward model predicts none")
