"""Safetensors by the piece: rows of a tensor read from a file, tensors written one after another as they come.

A reader maps nothing and a writer keeps nothing: memory holds the piece in hand. The header of a file that is written
says beforehand what will follow, so the shapes and dtypes must be known. Knows nothing of models.
The format: https://github.com/huggingface/safetensors#format
"""

import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from luthier.errors import ExportError, ModelError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies: `offset` bytes from the start of `path`."""

    name: str
    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def num_rows(self) -> int:
        """The first axis; a number without axes is one row."""
        return self.shape[0] if self.shape else 1

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.shape[1:]

    def rows(self, first: int = 0, last: int | None = None) -> Tensor:
        """A copy of rows [first, last), of shape (last - first, *row_shape). Raises ModelError for a short file."""
        count = (self.num_rows if last is None else last) - first
        row_bytes = prod(self.row_shape) * self.dtype.itemsize
        buffer = bytearray(count * row_bytes)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset + first * row_bytes)
            view = memoryview(buffer)
            while view:
                read = file.readinto(view)
                if not read:
                    raise ModelError(f"{self.path}: ends within {self.name}: the file is torn")
                view = view[read:]
        if not buffer:
            return torch.empty((count, *self.row_shape), dtype=self.dtype)
        return torch.frombuffer(buffer, dtype=self.dtype).view(count, *self.row_shape)


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """What a safetensors file holds, from its header alone. Raises ModelError for a file that is none."""
    try:
        with safe_open(path, framework="pt"):
            pass  # the library checks every offset against the size of the file
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except (OSError, ValueError, SafetensorError, struct.error) as error:
        raise ModelError(f"{path}: cannot read it as safetensors: {error}") from error
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        if entry["dtype"] not in _DTYPES:
            raise ModelError(
                f"{path}: {name} is stored as {entry['dtype']}; expected one of {', '.join(_DTYPES)}. Merge on "
                "the full-precision model"
            )
        start = 8 + length + entry["data_offsets"][0]
        found[name] = StoredTensor(name, path, _DTYPES[entry["dtype"]], tuple(entry["shape"]), start)
    return found


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor to be written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def header_bytes(entries: Sequence[Entry]) -> bytes:
    """What stands before the numbers; its length is a multiple of 8, so that tensors are aligned."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for entry in entries:
        end = start + entry.num_bytes
        header[entry.name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def write_tensors(path: Path, entries: Sequence[Entry], pieces: Callable[[Entry], Iterator[Tensor]]) -> None:
    """Write a file; `pieces` gives the rows of each entry in order. Raises ExportError where they do not add up."""
    # The widest first: every tensor then starts at a multiple of its own width.
    ordered = sorted(entries, key=lambda entry: (-entry.dtype.itemsize, entry.name))
    with path.open("wb", buffering=0) as file:
        _write_all(file, header_bytes(ordered))
        for entry in ordered:
            written = sum(_write_piece(file, entry, piece) for piece in pieces(entry))
            if written != entry.num_bytes:
                raise ExportError(
                    f"{path}: {entry.name}: {entry.num_bytes} bytes were planned, {written} written"
                )


def _write_piece(file: IO[bytes], entry: Entry, piece: Tensor) -> int:
    if piece.dtype != entry.dtype:
        raise ExportError(f"{entry.name}: {entry.dtype} was planned, {piece.dtype} came")
    raw = piece.contiguous().flatten().view(torch.uint8)
    _write_all(file, raw.numpy().data)
    return raw.numel()


def _write_all(file: IO[bytes], data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file.fileno(), view) :]


def shards(entries: Sequence[Entry], max_bytes: int) -> Mapping[str, list[Entry]]:
    """Files of at most `max_bytes` (a larger tensor has its own), by the name that other programs look for."""
    groups: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if groups[-1] and size + entry.num_bytes > max_bytes:
            groups.append([])
            size = 0
        groups[-1].append(entry)
        size += entry.num_bytes
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    count = len(groups)
    return {f"model-{number:05}-of-{count:05}.safetensors": group for number, group in enumerate(groups, 1)}
