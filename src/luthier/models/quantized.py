"""A base held in 4 or 8 bits by bitsandbytes, for an adapter to be trained on.

nf4: 4-bit numbers at the quantiles of a normal distribution, a scale for each 64 of them, and with `double` those
scales in 8 bits (Dettmers et al. 2023, arXiv:2305.14314). int8: rows of 8-bit numbers, columns of outliers in float16
(Dettmers et al. 2022, arXiv:2208.07339). Linear layers alone: embeddings, head and norms keep their dtype. Knows
nothing of adapters.
"""

import importlib.util
import logging
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from luthier.errors import ConfigError, ModelError
from luthier.models.kept import compute_dtypes


@dataclass(frozen=True)
class Quantization:
    """How the linear layers of a base are held. `double`: quantise the scales of nf4 too."""

    kind: Literal["nf4", "int8"]
    double: bool = True


def need_bitsandbytes(what: str) -> None:
    """Raises ConfigError where bitsandbytes is not installed; `what` asked for it."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(f"{what} needs bitsandbytes, which is not installed: pip install 'luthier[quant]'")


def bitsandbytes_config(quantization: Quantization, compute_dtype: torch.dtype) -> Any:
    """What transformers takes to quantise while it loads. Raises ConfigError without bitsandbytes, and for float64."""
    from transformers import BitsAndBytesConfig

    need_bitsandbytes(f"a base in {quantization.kind}")
    if compute_dtype == torch.float64:
        raise ConfigError(
            f"a base in {quantization.kind} is computed in float32 at most: take another train.dtype than float64"
        )
    if quantization.kind == "int8":
        # It says at every product that its inputs become float16; our documentation says it once.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=quantization.double,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def refuse_fused_experts(model: nn.Module) -> None:
    """Raises ModelError for a mixture whose experts are one tensor: these would silently stay in full precision."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 3 and "expert" in name:
            raise ModelError(
                f"{type(model).__name__} keeps its experts as one tensor ({name}), which bitsandbytes does not "
                "quantise, and they are most of the model: train it with lora"
            )


def num_numbers(parameter: nn.Parameter) -> int:
    """How many weights a parameter stands for: two 4-bit ones share a byte."""
    state = getattr(parameter, "quant_state", None)
    return int(state.shape.numel()) if state is not None else parameter.numel()


def is_quantized(model: nn.Module) -> bool:
    """Does any layer hold its weights in integers?"""
    return any(not parameter.is_floating_point() for parameter in model.parameters())


def coarsest_rounding(model: nn.Module) -> float:
    """The machine epsilon of the coarsest dtype that the model computes in.

    The integers of a quantised base are exact where they are unpacked; int8 layers take their inputs in float16.
    """
    dtypes = {
        dtype if dtype.is_floating_point else _COMPUTED_IN.get(dtype) for dtype in compute_dtypes(model)
    }
    return max(torch.finfo(dtype).eps for dtype in dtypes if dtype is not None)


_COMPUTED_IN = {torch.int8: torch.float16}
