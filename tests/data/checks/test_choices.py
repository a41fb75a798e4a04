"""Options: coded in letters or numbers, in the prompt or beside it."""

from typing import Any

import pytest

from luthier.data.checks.choices import MultipleChoice
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find, run
from tests.data.shared import needs_shared

OPTIONS = ["68 m", "70 m", "100 m", "122 m"]


def table(answers: list[Any]) -> list[dict[str, Any]]:
    return [
        {"question": f"How wide is field {n}?", "choices": OPTIONS, "answer": answer}
        for n, answer in enumerate(answers)
    ]


def written(answers: list[str]) -> list[dict[str, str]]:
    lines = "\n".join(f"{letter}. {one}" for letter, one in zip("ABCD", OPTIONS, strict=True))
    return [
        {"prompt": f"How wide is field {n}?\n{lines}", "completion": one} for n, one in enumerate(answers)
    ]


def test_letters_beside_their_options_are_fine() -> None:
    findings, figures = run(MultipleChoice, written(list("ABCD") * 30))
    assert findings == [] and figures == {"choices": {"train": dict.fromkeys("ABCD", 30)}}
    assert find(MultipleChoice, table(list("ABCD") * 30)) == []


def test_numbers_are_noted_with_where_they_begin() -> None:
    findings = find(MultipleChoice, table([0, 1, 2, 3] * 10))
    assert [(one.name, one.severity, one.count) for one in findings] == [("answer_coding", "note", 40)]
    assert "a number, 0 to 3, counted from 0" in findings[0].message


def test_two_codings_in_one_set_are_a_warning() -> None:
    findings = find(MultipleChoice, table([0, 1, 2, 3] * 10 + list("ABCD")))
    assert [(one.name, one.severity, one.count) for one in findings] == [("answer_coding", "warning", 40)]
    assert "4 others code it as a letter" in findings[0].message


def test_options_that_the_prompt_does_not_hold() -> None:
    rows = [
        {"prompt": f"How wide is {n}?", "completion": "B", "option_a": "68", "option_b": "70"}
        for n in range(30)
    ]
    findings = find(MultipleChoice, [row | {"answer": "B"} for row in rows])
    assert ("options_not_in_prompt", "warning", 30) in [
        (one.name, one.severity, one.count) for one in findings
    ]


@pytest.mark.parametrize(("answers", "found"), [("ABCD" * 30, False), ("AAAB" * 20 + "CD" * 20, True)])
def test_an_option_that_is_right_too_often(answers: str, found: bool) -> None:
    assert [one.name for one in find(MultipleChoice, written(list(answers)))] == ["answer_position"] * found


def test_answers_that_are_numbers_of_something_else_are_none() -> None:
    rows = [{"prompt": f"What is {n} + 1?", "completion": str(n + 1)} for n in range(9)] * 5
    assert run(MultipleChoice, rows) == ([], {})


def test_pieces_add_up() -> None:
    assert_merges(
        MultipleChoice, {"train": table([0, 1, 2, 3] * 10 + list("ABCD")), "valid": written(list("ABCD"))}
    )


@needs_shared
def test_the_real_questions_code_their_answers_from_0_to_3() -> None:
    report = report_on("probes/mmlu_dev", MultipleChoice)
    assert names(report) == [("note", "answer_coding", 285)]
    assert "0 to 3, counted from 0" in report.findings[0].message
