"""More positions than a model was made for: its rotary frequencies, scaled (linear, dynamic NTK, YaRN).

The formulas are transformers' own; this file writes them into a config, and remembers them beside an adapter, whose
base on the disk knows nothing of them. linear: every position divided by the factor (Chen et al. 2023,
arXiv:2306.15595). yarn: low frequencies divided, high ones kept (Peng et al. 2023, arXiv:2309.00071). dynamic: the base
of the frequencies grows with the length of the sequence. Knows nothing of training.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from luthier.config import Config
from luthier.errors import ConfigError, ModelError
from luthier.files import write_json_atomic

_FILE = "rope_scaling.json"
_MARK = "luthier_rope_scaling"
_YARN = ("beta_fast", "beta_slow", "attention_factor")


class RopeScaling(Config):
    """`factor` times the positions that a model was made for (`original_max_length`; None: what its config says)."""

    type: Literal["linear", "dynamic", "yarn"]
    factor: Annotated[float, Field(gt=1)]
    original_max_length: Annotated[int, Field(ge=1)] | None = None
    beta_fast: Annotated[float, Field(gt=0)] | None = None
    beta_slow: Annotated[float, Field(gt=0)] | None = None
    attention_factor: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _only_of_yarn(self) -> "RopeScaling":
        for name in _YARN:
            if self.type != "yarn" and getattr(self, name) is not None:
                raise ValueError(f"{name} would do nothing: the type is not yarn")
        return self


def scale_positions(config: Any, scaling: RopeScaling) -> None:
    """Write `scaling` into a model's config, before its weights are loaded.

    Where kinds of layers have frequencies of their own, those that see everything are scaled: a window sees no further
    than before. Raises ConfigError for a model without rotary positions, or with ones that are scaled already.
    """
    parameters, name = getattr(config, "rope_parameters", None), config.model_type
    if not parameters:
        raise ConfigError(f"model.rope_scaling: {name} has no rotary positions that could be scaled")
    nested = any(isinstance(value, dict) for value in parameters.values())
    if nested and (scaling.type == "dynamic" or not parameters.get("full_attention")):
        raise ConfigError(
            f"model.rope_scaling: the layers of {name} have rotary positions of several kinds, which {scaling.type} "
            "is not made for here; take yarn or linear"
        )
    target = parameters["full_attention"] if nested else parameters
    if (kind := target.get("rope_type", "default")) != "default":
        raise ConfigError(
            f"model.rope_scaling: this {name} was trained with positions scaled already ({kind}); leave it out"
        )
    original = scaling.original_max_length or int(config.max_position_embeddings)
    scaled = {**target, "rope_type": scaling.type, "factor": scaling.factor}
    if scaling.type == "yarn":
        scaled["original_max_position_embeddings"] = original
        scaled |= {key: value for key in _YARN if (value := getattr(scaling, key)) is not None}
    # Dynamic frequencies begin to change where max_position_embeddings ends.
    config.max_position_embeddings = original if scaling.type == "dynamic" else int(original * scaling.factor)
    config.rope_parameters = {**parameters, "full_attention": scaled} if nested else scaled


def num_positions(config: Any) -> int:
    """How long a sequence may be; 0 where the config does not say."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    parameters = getattr(config, "rope_parameters", None) or {}
    if parameters.get("rope_type") == "dynamic":
        return int(positions * float(parameters.get("factor", 1.0)))
    return positions


def depends_on_length(model: Any) -> bool:
    """Do a token's rotary positions depend on the length of its whole sequence?"""
    return any(getattr(module, "rope_type", None) == "dynamic" for module in model.modules())


def forget_lengths(model: Any) -> None:
    """Let each forward pass find its dynamic frequencies from its own length.

    transformers keeps those of the longest sequence so far, so an answer would depend on what was asked before.
    """
    for module in model.modules():
        if getattr(module, "rope_type", None) == "dynamic":
            module.register_forward_pre_hook(_forget)


def _forget(module: Any, _inputs: Any) -> None:
    module.register_buffer("inv_freq", module.original_inv_freq.to(module.inv_freq.device), persistent=False)
    module.max_seq_len_cached = module.original_max_seq_len


def mark_scaled(model: Any, scaling: RopeScaling) -> None:
    """Note on a loaded model that its positions are not those of its files."""
    setattr(model, _MARK, scaling)


def save_scaling(model: Any, folder: Path) -> None:
    """Write beside an adapter how the positions of its base were scaled, if they were."""
    scaling: RopeScaling | None = getattr(model, _MARK, None)
    if scaling is not None:
        write_json_atomic(folder / _FILE, scaling.model_dump(exclude_none=True))


def read_scaling(folder: Path) -> RopeScaling | None:
    """What `save_scaling` wrote; None where it wrote nothing. Raises ModelError for a file that is none of ours."""
    path = folder / _FILE
    if not path.exists():
        return None
    try:
        return RopeScaling.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as error:
        raise ModelError(f"{path}: expected how rotary positions are scaled: {error}") from error
