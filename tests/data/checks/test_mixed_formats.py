"""A file in several formats is told of; several files of one format each are not."""

from functools import partial
from pathlib import Path

from luthier.data.checks.check import Context
from luthier.data.checks.engine import check_places
from luthier.data.checks.mixed_formats import MixedFormats
from tests.data.checks.toys import assert_merges, find

_A = [{"prompt": f"a{i}", "completion": "b"} for i in range(5)]
_B = [{"question": "c", "answer": "d"}, {"text": "e"}]


def test_fires_on_the_rarer_formats() -> None:
    [finding] = find(MixedFormats, [*_A[:2], *_B, *_A[2:]])
    assert finding.severity == "note" and [row.number for row in finding.rows] == [3, 4]
    assert "prompt/completion (5), question/answer (1), text (1)" in finding.message


def test_stays_silent(tmp_path: Path) -> None:
    assert find(MixedFormats, _A) == []
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "b.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    places = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    assert check_places({"train": places}, [MixedFormats], partial(Context)).findings == ()


def test_merges() -> None:
    assert_merges(MixedFormats, {"train": [*_A, *_B, *_A, *_B], "valid": [*_B, *_A]})
