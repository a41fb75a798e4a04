"""K-quants: llama.cpp's own quantiser, through llama-cpp-python.

A GGUF file of f32, f16 or bf16 becomes a smaller one. Knows nothing of model folders.
"""

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ConfigError, ExportError
from luthier.files import atomic_path
from luthier.models.gguf import llama_cpp

K_QUANTS = (
    *("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k"),
    *("iq4_nl", "iq4_xs"),
)
"""Types that llama.cpp quantises to, by their names in lower case."""

_MAX_BUFFER_BYTES = 1 << 30


def quantize_gguf(
    source: Path,
    out: Path,
    quantization: str,
    *,
    importance: Mapping[str, NDArray[np.float32]] | None = None,
    num_threads: int | None = None,
) -> None:
    """Write `source`, quantised, to `out`: beside, and renamed.

    `importance`: by the tensor's name in the file, one value per input (shape (inputs,), or (experts * inputs,)).
    Raises ConfigError for a type that is none of `K_QUANTS`, ModelError without llama-cpp-python, and ExportError where
    llama.cpp refuses.
    """
    if quantization not in K_QUANTS:
        raise ConfigError(f"llama.cpp quantises to {', '.join(K_QUANTS)}; got {quantization!r}")
    lib = llama_cpp()
    params = lib.llama_model_quantize_default_params()
    params.ftype = getattr(lib, "LLAMA_FTYPE_MOSTLY_" + quantization.upper())
    params.nthread = num_threads or os.cpu_count() or 1
    params.max_buf_size = _MAX_BUFFER_BYTES
    entries = _entries(lib, importance or {})
    if importance:
        params.imatrix = entries
    with atomic_path(out) as path:
        code = lib.llama_model_quantize(os.fsencode(source), os.fsencode(path), ctypes.byref(params))
        if code != 0:
            raise ExportError(f"{source}: llama.cpp cannot quantise it to {quantization} (code {code})")


def _entries(lib: Any, importance: Mapping[str, NDArray[np.float32]]) -> Any:
    """The C array that llama.cpp reads: name, values, count; an empty one ends it. It owns what it points to."""
    array = (lib.llama_model_imatrix_data * (len(importance) + 1))()
    kept = []
    for entry, (name, values) in zip(array, importance.items(), strict=False):
        data = np.ascontiguousarray(values, dtype=np.float32)
        if not np.isfinite(data).all():
            raise ExportError(f"importance matrix: {name} holds values that are not finite")
        kept.append(data)
        entry.name = name.encode("utf-8")
        entry.data = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = data.size
    array.kept = kept
    return array
