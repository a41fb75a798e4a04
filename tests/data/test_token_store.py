"""Rows of tokens that were kept come back as they were, or not at all."""

import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from luthier.data.dataset import TokenDataset
from luthier.data.token_store import TokenStore
from tests.data.test_forest import dataset
from tests.training.pairs import random_feedback, random_units


def alike(left: TokenDataset | None, right: TokenDataset | None) -> bool:
    if left is None or right is None:
        return left is right
    arrays = ("token_ids", "weights", "offsets")
    same = all(np.array_equal(getattr(left, name), getattr(right, name)) for name in arrays)
    same &= all(getattr(left, name).dtype == getattr(right, name).dtype for name in arrays)
    same &= list(left.places) == list(right.places) and left.too_long == right.too_long
    if left.units is None or right.units is None:
        return same and left.units is right.units
    same &= np.array_equal(left.units.offsets, right.units.offsets)
    return (
        same and np.array_equal(left.units.roles_R, right.units.roles_R) and alike(left.beside, right.beside)
    )


ROWS = replace(
    dataset([[1, 2, 3], [4], [5, 6]]), num_dropped=2, num_truncated=1, num_answers_cut=1, num_documents=1
)


@pytest.mark.parametrize("rows", [ROWS, random_units(), random_feedback()], ids=["rows", "pairs", "labelled"])
def test_what_is_kept_comes_back(rows: TokenDataset, tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    assert store.find({"a": 1}) is None
    num_bytes = store.keep({"a": 1}, {"train": rows, "validation": ROWS}, {"rows": {"x": 3}})
    kept = store.find({"a": 1})
    assert kept is not None and kept.facts == {"rows": {"x": 3}} and kept.num_bytes == num_bytes
    assert alike(kept.datasets["train"], rows) and alike(kept.datasets["validation"], ROWS)
    assert kept.datasets["validation"].num_documents == 1
    assert store.find({"a": 2}) is None


def test_writing_to_what_came_back_changes_nothing_on_the_disk(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    store.keep({}, {"train": ROWS}, {})
    first = store.find({})
    assert first is not None
    first.datasets["train"].weights[:] = 7
    again = store.find({})
    assert again is not None and alike(again.datasets["train"], ROWS)


def test_what_is_torn_counts_as_absent(tmp_path: Path) -> None:
    store, pick = TokenStore(tmp_path), random.Random(0)
    for number in range(60):
        store.keep({}, {"train": ROWS}, {})
        file = pick.choice(sorted(path for path in tmp_path.rglob("*") if path.is_file()))
        content = bytearray(file.read_bytes())
        if number % 3 == 0:
            file.unlink()
        elif number % 3 == 1:
            file.write_bytes(content[: pick.randrange(len(content))])
        elif file.suffix == ".npy":
            content[pick.randrange(len(content))] ^= 1 << pick.randrange(8)
            file.write_bytes(content)
        else:
            file.write_text('{"hashes": 3}')
        assert store.find({}) is None, file.name
    store.keep({}, {"train": ROWS}, {})
    assert store.find({}) is not None


def test_the_ones_used_longest_ago_make_room(tmp_path: Path) -> None:
    size = TokenStore(tmp_path / "one").keep({}, {"train": ROWS}, {})
    store = TokenStore(tmp_path / "few", max_bytes=int(2.5 * size))
    for number in range(3):
        store.keep({"number": number}, {"train": ROWS}, {"number": number})
        for age, entry in enumerate(store.entries()):
            os.utime(entry.folder, (1000 - age, 1000 - age))
        store.find({"number": 0})  # used again: it stays
    assert [entry.facts["number"] for entry in store.entries()] == [0, 2]
    assert store.clear() > size and store.entries() == [] and store.clear() == 0
