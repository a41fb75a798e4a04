"""A header that was read as data is found, at the first row and nowhere else."""

from typing import Any

import pytest

from luthier.data.checks.header_row import HeaderRow
from tests.data.checks.real import report_on
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import SHARED, needs_shared

_GOOD = [{"text": f"message {i}", "label": ("spam", "ham")[i % 2]} for i in range(20)]


def _first(row: dict[str, Any], more: list[dict[str, Any]]) -> list[str]:
    return [finding.name for finding in find(HeaderRow, [row, *more])]


@pytest.mark.parametrize(
    ("row", "more"),
    [
        ({"text": "text", "label": "label"}, _GOOD),
        ({"text": "SMS", "label": "Label"}, _GOOD),
        ({"text": "the words of a customer", "label": "category"}, _GOOD),
        ({"question": "question", "answer": "answer"}, [{"question": "How wide?", "answer": "68 m"}]),
        ({"text": "text"}, [{"text": "A document."}]),
    ],
)
def test_fires(row: dict[str, Any], more: list[dict[str, Any]]) -> None:
    assert _first(row, more) == ["header_row_as_data"]


def test_stays_silent() -> None:
    assert find(HeaderRow, _GOOD) == []
    assert find(HeaderRow, [*_GOOD, {"text": "text", "label": "label"}]) == []
    assert _first({"text": "is it one?", "label": "intent"}, [{"text": "or two?", "label": "intent"}]) == []
    assert _first({"question": "What is on a bottle?", "answer": "label"}, []) == []


def test_merges() -> None:
    assert_merges(HeaderRow, [{"text": "SMS", "label": "Label"}, *_GOOD])
    assert_merges(HeaderRow, [{"text": "one", "label": "intent"}, *_GOOD, {"text": "two", "label": "intent"}])


@needs_shared
def test_sms_read_with_and_without_its_header() -> None:
    assert report_on("classify/SMSSpamCollection", HeaderRow).findings == ()
    lines = (SHARED / "classify/SMSSpamCollection").read_text(encoding="utf-8").splitlines()
    rows = [dict(zip(("label", "text"), line.split("\t", 1), strict=True)) for line in lines]
    [finding] = find(HeaderRow, rows)
    assert finding.name == "header_row_as_data" and [row.number for row in finding.rows] == [1]
