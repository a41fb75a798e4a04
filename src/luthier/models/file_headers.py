"""Headers of GGUF and safetensors files, checked before anything is allocated for what they promise.

Every count, length, size and offset is held against the bytes that are there. Knows nothing of what tensors mean.
Sources: the GGUF specification (version 3) and the safetensors format.
"""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import gguf

from luthier.errors import ModelError

_MAX_JSON_BYTES = 100_000_000
_MAX_DIMS = 4
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<B",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E5M2FNUZ", "F8_E4M3FNUZ", "I8", "U8", "BOOL"), 8),
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}


@dataclass(frozen=True)
class StoredTensor:
    """`shape`: as the file says it (GGUF: the row's length first). `start`: its first byte among the tensors'."""

    name: str
    shape: tuple[int, ...]
    type: str
    start: int
    num_bytes: int


@dataclass(frozen=True)
class FileHeader:
    """`keys`: scalars and texts of the metadata, and the length of each array."""

    keys: dict[str, Any]
    tensors: tuple[StoredTensor, ...]


def check_gguf(path: Path) -> FileHeader:
    """The header of a GGUF file. Raises ModelError, with the field, where it promises what is not there."""
    with _open(path) as file:
        reader = _Reader(file, path)
        if reader.take(4) != b"GGUF":
            raise reader.error("it does not begin with GGUF")
        if (version := reader.number("<I")) not in (2, 3):
            raise reader.error(f"version {version}; 2 and 3 are known")
        num_tensors = reader.count(24, "tensors")
        num_keys = reader.count(13, "keys")
        keys: dict[str, Any] = {}
        for _ in range(num_keys):
            name = reader.text("a key's name")
            if name in keys:
                raise reader.error(f"the key {name} stands twice")
            keys[name] = reader.value(name)
        alignment = keys.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
            raise reader.error(f"general.alignment is {alignment}")
        tensors = [_gguf_tensor(reader) for _ in range(num_tensors)]
        begin = -(-reader.position // alignment) * alignment
        _check_places(path, tensors, reader.size - begin, alignment)
        _check_tokenizer(reader, keys)
        return FileHeader(keys, tuple(tensors))


def check_safetensors(path: Path) -> FileHeader:
    """The header of a safetensors file. Raises ModelError, with the tensor, where it promises what is not there."""
    with _open(path) as file:
        reader = _Reader(file, path)
        length = reader.number("<Q")
        if length > min(reader.left, _MAX_JSON_BYTES):
            raise reader.error(f"its header is said to have {length} bytes, {reader.left} follow")
        try:
            entries = json.loads(reader.take(length).decode("utf-8"), object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise reader.error(f"its header is not JSON: {error}") from error
        if not isinstance(entries, dict):
            raise reader.error("its header is not a JSON object")
        metadata = entries.pop("__metadata__", None)
        if metadata is not None and not (
            isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())
        ):
            raise reader.error("its metadata is not an object of texts")
        tensors = sorted((_safetensor(reader, name, e) for name, e in entries.items()), key=lambda t: t.start)
        end = 0
        for tensor in tensors:
            if tensor.start != end:
                raise reader.error(
                    f"{tensor.name} begins at byte {tensor.start}, the one before ends at {end}"
                )
            end += tensor.num_bytes
        if end != reader.left:
            raise reader.error(f"its tensors have {end} bytes, {reader.left} follow the header")
        return FileHeader(metadata or {}, tuple(tensors))


class _Reader:
    """Reads forward and never past the end of the file."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self.size = path.stat().st_size
        self.position = 0

    @property
    def left(self) -> int:
        return self.size - self.position

    def error(self, what: str) -> ModelError:
        return ModelError(f"{self._path}: damaged near byte {self.position}: {what}. Get the file again")

    def take(self, num_bytes: int) -> bytes:
        if num_bytes > self.left:
            raise self.error(f"{num_bytes} bytes were expected, {self.left} are left")
        self.position += num_bytes
        return self._file.read(num_bytes)

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def count(self, least_bytes: int, what: str) -> int:
        """How many of something that takes at least so many bytes each."""
        count: int = self.number("<Q")
        if count * least_bytes > self.left:
            raise self.error(f"{count} {what} are said to follow, and {self.left} bytes do")
        return count

    def text(self, what: str) -> str:
        try:
            return self.take(self.count(1, f"bytes of {what}")).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"{what} is not UTF-8") from error

    def value(self, name: str) -> Any:
        """A scalar, a text, or the length of an array."""
        kind = self.number("<I")
        if kind == _STRING:
            return self.text(name)
        if kind != _ARRAY:
            return self._scalar(kind, name)
        inner = self.number("<I")
        if inner == _STRING:
            length = self.count(8, f"texts of {name}")
            for _ in range(length):
                self.text(f"a text of {name}")
            return length
        size = struct.calcsize(self._form(inner, name))
        length = self.count(size, f"values of {name}")
        self.position += length * size
        self._file.seek(self.position)
        return length

    def _scalar(self, kind: int, name: str) -> Any:
        value = self.number(self._form(kind, name))
        return value if kind != 7 else bool(value)

    def _form(self, kind: int, name: str) -> str:
        if kind not in _SCALARS:
            raise self.error(f"{name} has the type {kind}, which there is not")
        return _SCALARS[kind]


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise ModelError(f"{path}: cannot read it: {error.strerror}") from error


def _gguf_tensor(reader: _Reader) -> StoredTensor:
    name = reader.text("a tensor's name")
    num_dims = reader.number("<I")
    if not 1 <= num_dims <= _MAX_DIMS:
        raise reader.error(f"{name} has {num_dims} dimensions")
    shape = tuple(reader.number("<Q") for _ in range(num_dims))
    kind = reader.number("<I")
    start = reader.number("<Q")
    try:
        stored = gguf.GGMLQuantizationType(kind)
        block, size = gguf.GGML_QUANT_SIZES[stored]
    except (ValueError, KeyError) as error:
        raise reader.error(f"{name} has the type {kind}, which is not known") from error
    if not all(shape) or math.prod(shape) >= 1 << 62 or shape[0] % block:
        raise reader.error(f"{name} has the shape {shape} in blocks of {block}")
    return StoredTensor(name, shape, stored.name.lower(), start, math.prod(shape) // block * size)


def _check_places(path: Path, tensors: list[StoredTensor], num_bytes: int, alignment: int) -> None:
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise ModelError(f"{path}: damaged: two tensors have one name. Get the file again")
    end = 0
    for tensor in sorted(tensors, key=lambda t: t.start):
        if tensor.start % alignment or tensor.start < end or tensor.start + tensor.num_bytes > num_bytes:
            raise ModelError(
                f"{path}: damaged: {tensor.name} lies at bytes {tensor.start} to {tensor.start + tensor.num_bytes} of "
                f"{num_bytes}, where it is not aligned, or overlaps, or the file ends. Get the file again"
            )
        end = tensor.start + tensor.num_bytes


def _check_tokenizer(reader: _Reader, keys: dict[str, Any]) -> None:
    """Lists of one length, and ids that are in them: what reads the vocabulary trusts both."""
    length = keys.get("tokenizer.ggml.tokens")
    for name, value in keys.items():
        if not name.startswith("tokenizer.ggml.") or length is None:
            continue
        if name.endswith((".scores", ".token_type")) and value != length:
            raise reader.error(f"{name} has {value} entries for {length} tokens")
        if name.endswith("_token_id") and not (isinstance(value, int) and 0 <= value < length):
            raise reader.error(f"{name} is {value}, of {length} tokens")


def _safetensor(reader: _Reader, name: str, entry: Any) -> StoredTensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise reader.error(f"{name} is described by something else than dtype, shape and data_offsets")
    kind, shape, places = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _BITS:
        raise reader.error(f"{name} has the type {kind!r}, which there is not")
    whole = isinstance(shape, list) and isinstance(places, list) and len(places) == 2
    if not whole or any(type(n) is not int or not 0 <= n < 1 << 62 for n in [*shape, *places]):
        raise reader.error(f"{name} has the shape {shape!r} at {places!r}")
    if (places[1] - places[0]) * 8 != math.prod(shape) * _BITS[kind]:
        raise reader.error(f"{name}: {places[1] - places[0]} bytes for the shape {shape} in {kind}")
    return StoredTensor(name, tuple(shape), kind.lower(), places[0], places[1] - places[0])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found
