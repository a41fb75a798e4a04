"""Rows of tokens kept on the disk, so that the same files need not be read and rendered again.

One folder for each set of datasets, named by what they follow from: arrays as .npy files that are mapped into memory,
the rest as JSON, and a hash of each. What is torn counts as absent. Whoever keeps something says what it follows from;
this file knows nothing of recipes, models or templates.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.dataset import TokenDataset
from luthier.data.units import Units
from luthier.files import atomic_directory, cache_folder, write_json_atomic
from luthier.hashing import hash_file, hash_json

MAX_BYTES = 8 * 1024**3
"""What all folders may take together; beyond it the ones that were used longest ago go."""
_FACTS = "tokens.json"


def default_token_store() -> Path:
    """`tokens` in the folder of Luthier's caches."""
    return cache_folder("tokens")


@dataclass(frozen=True)
class Kept:
    """Datasets by name, and what whoever kept them wrote beside them. `num_bytes`: what they take on the disk."""

    datasets: dict[str, TokenDataset]
    facts: Mapping[str, Any]
    num_bytes: int


@dataclass(frozen=True)
class Entry:
    """A folder of the store as it is listed. `used`: seconds since the epoch when it was last read or written."""

    name: str
    folder: Path
    facts: Mapping[str, Any]
    num_bytes: int
    used: float


@dataclass(frozen=True)
class TokenStore:
    """The folders below `root`, which may take `max_bytes` together."""

    root: Path
    max_bytes: int = MAX_BYTES

    def find(self, identity: Mapping[str, Any]) -> Kept | None:
        """What was kept under `identity`, whole; None where nothing was. The arrays may be written to, in memory."""
        folder = self._folder(identity)
        try:
            told = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
            if any(hash_file(folder / name) != expected for name, expected in told["hashes"].items()):
                return None
            datasets = {name: _load(folder, name) for name in told["datasets"]}
            os.utime(folder, (time.time(), time.time()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return Kept(datasets, told["facts"], _size(folder))

    def keep(
        self, identity: Mapping[str, Any], datasets: Mapping[str, TokenDataset], facts: Mapping[str, Any]
    ) -> int:
        """Write datasets under `identity`; returns their bytes. Raises OSError where the disk refuses."""
        folder = self._folder(identity)
        with atomic_directory(folder) as beside:
            for name, dataset in datasets.items():
                _save(beside, name, dataset)
            hashes = {path.name: hash_file(path) for path in sorted(beside.iterdir())}
            told = {"facts": dict(facts), "datasets": list(datasets), "hashes": hashes}
            write_json_atomic(beside / _FACTS, told)
        self._make_room(folder)
        return _size(folder)

    def entries(self) -> list[Entry]:
        """What is kept, the last used first."""
        found = []
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            try:
                facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))["facts"]
                found.append(Entry(folder.name, folder, facts, _size(folder), folder.stat().st_mtime))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
        return sorted(found, key=lambda entry: -entry.used)

    def clear(self) -> int:
        """Remove all of it, torn folders too; returns the bytes."""
        num_bytes = sum(_size(folder) for folder in self.root.iterdir()) if self.root.is_dir() else 0
        shutil.rmtree(self.root, ignore_errors=True)
        return num_bytes

    def _folder(self, identity: Mapping[str, Any]) -> Path:
        return self.root / hash_json(dict(identity)).removeprefix("sha256:")[:20]

    def _make_room(self, spared: Path) -> None:
        total = 0
        for entry in self.entries():
            total += entry.num_bytes
            if total > self.max_bytes and entry.folder != spared:
                shutil.rmtree(entry.folder, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _arrays(name: str, dataset: TokenDataset) -> Iterator[tuple[str, NDArray[Any]]]:
    yield f"{name}.token_ids", dataset.token_ids
    yield f"{name}.weights", dataset.weights
    yield f"{name}.offsets", dataset.offsets
    if dataset.units is not None:
        yield f"{name}.unit_offsets", dataset.units.offsets
        yield f"{name}.roles", dataset.units.roles_R


def _save(folder: Path, name: str, dataset: TokenDataset) -> None:
    """Reference log-probabilities are of a model, and are never kept here."""
    for file, array in _arrays(name, dataset):
        np.save(folder / f"{file}.npy", array)
    counts = {
        one.name: value for one in fields(dataset) if isinstance(value := getattr(dataset, one.name), int)
    }
    told = {"counts": counts, "places": list(dataset.places), "beside": dataset.beside is not None}
    write_json_atomic(folder / f"{name}.json", told)
    if dataset.beside is not None:
        _save(folder, f"{name}.beside", dataset.beside)


def _load(folder: Path, name: str) -> TokenDataset:
    def array(what: str) -> NDArray[Any]:
        # Copied only where someone writes: a large file is not read at the start, and its memory can be given back.
        mapped = np.load(folder / f"{name}.{what}.npy", mmap_mode="c", allow_pickle=False)
        return mapped.view(np.ndarray)  # type: ignore[no-any-return]

    told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    dataset = TokenDataset(
        array("token_ids"), array("weights"), array("offsets"), told["places"], **told["counts"]
    )
    if (folder / f"{name}.roles.npy").exists():
        dataset = replace(dataset, units=Units(array("unit_offsets"), array("roles")))
    return replace(dataset, beside=_load(folder, f"{name}.beside")) if told["beside"] else dataset
