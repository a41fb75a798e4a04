"""How many parameters a method would train on an architecture, without its weights.

The model is made on torch's meta device: shapes without numbers. Knows nothing of recipes.
"""

from copy import deepcopy
from typing import Any

import torch

from luthier.errors import ConfigError
from luthier.models.methods import apply_method
from luthier.models.methods.low_rank import apply_lora
from luthier.models.methods.save import count_parameters


def count_on_shapes(config: Any, method: Any) -> tuple[int, int] | None:
    """(trained, all) parameters of `method` on a model of `config`; None where the method cannot be applied to it."""
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(deepcopy(config))
            if method.name in (
                "pissa",
                "qlora",
            ):  # shapes of LoRA; there is nothing to decompose or to quantise
                return count_parameters(apply_lora(model, method, "", torch.float32))
            return count_parameters(apply_method(model, method, "", torch.float32))
    except ConfigError:
        return None
