"""How much each input of each weight matters, from calibration rows: the mean of its square over tokens.

llama.cpp's quantiser weighs its rounding errors with it. The mean is taken by transformers on the model folder, in
float32, so that no GGUF file and no llama.cpp is needed. Weights of experts are left out: llama.cpp rounds them evenly.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import DataError
from luthier.export.gguf.weights import tensor_names


def importance_matrix(folder: str | Path, rows: Sequence[Sequence[int]]) -> dict[str, NDArray[np.float32]]:
    """By the tensor's name in a GGUF file, the mean square of each of its inputs, shape (inputs,).

    `rows`: token ids of calibration texts. Raises DataError where there are none, ModelError for a folder that cannot
    be loaded.
    """
    import torch

    from luthier.models.load import load_weights

    if not any(len(row) for row in rows):
        raise DataError("importance matrix: expected calibration rows with at least one token")
    model = load_weights(str(folder), torch.float32)
    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}

    def hook(name: str) -> Any:
        def add(module: Any, inputs: tuple[Any, ...]) -> None:
            values_TI = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).double()
            sums[name] = sums.get(name, 0) + values_TI.square().sum(0)
            counts[name] = counts.get(name, 0) + len(values_TI)

        return add

    names = tensor_names(model.config)
    for module_name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and (name := names.get_name(module_name)) is not None:
            module.register_forward_pre_hook(hook(f"{name}.weight"))
    with torch.inference_mode():
        for row in rows:
            if len(row):
                model(input_ids=torch.tensor([list(row)]), use_cache=False)
    return {name: (total / counts[name]).float().numpy() for name, total in sums.items()}
