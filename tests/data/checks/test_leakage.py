"""What splits share: rows, prompts, and evaluation items that ask what training answers."""

import pytest

from luthier.data.checks import check_files
from luthier.data.checks.leakage import LeakedPrompts, LeakedRows
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import SHARED, needs_shared

TRAIN = [
    {"system": "s", "prompt": "How wide?", "completion": "68"},
    {"prompt": "How long?", "completion": "122"},
]
VALID = [{"prompt": "How long?", "completion": "122"}, {"prompt": "How high?", "completion": "16"}]
ITEMS = [
    {"question": "how  WIDE?", "answer": 68},
    {"question": "How deep?", "must": ["6"]},
    {"messages": [{"role": "user", "content": "How high?"}], "answer": "16"},
]
SPLITS = {"train": TRAIN, "valid": VALID, "test": ITEMS}


def named(check: type, rows: dict) -> dict[str, tuple[str, list[int]]]:
    return {one.name: (one.severity, [key.number for key in one.rows]) for one in find(check, rows)}


def test_rows_of_one_split_in_another() -> None:
    assert named(LeakedRows, SPLITS) == {
        "valid_rows_in_train": ("error", [1]),
        "test_rows_in_valid": ("warning", [3]),
    }


def test_prompts_are_compared_without_system_turns_case_and_spacing() -> None:
    assert named(LeakedPrompts, SPLITS) == {
        "valid_prompts_in_train": ("warning", [1]),
        "test_prompts_in_train": ("warning", [1]),
        "test_prompts_in_valid": ("warning", [3]),
    }


def test_every_leaked_row_counts_though_training_has_it_once() -> None:
    found = find(LeakedRows, {"train": TRAIN[1:], "valid": [VALID[0]] * 3})
    assert [(one.count, one.share) for one in found] == [(3, 1.0)]


def test_nothing_is_shared_within_one_split_alone() -> None:
    assert find(LeakedRows, {"train": TRAIN * 2}) == find(LeakedPrompts, {"valid": VALID * 2}) == []


@pytest.mark.parametrize("check", [LeakedRows, LeakedPrompts])
def test_pieces_find_what_the_whole_finds(check: type) -> None:
    assert_merges(check, SPLITS)


@needs_shared
def test_rugby_seed_validates_on_what_it_trains_on() -> None:
    report = check_files(SHARED / "rugby_seed/train.jsonl", SHARED / "rugby_seed/valid.jsonl")
    counts = {(finding.name, finding.split): finding.count for finding in report.findings}
    assert counts["valid_rows_in_train", "valid"] == 54
    assert counts["valid_prompts_in_train", "valid"] == 100
    assert report.word == "errors" and report.exit_code() == 2


@needs_shared
def test_wikisql_has_no_error_and_no_leak() -> None:
    train, valid, test = (SHARED / f"wikisql/{name}.jsonl" for name in ("train", "valid", "test"))
    report = check_files(train, valid, test)
    assert report.count("error") == 0
    assert not [f.name for f in report.findings if "_in_train" in f.name and f.severity == "warning"]
