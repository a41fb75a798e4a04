"""Answers that are given away: the set's own class in the prompt, alone."""

import time
from typing import Any

import pytest

from luthier.data.checks.label_leakage import LabelLeakage
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import needs_shared

LABELS = ("positive", "negative", "neutral")


def rows(text: str, system: str | None = None, count: int = 60) -> list[dict[str, Any]]:
    made = []
    for n in range(count):
        label = LABELS[n % 3]
        row = {"text": text.format(n=n, label=label), "label": label}
        made.append(row if system is None else row | {"system": system.format(label=label)})
    return made


@pytest.mark.parametrize(
    ("text", "system"),
    [
        ("The food was hot, visit {n}.", None),
        ("The food was hot, visit {n}. Is it positive, negative or neutral?", None),
        ("The food was hot, visit {n}.", "Sort as positive, negative or neutral."),
        ("The food was {label}ly hot, visit {n}.", None),
    ],
)
def test_a_prompt_that_names_no_class_or_every_class_is_fine(text: str, system: str | None) -> None:
    assert find(LabelLeakage, rows(text, system)) == []


def test_a_text_that_holds_its_class() -> None:
    findings = find(LabelLeakage, rows("A {label} visit, number {n}."))
    assert [(one.name, one.severity, one.count) for one in findings] == [("answer_in_prompt", "warning", 60)]
    assert "the prompt of 60 of 60 rows (100%)" in findings[0].message


@pytest.mark.parametrize(
    ("text", "system"),
    [
        ("Visit {n} was hot ({label})", None),
        ("Visit {n} was hot. Label: {label}", None),
        ("Visit {n} was hot. The answer is {label}.", None),
        ("Visit {n} was hot.", "Say {label}."),
    ],
)
def test_an_instruction_that_names_the_class(text: str, system: str | None) -> None:
    findings = find(LabelLeakage, rows(text, system))
    assert [(one.name, one.severity, one.count) for one in findings] == [
        ("label_named_in_instruction", "warning", 60)
    ]


def test_an_instruction_that_gives_one_class_away() -> None:
    some = [row for row in rows("Visit {n} was hot.", "Say {label}.") if row["label"] == "neutral"]
    clean = [row for row in rows("Visit {n} was cold.", "Sort it.") if row["label"] != "neutral"]
    findings = find(LabelLeakage, some + clean)
    assert [(one.name, one.count) for one in findings] == [("label_named_in_instruction", 20)]
    assert "most rows of neutral" in findings[0].message


def test_a_word_that_stands_in_a_text_now_and_then_is_no_leak() -> None:
    spoken = rows("I am positive that this is fine, {n}.", count=12)
    assert find(LabelLeakage, spoken + rows("Visit {n} was hot.", count=90)) == []


def test_what_has_no_classes_may_repeat_its_prompt() -> None:
    copied = [{"prompt": f"Repeat: word {n}", "completion": f"word {n}"} for n in range(100)]
    letters = [{"prompt": f"{n}: A. yes\nB. no", "completion": "AB"[n % 2]} for n in range(100)]
    assert find(LabelLeakage, copied) == find(LabelLeakage, letters) == []


def test_pieces_add_up() -> None:
    mixed = (
        rows("A {label} visit, number {n}.") + rows("Visit {n} was hot ({label})") + [{"text": "A document."}]
    )
    assert_merges(LabelLeakage, mixed)


@needs_shared
@pytest.mark.parametrize(
    "path",
    [
        "classify/banking77_train.csv",
        "classify/SMSSpamCollection",
        "probes/mmlu_dev",
        "wikisql/train.jsonl",
        "instruct/gsm8k_train.jsonl",
        "preference/kto_en_demo.json",
        "extract/train_RateBook.json",
    ],
)
def test_real_files_give_nothing_away(path: str) -> None:
    assert names(report_on(path, LabelLeakage)) == []


def test_thousands_of_classes_cost_no_more_than_a_few() -> None:
    words = " ".join(f"word{n}" for n in range(200))
    many = [{"text": f"{words} {n}", "label": f"class {n % 3000}"} for n in range(4000)]
    began = time.perf_counter()
    assert find(LabelLeakage, many) == []
    assert time.perf_counter() - began < 15
