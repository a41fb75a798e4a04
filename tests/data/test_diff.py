"""What differs between two sets of rows: a twin in plain Python, real files, memory that stays."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data import diff as diff_module
from luthier.data.checks.finding import SPLITS
from luthier.data.diff import Difference, compare_rows, open_side
from luthier.errors import DataError

Row = tuple[str, str]
Splits = dict[str, list[Row]]


def write(folder: Path, splits: Splits) -> str:
    folder.mkdir(exist_ok=True)
    for split, rows in splits.items():
        lines = [json.dumps({"prompt": prompt, "completion": answer}) for prompt, answer in rows]
        (folder / f"{split}.jsonl").write_text("".join(line + "\n" for line in lines))
    return str(folder)


def compare(tmp_path: Path, a: Splits, b: Splits) -> Difference:
    """At least one row in a file of each side, so that there is something to read."""
    sides = [
        open_side(write(tmp_path / name, rows), tmp_path / "none") for name, rows in (("a", a), ("b", b))
    ]
    return compare_rows(*sides)


def twin(a: Splits, b: Splits) -> dict[str, Any]:
    """The same counts, as slowly and plainly as can be."""
    left = {split: Counter(a.get(split, [])) for split in SPLITS}
    came = {split: Counter(b.get(split, [])) for split in SPLITS}
    kept = {split: left[split] & came[split] for split in SPLITS}
    for split in SPLITS:
        left[split], came[split] = left[split] - kept[split], came[split] - kept[split]
    moved: Counter[tuple[str, str]] = Counter()
    for i in SPLITS:
        for j in SPLITS:
            both = left[i] & came[j]
            moved[i, j] += both.total()
            left[i], came[j] = left[i] - both, came[j] - both
    every = [sum((Counter(side.get(split, [])) for split in SPLITS), Counter()) for side in (a, b)]
    changed = {}
    copies = {}
    for split in SPLITS:
        gone = Counter(row[0] for row in left[split].elements() if row not in every[1])
        new = Counter(row[0] for row in came[split].elements() if row not in every[0])
        changed[split] = (gone & new).total()
        copies[split] = left[split].total() - gone.total(), came[split].total() - new.total()
    return {
        "kept": [kept[split].total() for split in SPLITS],
        "changed": [changed[split] for split in SPLITS],
        "removed": [left[split].total() - changed[split] for split in SPLITS],
        "added": [came[split].total() - changed[split] for split in SPLITS],
        "removed_copies": [copies[split][0] for split in SPLITS],
        "added_copies": [copies[split][1] for split in SPLITS],
        "moved": [[moved[i, j] for j in SPLITS] for i in SPLITS],
    }


rows = st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from("xyz")), min_size=1, max_size=9)
splits = st.fixed_dictionaries({"train": rows, "valid": rows, "test": rows})


@settings(max_examples=60)
@given(splits, splits)
def test_counts_are_those_of_the_plain_twin(
    tmp_path_factory: pytest.TempPathFactory, a: Splits, b: Splits
) -> None:
    found = compare(tmp_path_factory.mktemp("diff"), a, b)
    for name, counts in twin(a, b).items():
        assert getattr(found, name).tolist() == counts, name
    before, now = found.rows
    moved_in, moved_out = found.moved.sum(axis=0), found.moved.sum(axis=1)
    assert (before + found.added - found.removed + moved_in - moved_out == now).all()
    assert found.is_same == all(Counter(a[split]) == Counter(b[split]) for split in SPLITS)


def test_each_kind_of_difference_is_counted_and_shown(tmp_path: Path) -> None:
    a = {"train": [("kept", "1"), ("gone", "2"), ("old", "3"), ("moves", "4")], "valid": [("v", "5")]}
    b = {
        "train": [("kept", "1"), ("kept", "1"), ("old", "new"), ("fresh", "6")],
        "valid": [("v", "5"), ("moves", "4")],
    }
    found = compare(tmp_path, a, b).to_dict()
    assert found["same"] is False
    train = found["splits"]["train"]
    assert {
        key: train[key] for key in ("kept", "added", "added_copies", "removed", "changed", "moved_out")
    } == {
        "kept": 1,
        "added": 2,
        "added_copies": 1,
        "removed": 1,
        "changed": 1,
        "moved_out": 1,
    }
    assert (train["distinct_rows_b"], train["rows_b"]) == (3, 4)
    assert found["moved"] == [{"from": "train", "to": "valid", "rows": 1}]
    assert found["examples"] == {
        "added": [{"split": "train", "row": "fresh -> 6"}],
        "removed": [{"split": "train", "row": "gone -> 2"}],
        "moved": [{"split": "train", "to": "valid", "row": "moves -> 4"}],
        "changed": [{"split": "train", "row": "old -> 3", "after": "old -> new"}],
    }


def test_order_ids_and_the_format_of_the_file_make_no_difference(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"prompt": "p", "completion": "x", "id": 1}\n{"prompt": "q", "completion": "y"}\n'
    )
    (tmp_path / "b.csv").write_text("question,answer\nq,y\np,x\n")
    found = compare_rows(*(open_side(str(tmp_path / name), tmp_path) for name in ("a.jsonl", "b.csv")))
    assert found.is_same and found.kept.tolist() == [2, 0, 0]


def test_rows_that_say_nothing_to_a_model_are_compared_by_their_fields(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"weight": 1, "height": 2}\n{"weight": 3}\nbroken\n')
    (tmp_path / "b.jsonl").write_text('{"height": 2, "weight": 1}\n{"weight": 4}\n')
    found = compare_rows(*(open_side(str(tmp_path / name), tmp_path) for name in ("a.jsonl", "b.jsonl")))
    assert [found.kept[0], found.removed[0], found.added[0]] == [1, 1, 1]
    assert found.unreadable.tolist() == [[1, 0, 0], [0, 0, 0]] and not found.is_same


def test_many_rows_in_small_parts_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = {"train": [(f"p{n}", f"{n % 7}") for n in range(500)]}
    b = {
        "train": [(f"p{n}", f"{n % 5}") for n in range(100, 600)],
        "valid": [(f"p{n}", f"{n % 7}") for n in range(50)],
    }
    whole = compare(tmp_path, a, b)
    monkeypatch.setattr(diff_module, "_BUFFERED", 3)
    monkeypatch.setattr(diff_module, "_NUM_PARTS", 17)
    assert compare(tmp_path, a, b).to_dict() == whole.to_dict()
    assert whole.examples["removed"][0].text == "p50 -> 1", (
        "the earliest rows are shown, whatever part they are in"
    )


def test_a_name_that_is_nothing_is_said_as_what_it_looks_like(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such data file: gone.jsonl"):
        open_side("gone.jsonl", tmp_path)
    with pytest.raises(DataError, match="no dataset is called 'gone'"):
        open_side("gone", tmp_path)
