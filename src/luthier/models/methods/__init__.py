"""What trains: `apply_method` turns a loaded base into the model of a run.

whole: full, top_layers, freeze. low_rank: lora, dora, rslora. qlora. pissa. ia3. virtual: prompt, prefix.
bottleneck: adapter.
Weights that train are kept in float32 (the optimizer's steps are smaller than bfloat16 can hold); frozen ones stay in
the dtype to compute in. What each costs stands in models.method_table. Knows nothing of data or optimizers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from luthier.models.methods.bottleneck import apply_adapter
from luthier.models.methods.ia3 import apply_ia3
from luthier.models.methods.low_rank import apply_lora
from luthier.models.methods.pissa import apply_pissa
from luthier.models.methods.qlora import apply_qlora
from luthier.models.methods.save import count_parameters, save_trained
from luthier.models.methods.virtual import apply_prefix, apply_prompt
from luthier.models.methods.whole import apply_freeze, apply_full, apply_top_layers

__all__ = [
    "APPLY",
    "apply_adapter",
    "apply_freeze",
    "apply_full",
    "apply_ia3",
    "apply_lora",
    "apply_method",
    "apply_pissa",
    "apply_prefix",
    "apply_prompt",
    "apply_qlora",
    "apply_top_layers",
    "count_parameters",
    "save_trained",
]

Apply = Callable[[Any, Any, str, torch.dtype], Any]

APPLY: Mapping[str, Apply] = {
    "full": lambda model, method, base_name, dtype: apply_full(model, dtype),
    "top_layers": lambda model, method, base_name, dtype: apply_top_layers(model, method.num_layers, dtype),
    "freeze": lambda model, method, base_name, dtype: apply_freeze(model, method, dtype),
    "lora": apply_lora,
    "dora": apply_lora,
    "rslora": apply_lora,
    "qlora": apply_qlora,
    "pissa": apply_pissa,
    "ia3": apply_ia3,
    "prompt": apply_prompt,
    "prefix": apply_prefix,
    "adapter": apply_adapter,
}


def apply_method(model: Any, method: Any, base_name: str, master_dtype: torch.dtype) -> Any:
    """The model that trains under `method`, a method section of a recipe; `base_name` is noted in what is saved.

    Random starts come from torch's random state. Raises ConfigError, ModelError.
    """
    return APPLY[method.name](model, method, base_name, master_dtype)
