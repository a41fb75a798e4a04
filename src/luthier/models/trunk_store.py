"""Boundary states on the disk: for the key of a prefix, the hidden states behind the trunk at its last token.

One store belongs to one trunk. It is a folder of parts, each written beside and renamed and never changed again:

    part-00000-<word>/    keys.bin (16 bytes a record), states.bin (channels numbers a record), part.json (checksums)

A part that is torn is passed over, so its prefixes are missing and are computed again. States are mapped into memory,
not read. This file knows nothing of models, tokens, or of how many stores there are.
"""

import json
import mmap
import shutil
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.errors import TrainingError
from luthier.files import atomic_directory, write_json_atomic

_KEY = np.dtype("S16")
_CHUNK_BYTES = 1 << 20
_PART_BYTES = 64 << 20  # a killed process loses at most this much of what it computed


@dataclass(frozen=True)
class _Part:
    states_RC: Tensor
    keys_R: NDArray[np.bytes_]


class TrunkStore:
    """The states of one trunk by the key of their prefix. `dtype` and `channels` are those of every record."""

    def __init__(self, folder: Path, channels: int, dtype: torch.dtype) -> None:
        self.folder, self.channels, self.dtype = folder, channels, dtype
        self._parts: dict[str, _Part] = {}
        self._sorted, self._places = np.empty(0, _KEY), np.empty(0, np.int64)
        self.load()

    @property
    def record_bytes(self) -> int:
        """What one token takes on the disk."""
        return self.channels * self.dtype.itemsize + _KEY.itemsize

    @property
    def num_records(self) -> int:
        return len(self._sorted)

    def load(self) -> None:
        """See what is on the disk now, parts of other processes too."""
        paths = part_folders(self.folder)
        fresh = [path for path in paths if path.name not in self._parts and problem_of(path) is None]
        self._parts |= {path.name: self._open(path) for path in fresh}
        self._parts = {path.name: self._parts[path.name] for path in paths if path.name in self._parts}
        keys = [part.keys_R for part in self._parts.values()]
        every = np.concatenate(keys) if keys else np.empty(0, _KEY)
        # Of a prefix that two parts hold, the earlier record counts: `unique` gives first places.
        self._sorted, self._places = np.unique(every, return_index=True)

    def _open(self, path: Path) -> _Part:
        keys = np.fromfile(path / "keys.bin", _KEY)
        size = len(keys) * self.channels
        states = torch.from_file(str(path / "states.bin"), shared=False, size=size, dtype=self.dtype)
        return _Part(states.view(len(keys), self.channels), keys)

    def has(self, keys: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """Which of the keys are in the store, shape as `keys`."""
        return self._find(keys) >= 0

    def read(self, keys: NDArray[np.bytes_]) -> Tensor:
        """The states of some prefixes, shape (keys, channels). Raises TrainingError where one is not in the store."""
        records = self._find(keys)
        if len(records) and records.min() < 0:
            raise TrainingError(
                f"{self.folder}: {int((records < 0).sum())} of {len(keys)} prefixes are not in the store of the trunk, "
                "which was to hold every row of this run"
            )
        found = torch.empty(len(keys), self.channels, dtype=self.dtype)
        start = 0
        for part in self._parts.values():
            end = start + len(part.keys_R)
            here = torch.from_numpy(np.flatnonzero((records >= start) & (records < end)))
            if len(here):
                found[here] = part.states_RC[torch.from_numpy(records)[here] - start]
            start = end
        return found

    def _find(self, keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """The record of each key, counted over all parts; -1 where there is none."""
        if not len(self._sorted):
            return np.full(len(keys), -1, np.int64)
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[place] == keys, self._places[place], -1)

    def writer(self) -> "StoreWriter":
        """What takes new records. One writer at a time: whoever writes holds the cache's lock."""
        return StoreWriter(self)


class StoreWriter:
    """Takes records and writes a part whenever enough came together."""

    def __init__(self, store: TrunkStore) -> None:
        self.store = store
        self._keys: list[NDArray[np.bytes_]] = []
        self._states: list[Tensor] = []
        self._bytes = 0

    def add(self, keys_R: NDArray[np.bytes_], states_RC: Tensor) -> None:
        """Keys that the store does not hold, each once, and their states."""
        self._keys.append(keys_R)
        self._states.append(states_RC.detach().to("cpu", self.store.dtype).contiguous())
        self._bytes += len(keys_R) * self.store.record_bytes
        if self._bytes >= _PART_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what came since the last part. Raises OSError as the disk does; the parts before it stay."""
        if not self._bytes:
            return
        _write_part(self.store, self._keys, self._states)
        self._keys, self._states, self._bytes = [], [], 0


def _write_part(store: TrunkStore, keys: Sequence[NDArray[np.bytes_]], states: Sequence[Tensor]) -> None:
    numbers = [int(path.name.split("-")[1]) for path in part_folders(store.folder)]
    name = f"part-{max(numbers, default=-1) + 1:05d}-{uuid.uuid4().hex[:8]}"
    with atomic_directory(store.folder / name) as beside:
        files = {
            "keys.bin": _write(
                beside / "keys.bin", (np.ascontiguousarray(one).view(np.uint8) for one in keys)
            ),
            "states.bin": _write(beside / "states.bin", (one.view(torch.uint8).numpy() for one in states)),
        }
        write_json_atomic(beside / "part.json", {"num_records": sum(map(len, keys)), "files": files})


def _write(path: Path, pieces: Iterator[Any]) -> dict[str, int]:
    size = checksum = 0
    with path.open("wb") as file:
        for piece in pieces:
            raw = piece.data
            size, checksum = size + raw.nbytes, zlib.crc32(raw, checksum)
            file.write(raw)
    return {"bytes": size, "crc32": checksum}


def part_folders(folder: Path) -> list[Path]:
    """The parts of a store, the oldest first."""
    return sorted(path for path in folder.glob("part-*") if path.is_dir())


def problem_of(path: Path) -> str | None:
    """What is wrong with a part, or None where its files are there with their sizes and checksums."""
    try:
        files = json.loads((path / "part.json").read_text(encoding="utf-8"))["files"]
        for name in ("keys.bin", "states.bin"):
            expected = files[name]
            if (path / name).stat().st_size != expected["bytes"]:
                return f"{name} does not have the size that was written"
            if _checksum(path / name) != expected["crc32"]:
                return f"{name} does not have the checksum that was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _checksum(path: Path) -> int:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        checksum = 0
        for start in range(0, len(mapped), _CHUNK_BYTES):
            checksum = zlib.crc32(mapped[start : start + _CHUNK_BYTES], checksum)
    return checksum


def remove_torn(folder: Path) -> list[str]:
    """Take away parts that are torn and what a killed process left; gives their names. For who holds the lock."""
    torn = [path for path in part_folders(folder) if problem_of(path) is not None]
    for path in [*torn, *folder.glob(".*.tmp")]:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in torn]
