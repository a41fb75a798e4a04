"""The objectives as a recipe names them, with their numbers and the defaults that each brings.

This file knows nothing of torch; the losses are in `luthier.training.objectives`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.config import Config

AboveZero = Annotated[float, Field(gt=0)]


class SftObjective(Config):
    """The assistant's tokens, each with its turn's weight."""

    name: Literal["sft"]


class CptObjective(Config):
    """Every token of documents."""

    name: Literal["cpt"]


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


ObjectiveConfig = Annotated[
    SftObjective | CptObjective | DpoObjective | OrpoObjective | SimpoObjective | KtoObjective,
    Field(discriminator="name"),
]
PREFERENCE_OBJECTIVES = ("dpo", "orpo", "simpo", "kto")

_CAREFUL = {"clip_norm": 0.5, "warmup_share": 0.1}
_NUMBERS: Mapping[str, dict[str, Any]] = {
    "dpo": {"beta": 0.1, "loss": "sigmoid", "label_smoothing": 0.0},
    "orpo": {"beta": 0.1},
    "simpo": {"beta": 2.0, "gamma": 1.0},
    "kto": {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
}
# Of whole weights, and of adapters, which begin at nothing.
_LEARNING_RATES = {"dpo": (5e-7, 5e-6), "orpo": (8e-6, 8e-5), "simpo": (5e-7, 5e-6), "kto": (5e-7, 5e-6)}
_WHOLE_WEIGHTS = ("full", "top_layers", "freeze")


def objective_defaults(objective: str, method: str) -> dict[str, Any]:
    """What an objective suggests for a recipe with this method, as values of a recipe; empty for sft and cpt."""
    if objective not in _NUMBERS:
        return {}
    rate = _LEARNING_RATES[objective][method not in _WHOLE_WEIGHTS]
    return {"objective": dict(_NUMBERS[objective]), "optim": {"learning_rate": rate, **_CAREFUL}}
