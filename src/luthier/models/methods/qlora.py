"""QLoRA: low-rank adapters in full precision over a base that is held in 4 or 8 bits (arXiv:2305.14314).

The base comes quantised from models.load; what trains, and its folder, are those of LoRA. What is saved belongs to the
base in full precision: it is loaded and merged there. Knows nothing of data or optimizers.
"""

from typing import Any

import torch

from luthier.errors import ModelError
from luthier.models.methods.low_rank import LoraLike, adapt_linear
from luthier.models.quantized import is_quantized


def apply_qlora(
    model: Any, method: LoraLike, base_name: str, master_dtype: torch.dtype = torch.float32
) -> Any:
    """Add low-rank adapters to `method.targets` of a quantised base.

    Raises ModelError where the base is not quantised, ConfigError where no module has such a name.
    """
    if not is_quantized(model):
        raise ModelError("qlora trains over a quantised base: load it with a Quantization (models.load)")
    return adapt_linear(model, method, base_name, master_dtype, init=True)
