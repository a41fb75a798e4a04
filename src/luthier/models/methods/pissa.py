"""PiSSA: a low-rank adapter that starts as the principal part of each matrix, which is taken out of the base.

W = R + s B A, with B A the first `rank` terms of the singular value decomposition; the residual R is frozen, B and A
train (Meng et al. 2024, arXiv:2404.02948). So the base in memory is no longer the base on the disk. What is saved works
on the original base: W + s (B A - B0 A0) is a LoRA of twice the rank, [B, -B0] and [A; A0]. Knows nothing of data.
"""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from luthier.errors import ConfigError
from luthier.models.methods.low_rank import LoraLike, adapt_linear

_START = "luthier_pissa_start"


class PissaLike(LoraLike, Protocol):
    """The numbers of a PiSSA adapter. `iterations`: of a randomised decomposition; None is the exact one."""

    @property
    def iterations(self) -> int | None: ...


def apply_pissa(
    model: Any, method: PissaLike, base_name: str, master_dtype: torch.dtype = torch.float32
) -> Any:
    """Take the principal part out of the matrices that `method.targets` names, and train it.

    The start follows from the weights (exact) or from them and torch's random state (with `iterations`), so a resumed
    run finds the same residual. Raises ConfigError for float64, in which the decomposition is not made.
    """
    if any(p.dtype == torch.float64 for p in model.parameters()):
        raise ConfigError("method pissa decomposes in float32 at most: take another train.dtype than float64")
    init = "pissa" if method.iterations is None else f"pissa_niter_{method.iterations}"
    adapted = adapt_linear(model, method, base_name, master_dtype, init=init)
    setattr(adapted, _START, {name: tensor.clone() for name, tensor in _adapter(adapted).items()})
    return adapted


def is_pissa(model: Any) -> bool:
    return hasattr(model, _START)


def save_pissa(model: Any, folder: Path) -> None:
    """Write the adapter as an ordinary LoRA of twice the rank, for the original base."""
    from copy import copy

    from safetensors.torch import save_file

    start: dict[str, Tensor] = getattr(model, _START)
    tensors = {}
    for name, trained in _adapter(model).items():
        before = start[name].to(trained)
        # A stands on A0; B beside -B0.
        joined = torch.cat([trained, before], 0) if ".lora_A." in name else torch.cat([trained, -before], 1)
        tensors[name] = joined.contiguous()
    config = copy(model.peft_config["default"])
    config.r, config.lora_alpha = 2 * config.r, 2 * config.lora_alpha  # the scale alpha / r stays
    config.init_lora_weights, config.inference_mode = True, True
    config.save_pretrained(str(folder))
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


def _adapter(model: Any) -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach() for name, tensor in state.items()}
