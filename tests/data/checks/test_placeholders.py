"""Placeholders are found where they were forgotten, and left alone where they are meant."""

import pytest

from luthier.data.checks.placeholders import Placeholders
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import needs_shared


def _rows(*texts: str) -> list[dict[str, str]]:
    return [{"prompt": "Who?", "completion": text} for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "I am {{name}}, made by {{ author }}.",
        "Dear [Insert name], hello",
        "Sincerely, [Your Name]",
        "Dear [Recipient's Name],",
        "export it with <your-key> as the key",
        "Hello ${NAME}, welcome.",
        "TODO: write this answer",
        "Lorem ipsum dolor sit amet.",
        "Call XXX-XXX-XXXX.",
    ],
)
def test_fires(text: str) -> None:
    [finding] = find(Placeholders, _rows("nothing here", text))
    assert finding.name == "unfilled_placeholders" and [row.number for row in finding.rows] == [2]


@pytest.mark.parametrize(
    "text",
    [
        "a {json: {b: {}}} and f(x)[i] and x < your y",
        "see [1] and <b>bold</b> and [your page](http://a.b)",
        "```\n<p>{{ name }}</p>\n```",
        "Write `{{name}}` where it belongs.",
        "In this template, {{name}} stands for the customer.",
        r"\frac{{a}}{{b}}",
        "{% for x in y %}{{ x }}{% endfor %}",
        "My TODO list is long.",
        "[Enter HAMLET, reading]",
        "He paid $XX and the film was rated XXX.",
    ],
)
def test_stays_silent(text: str) -> None:
    assert find(Placeholders, _rows(text)) == []


@pytest.mark.parametrize("allowed", ["{{name}}", "name", "{{ Name }}"])
def test_those_that_are_meant_can_be_allowed(allowed: str) -> None:
    rows = _rows("I am {{name}}.", "I am {{name}}, made by {{author}}.")
    [finding] = find(Placeholders, rows, placeholders=frozenset({allowed}))
    assert finding.count == 1 and "{{author}} (1)" in finding.message and "{{name}}" not in finding.message


def test_merges() -> None:
    assert_merges(Placeholders, _rows("I am {{name}}.", "ok", "[Your Name]", "{{name}} {{author}}", "ok") * 3)


@needs_shared
def test_real_files() -> None:
    assert names(report_on("instruct/identity.json", Placeholders)) == [
        ("warning", "unfilled_placeholders", 85)
    ]
    assert names(report_on("instruct/alpaca_en_demo.json", Placeholders)) == [
        ("warning", "unfilled_placeholders", 6)
    ]
    for path in ("wikisql", "instruct/gsm8k_train.jsonl", "classify/SMSSpamCollection", "code"):
        assert names(report_on(path, Placeholders)) == []
