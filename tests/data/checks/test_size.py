"""Enough rows, by the kind of task, counted without their copies."""

from typing import Any

import pytest

from luthier.data.checks.size import Size
from luthier.errors import ConfigError
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import needs_shared


def pairs(count: int, copies: int = 1) -> list[dict[str, Any]]:
    return [
        {"prompt": f"How wide is {n}?", "completion": f"Field {n} is {n} m wide."} for n in range(count)
    ] * copies


def classified(per_class: int, classes: int) -> list[dict[str, Any]]:
    return [
        {"text": f"text {n} of {c}", "label": f"class {c}"} for n in range(per_class) for c in range(classes)
    ]


def preferences(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Q {n}", "chosen": "Yes, of course.", "rejected": "No, never."} for n in range(count)]


YES_NO = [{"prompt": f"Q {n}", "completion": ("yes", "no")[n % 2]} for n in range(60)]


@pytest.mark.parametrize(
    ("rows", "task", "said"),
    [
        (pairs(300), None, "300 distinct training rows: as a guide, 500 at least for a task"),
        (pairs(500), None, None),
        (pairs(499), None, None),  # nearly
        (pairs(100, copies=10), None, "100 distinct training rows"),
        (pairs(80), "style", "100 at least for a style or a format"),
        (pairs(100), "style", None),
        (pairs(600), "domain", "1,000 at least for a domain"),
        ([{"text": f"Document {n}."} for n in range(300)], None, "1,000 at least for a domain"),
        (preferences(300), None, "500 at least for preferences"),
        (preferences(500), None, None),
        (
            classified(20, 4),
            None,
            "80 distinct training rows for 4 classes: as a guide, 50 at least for each class",
        ),
        (classified(50, 4), None, None),
        (YES_NO, None, "60 distinct training rows for 2 classes"),
        ([], None, None),
    ],
)
def test_few_rows_are_noted_with_the_guide(
    rows: list[dict[str, Any]], task: str | None, said: str | None
) -> None:
    findings = find(Size, rows, task=task)
    assert [(one.name, one.severity) for one in findings] == ([] if said is None else [("few_rows", "note")])
    assert said is None or said in findings[0].message


def test_a_task_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of style, task, domain, classification, preference"):
        find(Size, pairs(3), task="poetry")


def test_pieces_add_up() -> None:
    assert_merges(Size, classified(12, 4))


@needs_shared
def test_real_sizes() -> None:
    assert names(report_on("rugby_seed/train.jsonl", Size)) == [("note", "few_rows", 100)]
    for path in ("wikisql/train.jsonl", "classify/banking77_train.csv", "instruct/gsm8k_train.jsonl"):
        assert names(report_on(path, Size)) == []
