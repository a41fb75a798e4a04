"""One GGUF file, written key by key and tensor by tensor: beside, and renamed when it is whole.

What stands in the file is decided elsewhere; this file knows the `gguf` package and the quantised types.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ExportError
from luthier.files import atomic_path

PYTHON_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_0", "q4_0")
"""Types that the `gguf` package writes."""


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the file. `shape`: rows first, as in the model folder; `source`: its name there, if it has one."""

    name: str
    source: str | None
    operation: str
    shape: tuple[int, ...]
    type: str
    num_bytes: int

    def describe(self) -> str:
        """One line for a person."""
        shape = " x ".join(map(str, self.shape))
        return f"{self.name}  {shape}  {self.type}  {self.num_bytes:,} bytes  {self.operation}"


def gguf_package() -> Any:
    """The `gguf` package. Raises ExportError with the command that installs it."""
    try:
        import gguf
    except ImportError as error:
        raise ExportError(
            "GGUF files need the package gguf, which is not installed: pip install 'luthier[gguf]'"
        ) from error
    return gguf


def type_of(name: str, shape: tuple[int, ...], wanted: str) -> str:
    """The type a tensor is stored in: vectors keep float32; rows that do not fill blocks of 32 fall back to f16.

    Under q5_0 and q4_0 the embeddings and the output, which lose most by it, are q8_0.
    """
    if len(shape) < 2 or wanted == "f32":
        return "f32"
    if wanted in ("q5_0", "q4_0") and name in ("token_embd.weight", "output.weight"):
        wanted = "q8_0"
    if wanted.startswith("q") and shape[-1] % 32:
        return "f16"
    return wanted


def num_bytes_of(shape: tuple[int, ...], kind: str) -> int:
    """Bytes of a tensor in a file."""
    gguf = gguf_package()
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind.upper()]]
    return int(np.prod(shape)) // int(block) * int(size)


def encode(values: NDArray[Any], plan: TensorPlan) -> NDArray[Any]:
    """The values in the plan's type. Raises ExportError where a value is not finite, or too large for float16."""
    gguf = gguf_package()
    if not np.isfinite(values).all():
        raise ExportError(f"GGUF: {plan.source or plan.name} holds values that are not finite")
    with np.errstate(over="ignore"):
        encoded = gguf.quantize(
            np.ascontiguousarray(values, dtype=np.float32), gguf.GGMLQuantizationType[plan.type.upper()]
        )
    if plan.type == "f16" and not np.isfinite(encoded).all():
        raise ExportError(f"GGUF: {plan.source or plan.name} holds values too large for f16; choose bf16")
    return np.asarray(encoded)


def write_file(
    out: Path,
    architecture: str,
    keys: Mapping[str, Any],
    plans: Iterable[TensorPlan],
    read: Callable[[TensorPlan], NDArray[Any]],
) -> None:
    """Write `out`; `read` gives the float values of one tensor, and one tensor at a time is in memory.

    Raises ExportError where values cannot be stored; then, and on any failure, what was there before stays.
    """
    gguf = gguf_package()
    plans = list(plans)
    with atomic_path(out) as path:
        writer = gguf.GGUFWriter(path, architecture)
        try:
            for key, value in keys.items():
                _add(gguf, writer, key, value)
            for plan in plans:
                kind = gguf.GGMLQuantizationType[plan.type.upper()]
                dtype = np.dtype(np.float32)
                writer.add_tensor_info(plan.name, plan.shape, dtype, plan.num_bytes, raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for plan in plans:
                writer.write_tensor_data(encode(read(plan), plan))
        finally:
            writer.close()


def _add(gguf: Any, writer: Any, key: str, value: Any) -> None:
    """Integers are uint32 and floats float32, as the specification's keys are; token types are int32."""
    kinds = gguf.GGUFValueType
    if isinstance(value, list):
        writer.add_array(key, value)
    else:
        kind = {bool: kinds.BOOL, int: kinds.UINT32, float: kinds.FLOAT32, str: kinds.STRING}[type(value)]
        writer.add_key_value(key, value, kind)
