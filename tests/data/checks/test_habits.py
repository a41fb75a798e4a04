"""Endings, openings and styles that a measuring split has and training never: found once, counted exactly."""

from collections.abc import Sequence
from typing import Any

import pytest

from luthier.data.checks import check_files
from luthier.data.checks.finding import Finding
from luthier.data.checks.habits import UnseenHabits, find_habits
from tests.data.checks.toys import assert_merges, find, rows_of
from tests.data.shared import SHARED, needs_shared


def pair(asked: str, answer: str) -> dict[str, Any]:
    return {"prompt": asked, "completion": answer}


TRAIN = [pair(f"q{i}", f"It is {i}.") for i in range(30)]


def habits_of(train: Sequence[dict[str, Any]], valid: Sequence[dict[str, Any]]) -> list[Finding]:
    habits = {"valid": find_habits(rows_of(valid, "valid"))}
    return find(UnseenHabits, {"train": train, "valid": valid}, habits=habits)


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("valid_suffix_unseen_in_train", "It is {}. Hope that helps!", 'end in "Hope that helps!"'),
        ("valid_prefix_unseen_in_train", "Great question! It is {}.", 'begin with "Great question! It is"'),
    ],
)
def test_a_habit_that_training_never_shows(name: str, answer: str, said: str) -> None:
    valid = [pair(f"v{i}", answer.format(i) if i % 2 else f"It is {i}.") for i in range(20)]
    found = {finding.name: finding for finding in habits_of(TRAIN, valid)}
    assert found[name].count == 10 and said in found[name].message
    assert [key.number for key in found[name].rows] == list(range(2, 21, 2))


def test_a_style_that_training_never_shows() -> None:
    valid = [pair(f"v{i}", f"{chr(97 + i)}{i} metres, {i}{chr(97 + i)}") for i in range(20)]
    assert [(one.name, one.count) for one in habits_of(TRAIN, valid)] == [("valid_style_unseen_in_train", 20)]
    assert "are written without a capital" in habits_of(TRAIN, valid)[0].message


def test_one_training_answer_with_the_habit_is_enough_to_be_silent() -> None:
    valid = [pair(f"v{i}", f"It is {i}. Hope that helps!") for i in range(20)]
    assert habits_of(TRAIN, valid)
    assert habits_of([*TRAIN, pair("q", "Yes. Hope that helps!")], valid) == []


def test_one_repeated_answer_is_no_habit_and_few_training_rows_show_nothing() -> None:
    assert habits_of(TRAIN, [pair(f"v{i}", "A new answer.") for i in range(20)]) == []
    assert habits_of(TRAIN[:10], [pair(f"v{i}", f"It is {i}. Hope that helps!") for i in range(20)]) == []


def test_pieces_find_what_the_whole_finds() -> None:
    valid = [pair(f"v{i}", f"It is {i}. Hope that helps!") for i in range(20)]
    habits = {"valid": find_habits(rows_of(valid, "valid"))}
    assert_merges(UnseenHabits, {"train": TRAIN, "valid": valid}, habits=habits)


@needs_shared
def test_rugby_seed_validation_hopes_that_helps() -> None:
    report = check_files(SHARED / "rugby_seed/train.jsonl", SHARED / "rugby_seed/valid.jsonl")
    found = {finding.name: finding for finding in report.findings}["valid_suffix_unseen_in_train"]
    assert found.count == 46 and '"Hope that helps!"' in found.message
