"""Filters: each condition by itself, their counts, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.filter import (
    Condition,
    characters_between,
    field_is,
    filter_rows,
    language_is,
    matches,
    score_between,
    tokens_between,
)
from luthier.errors import DataError

_ROWS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How wide is a rugby league field between the touch lines?"},
            {"role": "assistant", "content": "It is sixty-eight metres wide."},
        ],
        "quality": 0.9,
        "lang": "en",
        "meta": {"score": "3"},
    },
    {
        "prompt": "Wie lang ist ein Spielfeld für Rugby League?",
        "completion": "Es ist hundert Meter lang.",
        "quality": 2,
    },
    {
        "text": "Ein einfaches Dokument in deutscher Sprache, das niemand fragt.",
        "lang": None,
        "quality": True,
    },
    {"prompt": "x", "completion": "y", "quality": "0.5", "lang": "en"},
]


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in _ROWS), encoding="utf-8")
    return path


def kept(rows_file: Path, *conditions: Condition) -> list[int]:
    """The indices of the rows that stay."""
    out = rows_file.with_name("out.jsonl")
    filter_rows([rows_file], out, conditions, force=True)
    return [_ROWS.index(json.loads(line)) for line in out.read_text(encoding="utf-8").splitlines()]


def test_lengths(rows_file: Path) -> None:
    assert kept(rows_file, characters_between(3, None)) == [0, 1, 2]
    assert kept(rows_file, characters_between(None, 2)) == [3]
    assert kept(rows_file, characters_between(1, 9, "system")) == [0]
    assert kept(rows_file, characters_between(26, 30, "answer")) == [0, 1]
    assert kept(rows_file, tokens_between(2, 3, lambda example: len(example.messages))) == [0, 1, 3]


def test_patterns_look_where_they_are_told(rows_file: Path) -> None:
    assert kept(rows_file, matches("(?i)rugby")) == [0, 1]
    assert kept(rows_file, matches("(?i)rugby", "answer", wanted=False)) == [0, 1, 2, 3]
    assert kept(rows_file, matches("^Be brief", "system", wanted=False)) == [1, 2, 3]
    assert kept(rows_file, matches("Dokument", "answer")) == [2], "a document is what is learnt"
    assert kept(rows_file, matches("wide", "prompt"), matches("sixty", "answer")) == [0]


def test_languages(rows_file: Path) -> None:
    assert kept(rows_file, language_is(["de"], 0.5)) == [1, 2]
    assert set(kept(rows_file, language_is(["de", "en"], 0.0))) >= {0, 1, 2}
    with pytest.raises(DataError, match=r"'deu': expected codes of ISO 639-1, .* de, "):
        language_is(["deu"], 0.5)


def test_fields(rows_file: Path) -> None:
    assert kept(rows_file, score_between("quality", 0.6, None)) == [0, 1], "true is no score"
    assert kept(rows_file, score_between("quality", None, 0.9)) == [0, 3]
    assert kept(rows_file, score_between("meta.score", 3, 3)) == [0]
    assert kept(rows_file, field_is("lang", "en")) == [0, 3]
    assert kept(rows_file, field_is("lang", "en", wanted=False)) == [1, 2], "a missing field is not en"
    assert kept(rows_file, field_is("lang", "null")) == [2]
    assert kept(rows_file, field_is("quality", "2")) == [1]
    with pytest.raises(
        DataError, match=r"none of the 4 rows has the field 'qualty'.*messages, quality, lang, meta"
    ):
        kept(rows_file, score_between("qualty", 1, None))


def test_rows_are_counted_at_the_first_condition_they_fail(rows_file: Path, tmp_path: Path) -> None:
    out, left = tmp_path / "out.jsonl", tmp_path / "left.jsonl"
    conditions = [characters_between(3, None), matches("(?i)rugby"), field_is("lang", "en")]
    report = filter_rows([rows_file], out, conditions, removed=left)
    assert report.to_dict() == {
        "rows": 4,
        "kept": 1,
        "removed": 3,
        "out": str(out),
        "removed_to": str(left),
        "conditions": [
            {"condition": "--min-chars 3", "removed": 1},
            {"condition": "--match '(?i)rugby'", "removed": 1},
            {"condition": "--where lang=en", "removed": 1},
        ],
    }
    told = [json.loads(line) for line in left.read_text(encoding="utf-8").splitlines()]
    assert [one["number"] for one in told] == [2, 3, 4]
    assert [one["reason"] for one in told] == [
        "--where lang=en: the field is missing",
        "--match '(?i)rugby': not found",
        "--min-chars 3: 2 characters",
    ]
    assert told[0]["row"] == _ROWS[1]


def test_what_is_refused_leaves_nothing(rows_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(DataError, match="at least one condition"):
        filter_rows([rows_file], out, [])
    with pytest.raises(
        DataError, match=r"none of the 4 rows meets the conditions.*--min-chars 9999 left out 4"
    ):
        filter_rows([rows_file], out, [characters_between(9999, None)])
    with pytest.raises(
        DataError, match=r"not a regular expression: missing \), unterminated subpattern at position 3"
    ):
        matches("ab(c")
    with pytest.raises(DataError, match="the least is more than the most"):
        characters_between(5, 4)
    with pytest.raises(DataError, match="--min-score or --max-score"):
        score_between("quality", None, None)
    with pytest.raises(DataError, match="same file"):
        filter_rows([rows_file], out, [characters_between(3, None)], removed=out)
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"cut\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl:2.*\n.*luthier data fix"):
        filter_rows([tmp_path / "bad.jsonl"], out, [characters_between(1, None)])
    with pytest.raises(DataError, match="never written over"):
        filter_rows([rows_file], rows_file, [characters_between(1, None)], force=True)
    assert not out.exists()
