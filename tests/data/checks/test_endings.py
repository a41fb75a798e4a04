"""Answers that stop in the middle are found; labels, numbers, SQL, lists and poems are whole."""

import pytest

from luthier.data.checks.endings import TruncatedAnswers, why_truncated
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import needs_shared

_PROSE = "The field is green and wide. Players run over it all day long. In the evening it rests. Rain helps it grow. "


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("```python\nprint(1)\n", "block of code"),
        ('{"name": "find", "arguments": {"a": 1', "JSON"),
        ('{"name": "fi', "JSON"),
        ("[1, 2, 3", "JSON"),
        ("The answer depends on many things, as everyone knows,", "comma"),
        ("It was a reminder to all who saw it of the importance of", "'of'"),
        ("They went to the market and bought some bread and the", "'the'"),
        (_PROSE * 3 + "And then one of them said that he would rather", "full stop"),
    ],
)
def test_fires(answer: str, why: str) -> None:
    assert why in (why_truncated(answer) or "")


@pytest.mark.parametrize(
    "answer",
    [
        "spam",
        "Natalia sold 48/2 = 24 clips.\n#### 72",
        "SELECT a FROM b WHERE c = 'd'",
        "SELECT name FROM songs WHERE artist = The",
        "```\ncode\n```",
        "Some words.\n```",
        '{"a": 1}',
        "{a} is a set",
        "[Your page](http://a.b)",
        "1. one\n2. two\n3. three",
        _PROSE * 3
        + "\n\n- a first thing that one should remember here\n- and a second one of the same kind here",
        _PROSE * 3 + "\n\nBest regards,\nAnna",
        _PROSE * 3 + "Get yourself a puppy now and be happy with #PuppyLove",
        _PROSE * 3 + "You can read all of it on the page at https://a.org/b",
        "roses are red\nviolets are blue\nsugar is sweet\nand so are you\n" * 8,
        "これは文です。" * 80 + "終わり",
        "",
    ],
)
def test_stays_silent(answer: str) -> None:
    assert why_truncated(answer) is None


def test_the_end_is_shown_and_few_are_a_note() -> None:
    rows = [{"prompt": f"q{i}", "completion": f"It is {i}."} for i in range(200)]
    rows[7]["completion"] = "They went to the market and bought some bread and the"
    [finding] = find(TruncatedAnswers, rows)
    assert finding.severity == "note" and finding.count == 1
    assert finding.examples is not None and "bread and the" in finding.examples[0]
    [finding] = find(TruncatedAnswers, rows[:10])
    assert finding.severity == "warning"


def test_merges() -> None:
    texts = ["It is so.", "```\nx", '{"a": ', "They went to the market and bought some bread and the"]
    assert_merges(TruncatedAnswers, [{"prompt": "q", "completion": text} for text in texts * 4])


@needs_shared
def test_real_files() -> None:
    for path in ("wikisql", "instruct/gsm8k_train.jsonl", "classify", "rugby_seed", "code"):
        assert names(report_on(path, TruncatedAnswers)) == []
    report = report_on("instruct/alpaca_en_demo.json", TruncatedAnswers)
    # Read by eye: an unclosed table in code, and four that stop after "of", "body", "over" and "Bitcoin".
    assert [one.rows for one in report.findings] == [(180, 464, 731, 783, 899)]
