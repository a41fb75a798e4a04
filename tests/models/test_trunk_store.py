"""Boundary states on the disk: what was written comes back, what is torn does not, and there is only so much room."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from luthier.errors import TrainingError
from luthier.models.trunk_cache import TrunkCache
from luthier.models.trunk_store import TrunkStore, part_folders, problem_of, remove_torn


def keys_of(numbers: range) -> np.ndarray:
    return np.array([number.to_bytes(16, "big") for number in numbers], dtype="S16")


def states_of(numbers: range, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.tensor(list(numbers))[:, None] * torch.ones(4)).to(dtype)


def write(store: TrunkStore, *spans: range) -> None:
    for span in spans:
        writer = store.writer()
        writer.add(keys_of(span), states_of(span, store.dtype))
        writer.flush()
    store.load()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_was_written_comes_back(dtype: torch.dtype, tmp_path: Path) -> None:
    store = TrunkStore(tmp_path, 4, dtype)
    assert not store.has(keys_of(range(3))).any()
    write(store, range(5, 20), range(5), range(20, 21))
    order = np.random.default_rng(0).permutation(21)
    for one in (store, TrunkStore(tmp_path, 4, dtype)):
        assert one.num_records == 21 and len(part_folders(tmp_path)) == 3
        assert torch.equal(one.read(keys_of(range(21))[order]), states_of(range(21), dtype)[order])
        assert one.has(keys_of(range(19, 23))).tolist() == [True, True, False, False]
    with pytest.raises(TrainingError, match="1 of 3 prefixes"):
        store.read(keys_of(range(19, 22)))


def test_of_a_prefix_that_is_there_twice_the_first_record_counts(tmp_path: Path) -> None:
    store = TrunkStore(tmp_path, 4, torch.float32)
    write(store, range(3))
    writer = store.writer()
    writer.add(keys_of(range(2, 5)), torch.zeros(3, 4))
    writer.flush()
    store.load()
    assert store.num_records == 5
    assert torch.equal(store.read(keys_of(range(2, 3))), states_of(range(2, 3)))


@pytest.mark.parametrize("how", ["cut", "changed", "no keys", "no record", "half a record"])
def test_a_torn_part_is_passed_over(how: str, tmp_path: Path) -> None:
    write(TrunkStore(tmp_path, 4, torch.float32), range(10), range(10, 20))
    part = part_folders(tmp_path)[0]
    states = part / "states.bin"
    match how:
        case "cut":
            os.truncate(states, states.stat().st_size - 1)
        case "changed":
            raw = bytearray(states.read_bytes())
            raw[70] ^= 1
            states.write_bytes(raw)
        case "no keys":
            (part / "keys.bin").unlink()
        case "no record":
            (part / "part.json").unlink()
        case "half a record":
            (part / "part.json").write_text('{"num_records": 10, "fi', encoding="utf-8")
    assert problem_of(part) is not None
    store = TrunkStore(tmp_path, 4, torch.float32)
    assert store.has(keys_of(range(20))).tolist() == [False] * 10 + [True] * 10
    assert remove_torn(tmp_path) == [part.name] and not part.exists()
    write(store, range(10))
    assert torch.equal(store.read(keys_of(range(20))), states_of(range(20)))


def _write_locked(root: Path, start: int) -> None:
    cache = TrunkCache(root, 10**9)
    folder = cache.folder_of({"base": 1})
    with cache.used(folder, {"base": "toy"}), cache.writing(folder):
        store = TrunkStore(folder, 4, torch.float32)
        for first in range(start, start + 40, 10):
            write(store, range(first, first + 10))


@pytest.mark.slow
def test_two_processes_write_to_one_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_locked, args=(tmp_path, start)) for start in (0, 40)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(60)
        assert one.exitcode == 0
    store = TrunkStore(TrunkCache(tmp_path, 0).folder_of({"base": 1}), 4, torch.float32)
    assert torch.equal(store.read(keys_of(range(80))), states_of(range(80)))


def test_the_store_that_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    one_store = 100 * (16 + 16)
    cache = TrunkCache(tmp_path, 4 * one_store)
    folders = [cache.folder_of({"base": number}) for number in range(3)]
    for age, folder in zip((300, 100, 200), folders, strict=True):
        with cache.used(folder, {"base": folder.name}):
            write(TrunkStore(folder, 4, torch.float32), range(100))
        lock = folder.with_name(f".{folder.name}.use")
        os.utime(lock, (lock.stat().st_mtime - age,) * 2)
    assert [store.folder for store in cache.stores()] == [folders[1], folders[2], folders[0]]
    new = cache.folder_of({"base": "new"})
    assert cache.refusal(new, one_store) is None
    assert [folder.exists() for folder in folders] == [False, True, True]
    with cache.used(folders[2], {}):  # a run reads it, so it stays, and the younger one goes
        assert cache.refusal(new, 2 * one_store) is None
        assert [folder.exists() for folder in folders] == [False, False, True]
        assert [store.in_use for store in cache.stores()] == [True]
        assert cache.clear()[0] == [] and folders[2].exists()
    assert "train.trunk_cache_gb" in str(cache.refusal(new, 5 * one_store))
    assert "are free" in str(TrunkCache(tmp_path, 10**18).refusal(new, 10**17))
    assert len(cache.clear()[0]) == 1 and not cache.stores()
