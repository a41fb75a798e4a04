"""Classes, abstentions, thumbs and lengths of answers: what is out of balance is told, what is not is not."""

from typing import Any

import pytest

from luthier.data.checks.balance import AnswerBalance, LabelBalance
from luthier.data.checks.label_typos import Typo, find_typos
from luthier.data.checks.labels import MAX_LABELS, Classes
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find, rows_of, run
from tests.data.shared import needs_shared


def labelled(**counts: int) -> list[dict[str, Any]]:
    return [
        {"text": f"This is text {n} of {label}.", "label": label}
        for label, count in counts.items()
        for n in range(count)
    ]


EVEN = labelled(positive=120, negative=100, neutral=90)


def test_even_classes_say_nothing() -> None:
    findings, figures = run(LabelBalance, {"train": EVEN, "valid": EVEN[::7]})
    assert findings == []
    assert figures["classes"]["train"] == {
        "num_classes": 3,
        "rows": {"positive": 120, "negative": 100, "neutral": 90},
    }


def test_a_misspelt_label_is_named_with_its_rows() -> None:
    findings = find(LabelBalance, EVEN + labelled(positiv=2, Negative=60, other=55))
    assert [(one.name, one.severity, one.count) for one in findings if one.name == "label_typos"] == [
        ("label_typos", "warning", 62)
    ]
    typos = findings[0]
    assert "'positiv' (2) and 'positive' (120)" in typos.message
    assert "'Negative' (60) and 'negative' (100)" in typos.message
    assert [key.number for key in typos.rows] == [311, 312, 313, 314, 315, 316, 317]


@pytest.mark.parametrize(
    ("counts", "typos"),
    [
        ({"positive": 500, "positiv": 2}, [("positiv", "positive")]),
        ({"negative": 300, "negatvie": 2}, [("negatvie", "negative")]),
        ({"card_arrival": 100, "Card Arrival": 90}, [("Card Arrival", "card_arrival")]),
        ({"Yes": 100, "Yes.": 3}, [("Yes.", "Yes")]),
        ({"moral": 100, "amoral": 90}, []),
        ({"level1": 100, "level2": 1}, []),
        ({"cat": 100, "car": 1}, []),
        ({"C": 100, "C++": 100, "C#": 100}, []),
        ({"1": 100, "-1": 100, "1.": 3}, []),
        ({">50K": 100, "<=50K": 300}, []),
        ({"transfer_fee_charged": 100, "transfer_fee_changed": 60}, []),
    ],
)
def test_what_is_one_label_spelt_twice(counts: dict[str, int], typos: list[tuple[str, str]]) -> None:
    assert find_typos(counts) == [Typo(*one) for one in typos]


def test_small_and_tiny_classes_are_listed() -> None:
    some = find(LabelBalance, EVEN + labelled(spam=20))
    assert [(one.name, one.severity, one.count) for one in some] == [("small_classes", "note", 20)]
    assert "1 of 4 classes have under 50 rows: spam (20)" in some[0].message
    tiny = find(LabelBalance, labelled(a_one=30, a_two=9))
    assert [(one.name, one.severity) for one in tiny] == [("small_classes", "warning")]


@pytest.mark.parametrize(("most", "severity"), [(400, None), (850, "note"), (950, "warning")])
def test_a_class_that_is_nearly_all_rows(most: int, severity: str | None) -> None:
    findings = find(LabelBalance, labelled(ham=most, spam=1000 - most))
    found = [one.severity for one in findings if one.name == "class_imbalance"]
    assert found == ([] if severity is None else [severity])


def test_a_label_that_only_valid_has() -> None:
    findings = find(LabelBalance, {"train": EVEN, "valid": EVEN[::7] + labelled(mixed=3)})
    assert [(one.name, one.severity, one.split, one.count) for one in findings] == [
        ("labels_unseen_in_train", "warning", "valid", 3)
    ]


def test_answers_of_a_few_words_in_a_chat_can_be_classes_and_sentences_cannot() -> None:
    short = [{"prompt": f"Sort {n}", "completion": ("billing", "sales")[n % 2]} for n in range(200)]
    assert run(LabelBalance, short)[1]["classes"]["train"]["num_classes"] == 2
    sums = [{"prompt": f"{n} + {n}", "completion": str(2 * n)} for n in range(200)]
    sentences = [
        {"prompt": f"Say {n}", "completion": f"It is {n % 3} m wide, as far as I know."} for n in range(200)
    ]
    assert run(LabelBalance, sums) == run(LabelBalance, sentences) == ([], {})


def test_what_has_more_labels_than_can_be_counted_has_no_classes() -> None:
    rows = rows_of([{"text": f"x {n}", "label": f"label {n}"} for n in range(MAX_LABELS + 1)])
    whole, first, second = Classes(), Classes(), Classes()
    for number, row in enumerate(rows):
        whole.see(row)
        (first if number < 7000 else second).see(row)
    first.merge(second)
    assert whole == first and whole.too_many and not whole.are_classes


def retrieval(count: int, abstaining: int) -> list[dict[str, Any]]:
    return [
        {
            "context": f"Field {n} is 68 m wide.",
            "question": "How wide is it?" if n >= abstaining else "Who built it?",
            "answer": "68 m" if n >= abstaining else "This is not in the context.",
        }
        for n in range(count)
    ]


@pytest.mark.parametrize(("abstaining", "found"), [(0, True), (14, True), (15, False), (40, False)])
def test_rows_whose_answer_is_not_in_the_context(abstaining: int, found: bool) -> None:
    findings, figures = run(AnswerBalance, retrieval(100, abstaining))
    assert [(one.name, one.severity, one.count) for one in findings] == (
        [("few_abstentions", "warning", abstaining)] if found else []
    )
    assert figures["answers"]["train"].get("abstains", 0) == abstaining


def test_yes_and_no() -> None:
    def rows(yes: int, no: int, other: int) -> list[dict[str, str]]:
        words = ["Yes, it does."] * yes + ["No, it does not."] * no + ["It is 68 m."] * other
        return [{"prompt": f"Question {n}?", "completion": word} for n, word in enumerate(words)]

    assert [(one.name, one.severity, one.count) for one in find(AnswerBalance, rows(96, 4, 100))] == [
        ("yes_no_imbalance", "note", 96)
    ]
    assert find(AnswerBalance, rows(60, 40, 100)) == []
    assert find(AnswerBalance, rows(60, 0, 900)) == []


def preference(chosen: str, rejected: str, number: int) -> dict[str, str]:
    return {"prompt": f"Question {number}?", "chosen": chosen, "rejected": rejected}


def test_chosen_answers_that_are_mostly_the_longer_ones() -> None:
    longer = [preference("A long answer.", "Short.", n) for n in range(80)]
    shorter = [preference("Short.", "A long answer.", n) for n in range(80, 100)]
    findings, figures = run(AnswerBalance, longer + shorter)
    assert [(one.name, one.severity, one.count) for one in findings] == [("longer_chosen", "warning", 80)]
    assert figures["answers"]["train"] == {"preference": 100, "shorter_chosen": 20, "longer_chosen": 80}
    assert find(AnswerBalance, longer[:50] + shorter * 2) == []


def test_thumbs() -> None:
    def rows(good: int, bad: int) -> list[dict[str, Any]]:
        return [{"prompt": f"Q {n}", "completion": "It is.", "label": n < good} for n in range(good + bad)]

    assert find(AnswerBalance, rows(60, 40)) == []
    assert [(one.name, one.severity) for one in find(AnswerBalance, rows(85, 15))] == [
        ("thumbs_imbalance", "note")
    ]
    assert [(one.name, one.severity) for one in find(AnswerBalance, rows(0, 99))] == [
        ("thumbs_imbalance", "warning")
    ]


def test_pieces_add_up() -> None:
    rows = EVEN[::3] + labelled(positiv=2, spam=11) + [{"text": "A document."}]
    assert_merges(LabelBalance, {"train": rows, "valid": rows[::4] + labelled(unseen=3)})
    mixed = [*retrieval(60, 3), *(preference("Long one.", "No.", n) for n in range(60)), {"nothing": 1}]
    assert_merges(AnswerBalance, mixed)


@needs_shared
def test_real_classes() -> None:
    banking = report_on("classify/banking77_train.csv", LabelBalance)
    assert (banking.files[0].num_rows, banking.figures["classes"]["train"]["num_classes"]) == (10_003, 77)
    assert names(banking) == [("note", "small_classes", 76)]  # no typo, no imbalance
    sms = report_on("classify/SMSSpamCollection", LabelBalance)
    assert sms.figures["classes"]["train"]["rows"] == {"ham": 4827, "spam": 747}
    assert names(sms) == [("note", "class_imbalance", 4827)]


@needs_shared
def test_real_answers() -> None:
    dpo = report_on("preference/dpo_en_demo.json", AnswerBalance)
    assert dpo.figures["answers"]["train"]["longer_chosen"] == 130
    kto = report_on("preference/kto_en_demo.json", AnswerBalance)
    assert kto.figures["answers"]["train"] == {"bad": 150, "good": 150}
    assert names(dpo) == names(kto) == []


@needs_shared
@pytest.mark.parametrize(
    "path",
    [
        "wikisql/train.jsonl",
        "rugby_seed/train.jsonl",
        "instruct/gsm8k_train.jsonl",
        "instruct/alpaca_en_demo.json",
    ],
)
def test_real_files_without_classes_say_nothing(path: str) -> None:
    assert names(report_on(path, LabelBalance, AnswerBalance)) == []
