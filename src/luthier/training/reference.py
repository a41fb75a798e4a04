"""Log-probabilities of rows under the reference model: the model as it is before its first step, its adapter off.

Computed once and kept in the run folder, so that later epochs and a resumed run read them. The file says what it was
computed from: the tokens of the rows, the weights of the base, the dtype of the products; where any differs, it is
computed anew. Knows nothing of objectives and steps.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from luthier.data.batches import Cut
from luthier.data.dataset import TokenDataset
from luthier.files import write_bytes_atomic
from luthier.training.learner import Learner, precision
from luthier.training.objectives.log_probs import row_log_probs

FILE = "reference.safetensors"


@torch.no_grad()
def reference_log_probs(
    learner: Learner,
    dataset: TokenDataset,
    cut: Cut,
    tokens_per_microbatch: int,
    compute_dtype: torch.dtype,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float32]:
    """The weighted sum of the log-probabilities of each row's supervised tokens, shape (rows,).

    `progress` hears how many rows are done, of how many.
    """
    sums_R = np.full(dataset.num_rows, np.nan, np.float32)
    training = learner.model.training
    learner.model.eval()
    alone = replace(dataset, beside=None)
    done = 0
    try:
        with adapter_off(learner.model):
            for batch in cut(alone, range(alone.num_rows), tokens_per_microbatch):
                with learner.laid_out(batch), precision(learner.device, compute_dtype):
                    found = row_log_probs(*learner.outputs(batch))
                sums_R[batch.row_indices_B] = found.sums_B.float().cpu().numpy()
                done += len(batch.row_indices_B)
                progress(done, dataset.num_rows)
    finally:
        learner.model.train(training)
    return sums_R


def adapter_off(model: Any) -> contextlib.AbstractContextManager[Any]:
    """The base alone, where an adapter can be taken off; a model that trains its own weights is its own reference."""
    adapters = getattr(model, "peft_config", {})
    # PiSSA moves a part of the base into the adapter: without it, what is left is no reference.
    moved = any(str(getattr(one, "init_lora_weights", "")).startswith("pissa") for one in adapters.values())
    if not adapters or moved:
        return contextlib.nullcontext()
    return model.disable_adapter()  # type: ignore[no-any-return]


def with_references(
    learner: Learner,
    datasets: Mapping[str, TokenDataset],
    cut: Cut,
    tokens_per_microbatch: int,
    compute_dtype: torch.dtype,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, TokenDataset], str]:
    """The datasets (by name) with their reference log-probabilities, and a word on where these came from.

    Before the first step only: the weights in `learner` are the reference.
    """
    parts = {name: part for name, whole in datasets.items() for name, part in _parts(name, whole)}
    key = _key(learner.model, parts, compute_dtype)
    path = folder / FILE
    known = _read(path, key)
    word = f"reference log-probabilities: read from {FILE}"
    if known is None:
        known = {
            name: reference_log_probs(learner, part, cut, tokens_per_microbatch, compute_dtype, progress)
            for name, part in parts.items()
        }
        write_bytes_atomic(path, save(known, metadata={"key": key}))
        word = f"reference log-probabilities: computed once, kept in {FILE}"
    return {name: _with(whole, name, known) for name, whole in datasets.items()}, word


def _parts(name: str, dataset: TokenDataset) -> list[tuple[str, TokenDataset]]:
    beside = [] if dataset.beside is None else [(f"{name}.beside", dataset.beside)]
    return [(name, dataset), *beside]


def _with(dataset: TokenDataset, name: str, known: Mapping[str, NDArray[np.float32]]) -> TokenDataset:
    assert dataset.units is not None
    beside = None if dataset.beside is None else _with(dataset.beside, f"{name}.beside", known)
    return replace(dataset, units=replace(dataset.units, reference_R=known[name]), beside=beside)


def _key(model: Any, parts: Mapping[str, TokenDataset], compute_dtype: torch.dtype) -> str:
    """What the log-probabilities follow from: rows, base weights, dtype."""
    values = {"data": hash_rows(parts), "base": _hash_base(model), "dtype": str(compute_dtype)}
    return json.dumps(values, sort_keys=True)


def hash_rows(parts: Mapping[str, TokenDataset]) -> str:
    """The hash of the tokens, weights and ends of some datasets' rows."""
    data = hashlib.sha256()
    for name, part in sorted(parts.items()):
        data.update(name.encode())
        for array in (part.token_ids, part.weights, part.offsets):
            data.update(np.ascontiguousarray(array).view(np.uint8).data)
    return data.hexdigest()


def _hash_base(model: Any) -> str:
    """The hash of every weight that is not an adapter's own; of a model without one, of all."""
    adapted = hasattr(model, "peft_config")
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if not (adapted and parameter.requires_grad):
            digest.update(name.encode())
            raw = parameter.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(raw.numpy().data)
    return digest.hexdigest()


def _read(path: Path, key: str) -> dict[str, NDArray[np.float32]] | None:
    """What is kept, or None where there is nothing or it is of something else."""
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError):
        return None
