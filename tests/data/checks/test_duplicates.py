"""Copies, conflicting answers and recited answers, from the ledger, and what the real files hold of them."""

import pytest

from luthier.data.checks import check_files
from luthier.data.checks.duplicates import ConflictingAnswers, DuplicateRows, FewDistinctAnswers
from luthier.data.checks.finding import Finding
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import SHARED, needs_shared


def pair(asked: str, answer: str, **more: object) -> dict[str, object]:
    return {"prompt": asked, "completion": answer, **more}


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


def numbers(finding: Finding) -> list[int]:
    return [key.number for key in finding.rows]


def test_ids_do_not_make_a_row_another_but_system_prompts_and_answers_do() -> None:
    rows = [
        pair("a", "b", id=1),
        pair("a", "b", id=2),
        pair("a", "other"),
        pair("a", "b", system="Be brief."),
        pair("A", "b"),
    ]
    finding = only(find(DuplicateRows, rows))
    assert numbers(finding) == [2] and finding.count == 1 and finding.share == 0.2
    assert finding.message == "1 of 5 training rows repeat an earlier row; 4 are distinct"


def test_formats_do_not_make_a_row_another() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert numbers(only(find(DuplicateRows, [pair("a", "b"), {"messages": turns}]))) == [2]


def test_rows_are_named_up_to_twenty_and_counted_in_full() -> None:
    finding = only(find(DuplicateRows, [pair("a", "b")] * 40))
    assert (
        finding.count == 39
        and numbers(finding) == list(range(2, 22))
        and "only 1 are distinct" in finding.message
    )


def test_a_few_copies_among_many_rows_are_a_note() -> None:
    rows = [pair(f"a{n}", "b") for n in range(300)]
    assert only(find(DuplicateRows, [*rows, rows[0]])).severity == "note"
    assert only(find(DuplicateRows, [*rows, *rows[:4]])).severity == "warning"
    assert find(DuplicateRows, rows) == []


def test_each_split_has_its_own_copies() -> None:
    found = find(
        DuplicateRows,
        {"train": [pair("a", "b")] * 2, "valid": [pair("c", "d")] * 3, "test": [pair("a", "b")]},
    )
    assert [(finding.split, finding.count) for finding in found] == [("train", 1), ("valid", 2)]


def test_a_prompt_with_two_answers_is_a_conflict_and_a_repeated_answer_is_none() -> None:
    rows = [
        pair("a", "b"),
        pair("c", "d"),
        pair("a", "b"),
        pair("a", "other"),
        pair("c", "d"),
        pair("e", "f"),
    ]
    finding = only(find(ConflictingAnswers, rows))
    assert (
        numbers(finding) == [1, 3, 4]
        and finding.message == "1 training prompt has more than one answer (3 of 6 rows)"
    )
    assert [key.number for key in finding.shown[0].rows] == [1, 4]  # type: ignore[union-attr]


def test_thumbs_on_one_prompt_are_no_conflict() -> None:
    rows = [
        {"prompt": "a", "completion": text, "label": thumb} for text, thumb in (("b", True), ("c", False))
    ]
    assert find(ConflictingAnswers, rows) == []


def test_few_answers_to_many_questions_are_recited_unless_they_are_labels() -> None:
    said = ("It is 68 metres wide.", "It is 100 metres long.")
    finding = only(find(FewDistinctAnswers, [pair(f"text {i}", said[i % 2]) for i in range(80)]))
    assert finding.message == "80 rows have only 2 distinct answers"
    assert find(FewDistinctAnswers, [pair(f"text {i}", ("spam", "ham")[i % 2]) for i in range(80)]) == []
    assert find(FewDistinctAnswers, [pair(f"text {i}", said[i % 2]) for i in range(40)]) == []


@pytest.mark.parametrize("check", [DuplicateRows, ConflictingAnswers, FewDistinctAnswers])
def test_pieces_find_what_the_whole_finds(check: type) -> None:
    train = [pair(f"a{n % 7}", f"It is {n % 3} metres.", id=n) for n in range(90)]
    assert_merges(check, {"train": train, "valid": train[:9]})


@needs_shared
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("rugby_seed/train.jsonl", 900),
        ("instruct/glaive_toolcall_en_demo.json", 35),
        ("instruct/alpaca_en_demo.json", 14),
        ("classify/SMSSpamCollection", 403),
    ],
)
def test_what_is_known_of_real_files(name: str, count: int) -> None:
    report = check_files(SHARED / name)
    found = {finding.name: finding for finding in report.findings}
    assert found["duplicate_rows"].count == count
    assert report.files[0].num_rows - report.files[0].num_distinct_rows == count


@needs_shared
def test_rugby_seed_recites_ten_answers() -> None:
    report = check_files(SHARED / "rugby_seed/train.jsonl")
    found = {finding.name: finding for finding in report.findings}
    file = report.files[0]
    assert (file.num_rows, file.num_distinct_rows, file.num_distinct_prompts, file.num_distinct_answers) == (
        1000,
        100,
        100,
        10,
    )
    assert (
        found["few_distinct_answers"].count == 1000
        and "10 distinct answers" in found["few_distinct_answers"].message
    )
