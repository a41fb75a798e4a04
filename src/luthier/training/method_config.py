"""The method section of a recipe: one typed value for each method, and the defaults of each.

What the methods do is in models.methods; why the learning rates are what they are in models.method_table.
This file knows nothing of torch.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from luthier.config import Config
from luthier.models.method_table import METHODS

if TYPE_CHECKING:
    from luthier.models.quantized import Quantization

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]


class FullMethod(Config):
    """Every weight trains."""

    name: Literal["full"]


class TopLayersMethod(Config):
    """The last `num_layers` layers, the final norm and an untied head train; what lies below is frozen."""

    name: Literal["top_layers"]
    num_layers: Positive


class FreezeMethod(Config):
    """Parameters by name: only those that a pattern of `train` is found in, or all but those of `freeze`."""

    name: Literal["freeze"]
    train: list[str] = Field(default_factory=list)
    freeze: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_of(self) -> "FreezeMethod":
        if bool(self.train) == bool(self.freeze):
            raise ValueError("give patterns either in method.train or in method.freeze")
        return self


class _LowRank(Config):
    """Two thin matrices beside each target. `targets`: `all-linear`, or the names of modules.

    `num_layers`: only in so many of the last layers; None: in all.
    """

    rank: Positive
    alpha: Annotated[float, Field(gt=0)]
    dropout: Share
    targets: str | list[str]
    num_layers: Positive | None = None


class LoraMethod(_LowRank):
    """Low-rank adapters (LoRA, DoRA, rsLoRA)."""

    name: Literal["lora", "dora", "rslora"]


class QloraMethod(_LowRank):
    """LoRA over a base held in 4 bits (nf4) or 8. `double_quantization`: the scales of nf4 in 8 bits too."""

    name: Literal["qlora"]
    quantization: Literal["nf4", "int8"]
    double_quantization: bool


class PissaMethod(_LowRank):
    """LoRA that starts as the principal part of each matrix.

    `iterations`: of a randomised decomposition, which is faster; None: the exact one.
    """

    name: Literal["pissa"]
    iterations: Positive | None = None


class Ia3Method(Config):
    """A factor for each channel. `targets` and `feedforward` (those whose inputs are scaled): None, found by name."""

    name: Literal["ia3"]
    targets: list[str] | None = None
    feedforward: list[str] | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> "Ia3Method":
        if (self.targets is None) != (self.feedforward is None):
            raise ValueError("give method.targets and method.feedforward together, or neither")
        return self


class AdapterMethod(Config):
    """Bottleneck adapters of width `size`, behind attention and feed-forward (houlsby) or the latter (pfeiffer)."""

    name: Literal["adapter"]
    size: Positive
    placement: Literal["houlsby", "pfeiffer"]
    activation: Literal["relu", "gelu", "silu"]


class PromptMethod(Config):
    """`num_tokens` trained embeddings before every sequence."""

    name: Literal["prompt"]
    num_tokens: Positive


class PrefixMethod(Config):
    """`num_tokens` trained keys and values in every layer; made by a network of width `projection_size`, if given."""

    name: Literal["prefix"]
    num_tokens: Positive
    projection_size: Positive | None = None


MethodConfig = Annotated[
    FullMethod
    | TopLayersMethod
    | FreezeMethod
    | LoraMethod
    | QloraMethod
    | PissaMethod
    | Ia3Method
    | AdapterMethod
    | PromptMethod
    | PrefixMethod,
    Field(discriminator="name"),
]

_LORA = {"rank": 16, "alpha": 32, "dropout": 0.05, "targets": "all-linear"}
_SETTINGS: dict[str, dict[str, Any]] = {
    "top_layers": {"num_layers": 4},
    "lora": _LORA,
    "dora": _LORA,
    "rslora": _LORA,
    "qlora": {**_LORA, "quantization": "nf4", "double_quantization": True},
    # The paper: alpha = rank, so that the start is the base itself, and no dropout, which would undo it.
    "pissa": {"rank": 16, "alpha": 16, "dropout": 0.0, "targets": "all-linear"},
    "adapter": {"size": 64, "placement": "houlsby", "activation": "gelu"},  # Houlsby et al. tried 8, 64, 256
    "prompt": {"num_tokens": 20},  # the paper: beyond 20 tokens little is gained
    "prefix": {"num_tokens": 20},
}


def method_defaults(name: str) -> dict[str, Any]:
    """What a recipe with this method takes where it says nothing; empty for a name that is none."""
    if name not in METHODS:
        return {}
    defaults: dict[str, Any] = {"optim": {"learning_rate": METHODS[name].learning_rate}}
    if name in _SETTINGS:
        defaults["method"] = _SETTINGS[name]
    return defaults


def default_method(name: str) -> Any:
    """The method section that a recipe with nothing but the method's name has; None where it needs more."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(MethodConfig).validate_python({"name": name, **_SETTINGS.get(name, {})})
    except ValidationError:
        return None


def base_quantization(method: Any) -> "Quantization | None":
    """How the base of this method section is held; None where it keeps its dtype."""
    if not isinstance(method, QloraMethod):
        return None
    from luthier.models.quantized import Quantization

    return Quantization(method.quantization, method.double_quantization)
