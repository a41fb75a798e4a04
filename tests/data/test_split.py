"""Sides: nothing that belongs together crosses, shares are kept, and rows keep their side."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.checks.check import Context
from luthier.data.checks.engine import check_places
from luthier.data.checks.leakage import LeakedPrompts, LeakedRows
from luthier.data.checks.near_duplicates import NearDuplicates
from luthier.data.groups import Groups
from luthier.data.sources import Row, read_rows
from luthier.data.split import Division, assign, hold_out, parse_shares
from luthier.data.split_files import label_of, split_files
from luthier.errors import DataError
from tests.data.checks.test_near_duplicates import sentences, with_words_changed
from tests.data.checks.toys import rows_of
from tests.data.shared import SHARED, needs_shared


def _rows(prompts: list[str]) -> list[Row]:
    return [
        Row(Path("f"), n, {"prompt": prompt, "completion": str(n)}) for n, prompt in enumerate(prompts, 1)
    ]


_BASE = [f"question {i}" for i in range(40)]


@given(added=st.lists(st.text("abcé ", max_size=5).filter(str.strip), max_size=20))
def test_adding_rows_moves_none_and_prompts_stay_together(added: list[str]) -> None:
    train, held_out = hold_out(_rows(_BASE), 0.3)
    train_more, held_out_more = hold_out(_rows(_BASE + added), 0.3)
    assert train_more[: len(train)] == train and held_out_more[: len(held_out)] == held_out
    prompts = [{row.value["prompt"] for row in side} for side in (train_more, held_out_more)]
    assert not prompts[0] & prompts[1]


def test_conversations_split_by_what_stands_before_the_answer() -> None:
    turns = [
        [{"role": "user", "content": f"q{i % 9}"}, {"role": "assistant", "content": str(i)}]
        for i in range(90)
    ]
    rows = [Row(Path("f"), n, {"messages": messages}) for n, messages in enumerate(turns, 1)]
    train, held_out = hold_out(rows, 0.4)
    asked = [{row.value["messages"][0]["content"] for row in side} for side in (train, held_out)]
    assert not asked[0] & asked[1] and len(train) + len(held_out) == 90


def test_preferences_are_held_out_by_their_question() -> None:
    answers = {side: {"from": "gpt", "value": side} for side in ("chosen", "rejected")}
    questions = [[{"from": "human", "value": f"q{i % 30}"}] for i in range(90)]
    rows = [
        Row(Path("f"), n, {"conversations": question, **answers}) for n, question in enumerate(questions, 1)
    ]
    train, held_out = hold_out(rows, 0.4)  # one turn each: nothing is left where the last one is taken off
    asked = [{row.value["conversations"][0]["value"] for row in side} for side in (train, held_out)]
    assert not asked[0] & asked[1] and len(asked[0]) + len(asked[1]) == 30


def test_an_empty_side_is_an_error() -> None:
    with pytest.raises(DataError, match="leaves 3 to train on and 0 to validate on"):
        hold_out(_rows(["a"] * 3), 0.0)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sides_of(out: Path, key: str = "question") -> dict[str, str]:
    """Which side each value of a field is on; a value on two sides fails."""
    found: dict[str, str] = {}
    for side in ("train", "valid", "test"):
        for row in read_rows(out / f"{side}.jsonl"):
            assert found.setdefault(str(row.value[key]), side) == side
    return found


def families(number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Questions in families of near-duplicates, some asked twice."""
    rng = random.Random(seed)
    rows = []
    for i, text in enumerate(sentences(number, 30, seed)):
        for j in range(rng.randrange(1, 4)):
            label = "rare" if i % 20 == 0 else "often"
            rows.append(
                {
                    "question": with_words_changed(text, j, 100 * i + j),
                    "answer": "yes",
                    "kind": label,
                    "doc": i,
                }
            )
        rows += rng.choices(rows, k=1) if i % 9 == 0 else []
    return rows


def test_nothing_that_belongs_together_crosses_and_the_check_finds_no_leak(tmp_path: Path) -> None:
    rows = families(300)
    manifest = split_files([write(tmp_path / "rows.jsonl", rows)], tmp_path / "out", Division())
    side_of_doc = sides_of(
        tmp_path / "out", "doc"
    )  # a family is a document here: near-duplicates stay together
    sides_of(tmp_path / "out", "question")
    assert len(side_of_doc) == 300 == manifest["groups"]
    told = manifest["splits"]
    assert sum(one["rows"] for one in told.values()) == len(rows)
    assert abs(told["train"]["share"] - 0.8) < 0.08 and told["valid"]["rows"] and told["test"]["rows"]
    places = {side: [tmp_path / "out" / f"{side}.jsonl"] for side in ("train", "valid", "test")}
    report = check_places(places, [NearDuplicates, LeakedRows, LeakedPrompts], Context)  # type: ignore[arg-type]
    assert not [finding.name for finding in report.findings if "_in_" in finding.name]


def test_without_near_duplicates_they_may_cross(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", families(200))
    split_files([path], tmp_path / "out", Division(near_duplicates=False))
    with pytest.raises(AssertionError):
        sides_of(tmp_path / "out", "doc")
    split_files([path], tmp_path / "grouped", Division(near_duplicates=False, group_by="doc"))
    sides_of(tmp_path / "grouped", "doc")


@pytest.mark.parametrize("stratify", [None, "kind"])
def test_rows_that_are_added_move_none(tmp_path: Path, stratify: str | None) -> None:
    rows = families(250)
    division = Division(stratify=stratify)
    split_files([write(tmp_path / "before.jsonl", rows[:400])], tmp_path / "before", division)
    split_files([write(tmp_path / "after.jsonl", rows)], tmp_path / "after", division)
    before, after = sides_of(tmp_path / "before"), sides_of(tmp_path / "after")
    assert len(after) > len(before) + 50
    assert {question: after[question] for question in before} == before


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=300),
    cut=st.integers(1, 300),
    seed=st.integers(0, 5),
    shares=st.sampled_from(["80/10/10", "50/50", "60/25/15", "98/1/1"]),
)
@settings(max_examples=60)
def test_strata_keep_their_shares_and_their_sides(
    labels: list[int], cut: int, seed: int, shares: str
) -> None:
    names = np.random.default_rng(seed).integers(1, 2**63, len(labels)).astype(np.uint64)
    groups = Groups(np.arange(len(labels)), names)
    division = Division(parse_shares(shares), stratify="x", seed=seed)
    sides = assign(groups, division, np.array(labels, np.int32))
    wanted = list(division.shares.values())
    for label in set(labels):
        mine = sides[np.array(labels) == label]
        for side, share in enumerate(wanted):
            assert abs((mine == side).sum() - share * len(mine)) <= 2
    fewer = Groups(np.arange(len(labels[:cut])), names[:cut])
    assert assign(fewer, division, np.array(labels[:cut], np.int32)).tolist() == sides[:cut].tolist()


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_sides_depend_on_seed_and_name_alone_and_meet_the_shares(seed: int) -> None:
    names = np.arange(1, 4001, dtype=np.uint64)
    groups, division = Groups(np.arange(4000), names), Division(seed=seed)
    sides = assign(groups, division)
    counts = np.bincount(sides, minlength=3) / 4000
    assert np.allclose(counts, [0.8, 0.1, 0.1], atol=0.03)
    back = assign(Groups(np.arange(4000), names[::-1].copy()), division)
    assert back[::-1].tolist() == sides.tolist()
    assert assign(groups, Division(seed=seed + 1)).tolist() != sides.tolist()


def test_labels() -> None:
    rows = rows_of(
        [
            {"text": "a", "label": "b"},
            {"question": "q", "answer": "a", "tags": ["y", "x"]},
            {"question": "q", "answer": "a", "n": 3},
        ]
    )
    assert [label_of(row, by) for row, by in zip(rows, ("label", "tag", "n"), strict=True)] == [
        "b",
        "x+y",
        "3",
    ]
    assert label_of(rows[2], "label") is None


def test_shares() -> None:
    assert parse_shares("80/10/10") == pytest.approx({"train": 0.8, "valid": 0.1, "test": 0.1})
    assert parse_shares("3/1") == {"train": 0.75, "valid": 0.25, "test": 0.0}
    for wrong in ("80", "a/b", "1/-1/1", "0/0/0", "1/2/3/4", "nan/1"):
        with pytest.raises(DataError, match="such as 80/10/10"):
            parse_shares(wrong)
    with pytest.raises(DataError, match="add up to 1"):
        Division({"train": 0.5, "valid": 0.1, "test": 0.1})


def test_it_is_the_same_bytes_every_time_and_containers_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        "text,label\n" + "".join(f"{t},{i % 2}\n" for i, t in enumerate(sentences(80, 10))), "utf-8"
    )
    made = [split_files([path], tmp_path / name, Division(stratify="label")) for name in ("a", "b")]
    assert made[0] == made[1] == json.loads((tmp_path / "a" / "split.json").read_text("utf-8"))
    assert (tmp_path / "a" / "train.csv").read_text("utf-8").startswith("text,label\n")
    assert made[0]["splits"]["valid"]["labels"] == {"0": 4, "1": 4}
    both = split_files([path, write(tmp_path / "more.jsonl", families(30))], tmp_path / "c", Division())
    assert both["splits"]["train"]["file"] == "train.jsonl" and len(both["inputs"]) == 2


def test_what_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"question": "Why?", "answer": str(i)} for i in range(50)])
    with pytest.raises(DataError, match="valid would have no row: the 50 rows are 1 groups"):
        split_files([path], tmp_path / "out", Division())
    assert not (tmp_path / "out").exists()
    rows = write(tmp_path / "many.jsonl", families(50))
    with pytest.raises(
        DataError, match="--group-by document: no row has it; the rows' fields are answer, doc"
    ):
        split_files([rows], tmp_path / "out", Division(group_by="document"))
    with pytest.raises(DataError, match="--stratify label: no row has it"):
        split_files([rows], tmp_path / "out", Division(stratify="label"))
    split_files([rows], tmp_path / "out", Division())
    with pytest.raises(DataError, match="--force"):
        split_files([rows], tmp_path / "out", Division())
    split_files([rows], tmp_path / "out", Division(seed=1), force=True)
    with pytest.raises(DataError, match="inputs are never written over"):
        split_files([tmp_path / "out" / "train.jsonl"], tmp_path / "out", Division(), force=True)
    rows.write_text(rows.read_text("utf-8") + "{broken\n", "utf-8")
    with pytest.raises(DataError, match="luthier data fix"):
        split_files([rows], tmp_path / "other", Division())


def test_small_labels_are_told(tmp_path: Path) -> None:
    rows = [{"text": t, "label": "rare" if i < 3 else "often"} for i, t in enumerate(sentences(100, 12))]
    manifest = split_files(
        [write(tmp_path / "rows.jsonl", rows)], tmp_path / "out", Division(stratify="label")
    )
    assert any("label 'rare' has 3 rows in too few groups" in note for note in manifest["notes"])


@needs_shared
def test_real_files(tmp_path: Path) -> None:
    place = SHARED / "classify" / "banking77_train.csv"
    manifest = split_files([place], tmp_path, Division(stratify="label"))
    whole = Counter(row.value["category"] for row in read_rows(place))
    assert len(whole) == 77 and not manifest["notes"]
    for name, share in (("train", 0.8), ("valid", 0.1), ("test", 0.1)):
        labels = manifest["splits"][name]["labels"]
        assert all(abs(labels[label] / count - share) < 0.1 for label, count in whole.items())
    places = {side: [tmp_path / f"{side}.csv"] for side in ("train", "valid", "test")}
    report = check_places(places, [NearDuplicates, LeakedRows, LeakedPrompts], Context)  # type: ignore[arg-type]
    assert not [finding.name for finding in report.findings if "_in_" in finding.name]
