"""The laws of the engine: the report does not depend on processes, pieces or packing, and memory does not on rows."""

import gzip
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import luthier.data.checks
from luthier.data.checks import CHECKS, Report, check_files
from luthier.data.checks.check import Check, Context
from luthier.data.checks.engine import check_places
from luthier.errors import DataError
from tests.data.checks.files import lines_of, some_rows, write


def checked(train: list[Path], valid: list[Path], workers: int, piece_bytes: int) -> dict[str, Any]:
    places: Any = {"train": train, "valid": valid}
    return check_places(places, CHECKS, Context, workers=workers, piece_bytes=piece_bytes).to_dict()


def without_places(report: Report) -> list[tuple[Any, ...]]:
    return [(f.name, f.severity, f.split, f.count, f.rows, f.examples, f.message) for f in report.findings]


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """400 training rows with broken lines among them, 80 validation rows of which every eighth is leaked."""
    folder = tmp_path_factory.mktemp("messy")
    train = some_rows(400)
    for at, line in ((7, '{"prompt": "cut'), (150, "7"), (151, ""), (390, '{"sentence": "x"}')):
        train.insert(at, line)
    valid = some_rows(80, seed=1)
    valid[::8] = [row for row in train if isinstance(row, dict)][:10]
    return write(folder / "train.jsonl", train), write(folder / "valid.jsonl", valid)


def test_every_check_of_the_room_is_run() -> None:
    for module in pkgutil.iter_modules(luthier.data.checks.__path__):
        importlib.import_module(f"luthier.data.checks.{module.name}")
    assert {
        one for one in Check.__subclasses__() if one.__module__.startswith("luthier.data.checks.")
    } == set(CHECKS)


@pytest.mark.slow
def test_processes_and_pieces_do_not_change_the_report(messy: tuple[Path, Path]) -> None:
    train, valid = messy
    alone = checked([train], [valid], 1, 1 << 24)
    assert {"broken_json", "duplicate_rows", "valid_rows_in_train", "conflicting_answers"} <= {
        finding["name"] for finding in alone["findings"]
    }
    for piece_bytes in (1, 997, 20_000):
        assert checked([train], [valid], 2, piece_bytes) == alone, f"pieces of {piece_bytes} bytes"


def test_rows_in_several_files_are_the_rows_of_one(messy: tuple[Path, Path], tmp_path: Path) -> None:
    train, valid = messy
    lines = train.read_text(encoding="utf-8").splitlines(keepends=True)
    parts = [tmp_path / f"part-{number}.jsonl" for number in range(3)]
    for number, part in enumerate(parts):
        part.write_text("".join(lines[number * 150 : (number + 1) * 150]), encoding="utf-8")
    whole, several = check_files(train, valid), check_files(parts, valid)
    assert several == check_files(tmp_path, valid), "a folder is its files"
    counted = [
        {(f.name, f.split, f.count, f.message) for f in report.findings} for report in (whole, several)
    ]
    assert counted[0] == counted[1]
    assert whole.figures == several.figures


def test_packed_files_and_tables_are_the_same_rows(tmp_path: Path) -> None:
    rows = [row for row in some_rows(300) if row["completion"]]
    text = lines_of(rows).encode()
    plain = write(tmp_path / "a.jsonl", rows)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(text))
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(text))
    (tmp_path / "d.json").write_text(json.dumps(rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "e.parquet")
    expected = check_files(plain)
    assert expected.findings
    for name in ("b.jsonl.gz", "c.jsonl.zst", "d.json", "e.parquet"):
        report = check_files(tmp_path / name)
        assert without_places(report) == without_places(expected), name
        assert report.figures == expected.figures, name


def test_a_damaged_file_is_a_finding_beside_everything_before_the_damage(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"What is {n} of {n * 7919}?", "completion": f"It is {n * 31}."} for n in range(20_000)
    ]
    rows[10] = rows[4]
    whole = gzip.compress(lines_of(rows).encode())
    damaged = tmp_path / "a.jsonl.gz"
    damaged.write_bytes(whole[: len(whole) // 2])
    other = write(tmp_path / "b.jsonl", some_rows(50, troubled=False))
    report = check_files([damaged, other], [tmp_path / "b.jsonl"])
    by_name = {finding.name: finding for finding in report.findings}
    assert (
        by_name["unreadable_file"].severity == "error" and "a.jsonl.gz" in by_name["unreadable_file"].message
    )
    assert by_name["duplicate_rows"].places == (f"{damaged}:11",)
    assert by_name["duplicate_rows"].examples == ("What is 4 of 31676? -> It is 124.",)
    assert 5_000 < report.files[0].num_rows < 20_000 and report.files[1].num_rows == 50
    assert by_name["valid_rows_in_train"].count == 50 and report.exit_code() == 2


def test_an_empty_file_and_a_missing_one(tmp_path: Path) -> None:
    empty = write(tmp_path / "a.jsonl", [])
    report = check_files(empty)
    assert [finding.name for finding in report.findings if finding.severity == "error"] == ["unreadable_file"]
    assert report.files[0].num_rows == 0
    with pytest.raises(DataError, match=r"b\.jsonl"):
        check_files(tmp_path / "b.jsonl")


def test_examples_are_told_from_the_rows_they_name(messy: tuple[Path, Path]) -> None:
    train, valid = messy
    lines = {path: path.read_text(encoding="utf-8").splitlines() for path in (train, valid)}
    report = check_files(train, valid)
    told = 0
    for finding in report.findings:
        if finding.name not in ("duplicate_rows", "valid_rows_in_train"):
            continue
        for place, example in zip(finding.places, finding.examples, strict=False):
            path, number = place.rsplit(":", 1)
            row = json.loads(lines[Path(path)][int(number) - 1])
            question, answer = example.split(" -> ")
            assert row["prompt"].startswith(question.rstrip("…")) and row["completion"].startswith(
                answer.rstrip("…")
            )
            told += 1
    assert told >= 4


def test_the_worst_rows_are_those_with_most_findings(messy: tuple[Path, Path]) -> None:
    report = check_files(*messy)
    names_of: dict[str, set[str]] = {}
    for finding in report.findings:
        for place in finding.places:
            names_of.setdefault(place, set()).add(finding.name)
    assert report.worst
    for row in report.worst:
        assert set(row.findings) == names_of[row.place] and len(row.findings) > 1


def test_progress_adds_up_to_the_size(messy: tuple[Path, Path]) -> None:
    train, _ = messy
    for workers, piece_bytes in ((1, 1 << 24), (2, 5_000)):
        told: list[int] = []
        places: Any = {"train": [train]}
        check_places(places, CHECKS, Context, workers=workers, piece_bytes=piece_bytes, on_bytes=told.append)
        assert sum(told) == train.stat().st_size


_MEASURE = """
import resource, sys
from luthier.data.checks import check_files
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = check_files(sys.argv[1], sys.argv[2])
print(report.files[0].num_rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """200,000 rows in a process of its own; four times the rows must not take anything like four times the memory."""
    valid = write(tmp_path / "v.jsonl", some_rows(500, seed=2))
    used = []
    for count in (50_000, 200_000):
        train = write(tmp_path / f"{count}.jsonl", some_rows(count))
        command = [sys.executable, "-c", _MEASURE, str(train), str(valid)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows, mebibytes = done.stdout.split()
        assert int(rows) == count
        used.append(float(mebibytes))
    assert used[1] < 400 and used[1] < 2 * used[0], used
