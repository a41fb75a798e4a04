"""Rows in another language are found in a sample that does not depend on how the rows were cut."""

import pytest

from luthier.data.checks import language
from luthier.data.checks.language import OtherLanguage
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find, run
from tests.data.shared import needs_shared

_GERMAN = "Das ist ein langer deutscher Satz, der von einem schönen Garten hinter dem Haus erzählt."


def _english(count: int) -> list[dict[str, str]]:
    sentence = "This is a plain English sentence about the garden behind the house, and it has number"
    return [{"prompt": "Tell me about it.", "completion": f"{sentence} {i}."} for i in range(count)]


def _german(count: int) -> list[dict[str, str]]:
    return [{"prompt": "Erzähl mir davon.", "completion": f"{_GERMAN} Nummer {i}."} for i in range(count)]


def test_fires() -> None:
    findings, figures = run(OtherLanguage, [*_english(30), *_german(3)])
    [finding] = findings
    assert finding.name == "other_language" and finding.severity == "warning" and finding.count == 3
    assert [row.number for row in finding.rows] == [31, 32, 33] and "de (3)" in finding.message
    assert figures == {"languages": {"train": {"rows_looked_at": 33, "languages": {"en": 30, "de": 3}}}}


def test_stays_silent() -> None:
    assert find(OtherLanguage, _english(30)) == []
    short = [
        {"prompt": f"{i}", "completion": word} for i, word in enumerate(["oui", "ja", "sì", "да", "no"] * 4)
    ]
    assert find(OtherLanguage, [*_english(30), *short]) == []
    asked = {"prompt": "Translate into German: a long sentence.", "completion": _GERMAN}
    assert find(OtherLanguage, [*_english(30), asked, {**asked, "prompt": "Say it in German."}]) == []


def test_a_set_of_two_languages_is_meant_so() -> None:
    findings, figures = run(OtherLanguage, [*_english(10), *_german(10)])
    assert findings == [] and figures["languages"]["train"]["languages"] == {"de": 10, "en": 10}


def test_merges_also_where_only_a_sample_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*_english(40), *_german(20)]
    assert_merges(OtherLanguage, {"train": rows, "valid": rows[::-1]})
    monkeypatch.setattr(language, "MAX_ROWS_LOOKED_AT", 15)
    assert run(OtherLanguage, rows)[1]["languages"]["train"]["rows_looked_at"] == 15
    assert_merges(OtherLanguage, rows)


@needs_shared
def test_real_files() -> None:
    for path in (
        "wikisql",
        "classify/SMSSpamCollection",
        "classify/banking77_train.csv",
        "instruct/alpaca_en_demo.json",
    ):
        assert names(report_on(path, OtherLanguage)) == []
    # One part of this set is Chinese, the other English.
    assert names(report_on("instruct/identity.json", OtherLanguage)) == [("warning", "other_language", 16)]
