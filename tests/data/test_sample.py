"""Samples are fair and stable; a review survives everything but its own deletion."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from luthier.data.review import apply_review, open_review, wilson
from luthier.data.sample import sample_rows
from luthier.errors import DataError


def write(path: Path, num_rows: int) -> Path:
    rows = [{"prompt": f"question {i}", "completion": "the same"} for i in range(num_rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def numbers(path: Path, num_wanted: int, seed: int = 0) -> list[int]:
    return [one.row.number for one in sample_rows([path], num_wanted, seed=seed).rows]


def test_a_sample_is_stable_sorted_and_grows(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", 500)
    drawn = numbers(path, 20)
    assert drawn == numbers(path, 20) == sorted(drawn) and len(set(drawn)) == 20
    assert drawn != numbers(path, 20, seed=1)
    assert set(drawn) <= set(numbers(path, 60)), "a larger sample holds the smaller one"
    assert numbers(path, 900) == list(range(1, 501))


def test_every_row_is_as_likely(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", 40)
    times = Counter(number for seed in range(400) for number in numbers(path, 10, seed))
    # 400 draws of a quarter: 100 expected, standard deviation 8.7; chi-square with 39 degrees, 99.99% point 85.
    chi_square = sum((times[n] - 100) ** 2 / 100 for n in range(1, 41)) / (1 - 10 / 40)
    assert chi_square < 85


def test_lines_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", 3)
    with path.open("a") as file:
        file.write('{"cut\n')
    sample = sample_rows([path], 10)
    assert (len(sample.rows), sample.num_rows, sample.num_unreadable) == (3, 3, 1)
    path.write_text('{"cut\n', encoding="utf-8")
    with pytest.raises(DataError, match="nothing to sample"):
        sample_rows([path], 10)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(hits: tuple[int, int]) -> None:
    assert wilson(*hits) == pytest.approx(proportion_confint(*hits, alpha=0.05, method="wilson"), abs=1e-12)


@pytest.fixture
def reviewed(tmp_path: Path) -> tuple[Path, Path]:
    """A file of 30 rows and its review: of the 10 drawn, 1 rejected, 1 edited, 1 skipped, 5 accepted, 2 unread."""
    path, record = write(tmp_path / "rows.jsonl", 30), tmp_path / "rows.jsonl.review.jsonl"
    sample, review = sample_rows([path], 10), open_review(record)
    review.begin(str(path), sample)
    verdicts: list[Any] = ["rejected", "edited", "skipped", *["accepted"] * 5]
    for one, verdict in zip(sample.rows, verdicts, strict=False):
        edited = {"prompt": "better", "completion": "answer"} if verdict == "edited" else None
        review.judge(one, verdict, edited=edited, note="why" if verdict == "rejected" else None)
    return path, record


def test_a_review_is_on_the_disk_and_goes_on(reviewed: tuple[Path, Path]) -> None:
    path, record = reviewed
    review = open_review(record, must_exist=True)
    sample = sample_rows([path], 10)
    review.begin(str(path), sample)
    found = [judged.verdict if (judged := review.of(one)) else None for one in sample.rows]
    assert found == ["rejected", "edited", "skipped", *["accepted"] * 5, None, None]
    assert next(iter(review.judged.values())).note == "why"
    summary = review.summary()
    low, high = wilson(2, 7)
    assert (summary.num_read, summary.num_sampled, summary.share) == (7, 10, 2 / 7)
    assert (summary.low, summary.high) == (low, high)
    assert set(summary.to_dict()) == {
        "sampled",
        "rows",
        "read",
        "accepted",
        "rejected",
        "edited",
        "skipped",
        "bad",
    }
    review.judge(sample.rows[0], "accepted")
    assert open_review(record).summary().counts["rejected"] == 0, "the last verdict counts"
    with pytest.raises(DataError, match="with seed 0, not of"):
        review.begin(str(path), sample_rows([path], 10, seed=3))


def test_a_file_that_was_read_whole_needs_no_estimate(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", 4)
    review, sample = open_review(tmp_path / "r.jsonl"), sample_rows([path], 10)
    review.begin(str(path), sample)
    assert review.summary().share is None
    for index, one in enumerate(sample.rows):
        review.judge(one, "rejected" if index == 0 else "accepted")
    summary = review.summary()
    assert (summary.share, summary.low, summary.high) == (0.25, 0.25, 0.25)


def test_a_torn_last_line_is_left_out_and_other_damage_is_named(reviewed: tuple[Path, Path]) -> None:
    _, record = reviewed
    whole = record.read_bytes()
    record.write_bytes(whole[:-7])
    assert len(open_review(record).judged) == 7
    assert record.read_bytes() == whole[: whole[:-1].rfind(b"\n") + 1]
    record.write_bytes(whole.replace(b'"verdict": "skipped"', b'"verdict": "perhaps"'))
    with pytest.raises(DataError, match=r"review\.jsonl:4: not a line of a review"):
        open_review(record)
    with pytest.raises(DataError, match="no such review"):
        open_review(record.with_name("gone"), must_exist=True)


def test_applying_a_review_leaves_the_rest_as_it_stands(reviewed: tuple[Path, Path], tmp_path: Path) -> None:
    path, record = reviewed
    out, before = tmp_path / "out.jsonl", path.read_bytes()
    assert apply_review([path], open_review(record), out) == {"rows": 29, "rejected": 1, "edited": 1}
    drawn = numbers(path, 10)
    expected = [json.loads(line) for line in before.splitlines()]
    expected[drawn[1] - 1] = {"prompt": "better", "completion": "answer"}
    del expected[drawn[0] - 1]
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == expected
    assert path.read_bytes() == before
    path.write_bytes(before.replace(b"question", b"Question"))
    with pytest.raises(DataError, match="the file has changed since"):
        apply_review([path], open_review(record), out, force=True)
    path.write_bytes(b"".join(before.splitlines(keepends=True)[:1]))
    with pytest.raises(DataError, match="no longer there"):
        apply_review([path], open_review(record), out, force=True)
