"""The folder of all trunk stores: which trunk has which, how much room they take, which goes when there is too little.

A store belongs to what its numbers follow from, and to nothing else: so every run on the same base, the same depth and
the same dtype shares it, whatever its rows. This file knows nothing of how states are computed.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.files import cache_folder, locked, write_json_atomic
from luthier.hashing import hash_json
from luthier.models.trunk_store import part_folders

_STORE = "store.json"


def default_cache() -> Path:
    """`trunk` in the folder of Luthier's caches."""
    return cache_folder("trunk")


@dataclass(frozen=True)
class StoreFacts:
    """One store as `luthier cache list` tells it. `used`: seconds since the epoch when a run last opened it."""

    name: str
    folder: Path
    facts: Mapping[str, Any]
    num_records: int
    num_bytes: int
    used: float
    in_use: bool


@dataclass(frozen=True)
class TrunkCache:
    """The stores below `root`, which may take `max_bytes` together."""

    root: Path
    max_bytes: int

    def folder_of(self, identity: Mapping[str, Any]) -> Path:
        """Where the store of a trunk is; `identity` is all that its numbers follow from, as JSON."""
        return self.root / hash_json(dict(identity)).removeprefix("sha256:")[:20]

    @contextlib.contextmanager
    def used(self, folder: Path, facts: Mapping[str, Any]) -> Iterator[None]:
        """Inside, no other process evicts the store. `facts` tell people what it is of."""
        with locked(_use_lock(folder), shared=True):
            if not (folder / _STORE).exists():
                write_json_atomic(folder / _STORE, dict(facts))
            os.utime(_use_lock(folder), (time.time(), time.time()))
            yield

    @contextlib.contextmanager
    def writing(self, folder: Path) -> Iterator[None]:
        """Inside, this process alone writes to the store."""
        with locked(folder.with_name(f".{folder.name}.write")):
            yield

    def stores(self) -> list[StoreFacts]:
        """Every store, the one that was used last first."""
        folders = [path.parent for path in self.root.glob(f"*/{_STORE}")] if self.root.exists() else []
        return sorted((_facts(folder) for folder in folders), key=lambda store: -store.used)

    def refusal(self, folder: Path, new_bytes: int) -> str | None:
        """Why `new_bytes` more cannot be in the store of `folder`, evicting others as need be; None where they can."""
        own = size_of(folder)
        if own + new_bytes > self.max_bytes:
            return (
                f"it would take {gigabytes(own + new_bytes)} of disk, and train.trunk_cache_gb is "
                f"{self.max_bytes / 1e9:g}"
            )
        self._make_room(self.max_bytes - own - new_bytes, keep=folder)
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if new_bytes > free:
            return (
                f"it would take {gigabytes(new_bytes)} of disk, and {gigabytes(free)} are free in {self.root}"
            )
        return None

    def _make_room(self, allowed: int, keep: Path) -> None:
        """Evict the stores that were not used for longest until the others take at most `allowed` bytes."""
        others = [store for store in self.stores() if store.folder != keep]
        total = sum(store.num_bytes for store in others)
        for store in reversed(others):
            if total > allowed and remove(store.folder):
                total -= store.num_bytes

    def clear(self) -> tuple[list[StoreFacts], list[StoreFacts]]:
        """Remove every store that no run uses: (those that were removed, those that stay)."""
        found = self.stores()
        gone = [store for store in found if remove(store.folder)]
        return gone, [store for store in found if store not in gone]


def _use_lock(folder: Path) -> Path:
    """Held shared by every run that reads the store. Beside it, for a lock must not go with what it guards."""
    return folder.with_name(f".{folder.name}.use")


def remove(folder: Path) -> bool:
    """Take a store away; False where a run uses it."""
    with locked(_use_lock(folder), wait=False) as held:
        if held:
            shutil.rmtree(folder, ignore_errors=True)
        return held


def size_of(folder: Path) -> int:
    """The bytes of everything in a store."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _facts(folder: Path) -> StoreFacts:
    facts = json.loads((folder / _STORE).read_text(encoding="utf-8"))
    keys = (path / "keys.bin" for path in part_folders(folder))
    num_records = sum(path.stat().st_size // 16 for path in keys if path.exists())
    with locked(_use_lock(folder), wait=False) as free:
        used = _use_lock(folder).stat().st_mtime
    return StoreFacts(folder.name, folder, facts, num_records, size_of(folder), used, not free)
