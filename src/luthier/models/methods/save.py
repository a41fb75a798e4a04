"""What was trained, counted and written: an adapter folder, or a whole model.

This file knows nothing of how the weights came to train.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.files import atomic_directory, write_json_atomic
from luthier.models.methods.bottleneck import is_bottleneck, save_bottleneck
from luthier.models.methods.pissa import is_pissa, save_pissa
from luthier.models.quantized import num_numbers
from luthier.models.rope import save_scaling


def count_parameters(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters; tied weights count once."""
    sizes = [(num_numbers(p), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trains in sizes if trains), sum(n for n, _ in sizes)


def save_trained(model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write what was trained: an adapter folder, or a whole model folder, and the tokenizer.

    Whole models are written in `dtype`; adapters keep theirs. The folder appears whole or not at all.
    """
    with atomic_directory(folder) as beside:
        if is_bottleneck(model):
            save_bottleneck(model, beside)
        elif is_pissa(model):
            save_pissa(model, beside)
        elif hasattr(model, "peft_config"):
            # "auto" would ask the hub for the base's vocabulary; no embedding is resized here.
            model.save_pretrained(beside, save_embedding_layers=False)
            (beside / "README.md").unlink(missing_ok=True)  # PEFT's empty model card says nothing
        else:
            model.save_pretrained(beside, state_dict=_cast(model.state_dict(), dtype))
            # transformers notes the dtype of the module in memory, not that of the tensors it was given.
            config = json.loads((beside / "config.json").read_text(encoding="utf-8"))
            config["dtype"] = str(dtype).removeprefix("torch.")
            write_json_atomic(beside / "config.json", config)
        if hasattr(model, "peft_config") or is_bottleneck(model):
            save_scaling(model, beside)  # a whole model says it in its config
        tokenizer.save_pretrained(beside)


def _cast(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The state in `dtype`. Tied weights stay one tensor, or they would be written twice and come back untied."""
    cast: dict[tuple[int, torch.Size], Tensor] = {}
    for tensor in state.values():
        key = (tensor.data_ptr(), tensor.shape)
        if key not in cast:
            cast[key] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return {name: cast[tensor.data_ptr(), tensor.shape] for name, tensor in state.items()}
