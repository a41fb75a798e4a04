"""Damaged, control, invisible and HTML characters are found; every script's own characters are left alone."""

import pytest

from luthier.data.checks.encoding import Encoding
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import needs_shared


def _rows(*texts: str) -> list[dict[str, str]]:
    return [{"prompt": "Who?", "completion": text} for text in texts]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Itâ€™s here", "mojibake"),
        ("the cafÃ© is open", "mojibake"),
        ("5Â°C outside", "mojibake"),
        ("ï»¿Hello", "mojibake"),
        ("a \ufffd b", "mojibake"),
        ("I don\x92t", "mojibake"),
        ("a\x00b", "control_characters"),
        ("ring \x07 the bell", "control_characters"),
        ("é and \x1b[31m red", "control_characters"),
        ("zero\u200bwidth", "invisible_characters"),
        ("turned \u202e around", "invisible_characters"),
        ("fine\ufeff print", "invisible_characters"),
        ("Fish &amp; chips", "html_residue"),
        ("One line.<br>Another line.", "html_residue"),
    ],
)
def test_fires(text: str, name: str) -> None:
    [finding] = find(Encoding, _rows("nothing", text))
    assert finding.name == name and [row.number for row in finding.rows] == [2]


@pytest.mark.parametrize(
    "text",
    [
        "tab\tand\nline\r\nends",
        "café, naïve, Zoë, Ångström, São Paulo, ÂNGULO, IRMÃ, România, â î",
        "A IRMÃ» disse",
        "👩\u200d👩\u200d👧 and 👍🏽",
        "می\u200cخواهم",  # Persian, with its joiner
        "क्\u200dष",  # Hindi
        "שלום \u200f(abc)",
        "ภาษา\u200bไทย",  # Thai, with its break
        "中文，没有问题。",
        "if a < b & c > d",
        "In HTML, a line break is <br> and &nbsp; is a space.",
        "```\n<div>x</div>\n```",
    ],
)
def test_stays_silent(text: str) -> None:
    assert find(Encoding, _rows(text)) == []


def test_html_in_a_question_is_no_left_over() -> None:
    assert find(Encoding, [{"prompt": "What is left of R&amp;B?", "completion": "R&B"}]) == []


def test_merges() -> None:
    assert_merges(Encoding, _rows("cafÃ©", "ok", "a\x00b", "x\u200by", "a &amp; b", "ok", "I don\x92t") * 2)


@needs_shared
def test_real_files() -> None:
    assert names(report_on("wikisql", Encoding)) == []
    assert names(report_on("classify/banking77_train.csv", Encoding)) == []
    # Windows-1252 apostrophes that were read as Latin-1.
    assert names(report_on("classify/SMSSpamCollection", Encoding)) == [("warning", "mojibake", 35)]
    assert names(report_on("instruct/gsm8k_train.jsonl", Encoding)) == [("note", "invisible_characters", 1)]
