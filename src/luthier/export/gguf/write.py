"""A model folder becomes one GGUF file: planned first, then written tensor by tensor.

Weights are read some rows at a time, so that a model larger than memory can be written.
This file brings weights, tokenizer and file together and knows nothing of runs, adapters or certificates.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from luthier.errors import ConfigError
from luthier.export.gguf.architecture import hyperparameters, limits
from luthier.export.gguf.file import PYTHON_TYPES, TensorPlan, write_file
from luthier.export.gguf.probe import keys_tokeniser
from luthier.export.gguf.quantize import K_QUANTS, quantize_gguf
from luthier.export.gguf.tokenizer import gguf_tokenizer
from luthier.export.gguf.weights import Weights
from luthier.models.load import load_tokenizer

_FILE_TYPES = {
    "f32": "ALL_F32",
    "f16": "MOSTLY_F16",
    "bf16": "MOSTLY_BF16",
    **{f"q{bits}_0": f"MOSTLY_Q{bits}_0" for bits in (8, 5, 4)},
}


@dataclass(frozen=True)
class GgufWritten:
    """A file that was written. `notes`: what its user must know, in sentences."""

    path: Path
    num_bytes: int
    num_tensors: int
    pre_tokenizer: str
    notes: list[str] = field(default_factory=list)


def plan_gguf(folder: str | Path, quantization: str = "f16") -> list[TensorPlan]:
    """Every tensor of the file, what is done to it, and its bytes; nothing but headers is read.

    `quantization`: f32, f16, bf16, q8_0, q5_0 or q4_0; for a K-quant the plan is that of the file it is made from.
    Raises ConfigError for another one, ExportError for an architecture that is not covered or weights that it does
    not know.
    """
    weights = Weights(Path(folder))
    return weights.plan(_python_type(weights, quantization))


def write_gguf(
    folder: str | Path,
    out: Path,
    quantization: str = "f16",
    *,
    importance: Mapping[str, NDArray[np.float32]] | None = None,
    tokenizer: str | Path | None = None,
) -> GgufWritten:
    """Write the model folder as the GGUF file `out`, as `plan_gguf` says.

    K-quants are made by llama.cpp from a file of the stored type, which is written first and thrown away.
    `tokenizer`: the folder to take tokenizer and template from (a base under an adapter that brings its own).
    `importance`: for K-quants, how much each input of a weight matters (`importance.importance_matrix`).
    Raises as `plan_gguf` does, and ModelError where a K-quant is asked for without llama-cpp-python.
    """
    weights = Weights(Path(folder))
    kind = _python_type(weights, quantization)
    if quantization not in K_QUANTS:
        if importance is not None:
            raise ConfigError(
                f"GGUF: an importance matrix changes nothing in {quantization}; it is for K-quants"
            )
        return _write(weights, Path(folder), out, kind, tokenizer)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
        whole = Path(beside) / "whole.gguf"
        written = _write(weights, Path(folder), whole, kind, tokenizer)
        quantize_gguf(whole, out, quantization, importance=importance)
    return GgufWritten(out, out.stat().st_size, written.num_tensors, written.pre_tokenizer, written.notes)


def _write(
    weights: Weights, folder: Path, out: Path, quantization: str, tokenizer_place: str | Path | None
) -> GgufWritten:
    plans = weights.plan(quantization)
    place = str(tokenizer_place or folder)
    tokenizer = gguf_tokenizer(load_tokenizer(place), weights.vocab_size, keys_tokeniser())
    keys: dict[str, Any] = {
        "general.type": "model",
        "general.name": folder.name,
        "general.file_type": int(gguf.LlamaFileType[_FILE_TYPES[quantization]]),
        "general.quantization_version": int(gguf.GGML_QUANT_VERSION),
        **hyperparameters(weights.config),
        **tokenizer.keys,
    }
    write_file(out, weights.architecture.name, keys, plans, weights.pieces)
    return GgufWritten(
        out,
        out.stat().st_size,
        len(plans),
        str(tokenizer.keys["tokenizer.ggml.pre"]),
        [*limits(weights.config), *tokenizer.notes],
    )


def _python_type(weights: Weights, quantization: str) -> str:
    """The type that the `gguf` package writes on the way to this one."""
    if quantization in K_QUANTS:
        return weights.stored_type
    if quantization not in PYTHON_TYPES:
        raise ConfigError(
            f"GGUF type: expected one of {', '.join((*PYTHON_TYPES, *K_QUANTS))}; got {quantization!r}"
        )
    return quantization
