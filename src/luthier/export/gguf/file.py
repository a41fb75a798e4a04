"""One GGUF file, written key by key and tensor by tensor: beside, and renamed when it is whole.

What stands in the file is decided elsewhere; this file knows the `gguf` package and the quantised types.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import gguf
import numpy as np
from numpy.typing import NDArray

from luthier.errors import ExportError
from luthier.files import atomic_path

PYTHON_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_0", "q4_0")
"""Types that the `gguf` package writes."""


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the file. `shape`: rows first, as in the model folder.

    `sources`: what it is made of there, laid one behind the other (the experts of a layer); empty where it is computed.
    """

    name: str
    sources: tuple[str, ...]
    operation: str
    shape: tuple[int, ...]
    type: str
    num_bytes: int

    def describe(self) -> str:
        """One line for a person."""
        shape = " x ".join(map(str, self.shape))
        return f"{self.name}  {shape}  {self.type}  {self.num_bytes:,} bytes  {self.operation}"


def type_of(name: str, shape: tuple[int, ...], wanted: str) -> str:
    """The type a tensor is stored in: vectors and routers keep float32; rows that do not fill blocks of 32 fall back
    to f16.

    Under q5_0 and q4_0 the embeddings and the output, which lose most by it, are q8_0.
    """
    if len(shape) < 2 or wanted == "f32" or ".ffn_gate_inp" in name:
        return "f32"
    if wanted in ("q5_0", "q4_0") and name in ("token_embd.weight", "output.weight"):
        wanted = "q8_0"
    if wanted.startswith("q") and shape[-1] % 32:
        return "f16"
    return wanted


def num_bytes_of(shape: tuple[int, ...], kind: str) -> int:
    """Bytes of a tensor in a file."""
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind.upper()]]
    return int(np.prod(shape)) // int(block) * int(size)


def encode(values: NDArray[Any], plan: TensorPlan) -> NDArray[Any]:
    """Rows of a tensor in the plan's type. Raises ExportError where a value is not finite, or too large for float16."""
    where = plan.sources[0] if plan.sources else plan.name
    if not np.isfinite(values).all():
        raise ExportError(f"GGUF: {where} holds values that are not finite")
    with np.errstate(over="ignore"):
        encoded = gguf.quantize(
            np.ascontiguousarray(values, dtype=np.float32), gguf.GGMLQuantizationType[plan.type.upper()]
        )
    if plan.type == "f16" and not np.isfinite(encoded).all():
        raise ExportError(f"GGUF: {where} holds values too large for f16; choose bf16")
    return np.asarray(encoded)


def write_file(
    out: Path,
    architecture: str,
    keys: Mapping[str, Any],
    plans: Sequence[TensorPlan],
    pieces: Callable[[TensorPlan], Iterable[NDArray[Any]]],
) -> None:
    """Write `out`; `pieces` gives the float values of one tensor, some rows at a time, and no more is in memory.

    Raises ExportError where values cannot be stored; then, and on any failure, what was there before stays.
    """
    with atomic_path(out) as path:
        _write_head(path, architecture, keys, plans)
        with path.open("ab") as file:
            _pad(file)
            for plan in plans:
                start = file.tell()
                for values in pieces(plan):
                    file.write(encode(values, plan).tobytes())
                if file.tell() - start != plan.num_bytes:
                    raise ExportError(
                        f"GGUF: {plan.name} has {file.tell() - start} bytes, {plan.num_bytes} were planned"
                    )
                _pad(file)


def _write_head(path: Path, architecture: str, keys: Mapping[str, Any], plans: Sequence[TensorPlan]) -> None:
    """All but the values: keys, and the name, shape, type and place of every tensor."""
    writer = gguf.GGUFWriter(path, architecture)
    try:
        for key, value in keys.items():
            _add(writer, key, value)
        for plan in plans:
            kind = gguf.GGMLQuantizationType[plan.type.upper()]
            dtype = np.dtype(np.float32)
            writer.add_tensor_info(plan.name, plan.shape, dtype, plan.num_bytes, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()


def _pad(file: IO[bytes]) -> None:
    """Tensors begin at multiples of the alignment."""
    file.write(bytes(-file.tell() % gguf.GGUF_DEFAULT_ALIGNMENT))


def _add(writer: Any, key: str, value: Any) -> None:
    """Integers are uint32 and floats float32, as the specification's keys are; token types are int32."""
    kinds = gguf.GGUFValueType
    if isinstance(value, list):
        writer.add_array(key, value)
    else:
        kind = {bool: kinds.BOOL, int: kinds.UINT32, float: kinds.FLOAT32, str: kinds.STRING}[type(value)]
        writer.add_key_value(key, value, kind)
