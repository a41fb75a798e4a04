"""Overlap with evaluation files, and Luthier's own hashes."""

import importlib.util
import json
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from luthier.data.checks.benchmarks import BenchmarkOverlap, own_benchmarks, read_benchmark, read_benchmarks
from luthier.data.checks.check import Context
from luthier.data.checks.engine import check_places
from luthier.errors import DataError
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import SHARED, needs_shared

_LONG = "a train leaves the old town at nine and meets another one at noon so how far apart were they"
_SHORT = "How wide is a league field?"  # six words
_MIDDLE = "How many metres wide is a rugby league field?"  # nine


@pytest.fixture
def benchmarks(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "items.jsonl"
    items = [
        {"question": f"{_LONG}?", "must": ["7"]},
        {"question": _SHORT, "answer": "68"},
        {"question": _MIDDLE, "answer": "68"},
        {
            "question": "And why?",
            "answer": "Because it was agreed so long ago that no one remembers the reason any more.",
        },
    ]
    path.write_text("\n".join(json.dumps(item) for item in items), encoding="utf-8")
    found = read_benchmark(path)
    return {found.name: pickle.loads(pickle.dumps(found))}


def ask(question: str, answer: str = "I do not know.") -> dict[str, str]:
    return {"question": question, "answer": answer}


@pytest.mark.parametrize(
    ("row", "item"),
    [
        (ask(f"Solve: {_LONG.upper()}, please."), 1),
        (ask("Nothing.", f"You ask {_LONG[10:]} I think"), 1),
        (ask("how wide is a league field"), 2),
        (ask(f"Tell me: {_MIDDLE}"), 3),
        (ask("Why?", "It was agreed so long ago that no one remembers the reason any more."), 4),
        (ask("And why?"), None),
        (ask(f"Tell me: {_SHORT}"), None),
        (ask(" ".join(_LONG.split()[:12])), None),
        (ask("something else entirely that is long enough to hold thirteen words in a row of it"), None),
    ],
)
def test_what_counts(benchmarks: dict[str, Any], row: dict[str, str], item: int | None) -> None:
    found = find(BenchmarkOverlap, {"train": [ask("first"), row], "test": [row]}, benchmarks=benchmarks)
    if item is None:
        assert not found
        return
    (overlap,) = found
    assert (overlap.name, overlap.severity, overlap.split, overlap.count) == (
        "benchmark_overlap",
        "error",
        "train",
        1,
    )
    assert overlap.rows[0].number == 2 and f"items.jsonl:{item} ~ " in (overlap.examples or ("",))[0]


def test_the_template_of_a_benchmark_is_no_overlap(tmp_path: Path) -> None:
    head = "Read the text below with care and then answer the question that follows it in one word only:"
    path = tmp_path / "bench.jsonl"
    lines = [json.dumps(ask(f"{head} {i} apples and {i} pears", "yes")) for i in range(40)]
    path.write_text("\n".join(lines), encoding="utf-8")
    benchmarks = {"bench": read_benchmark(path)}
    assert not find(BenchmarkOverlap, [ask(f"{head} something else")], benchmarks=benchmarks)
    assert find(BenchmarkOverlap, [ask(f"{head} 7 apples and 7 pears")], benchmarks=benchmarks)


def test_pieces_find_what_the_whole_finds(benchmarks: dict[str, Any]) -> None:
    rows = [ask(f"question {i}, namely {_LONG}" if i % 3 else f"question {i}") for i in range(40)]
    assert_merges(BenchmarkOverlap, {"train": rows, "valid": rows[:5]}, benchmarks=benchmarks)
    assert not find(BenchmarkOverlap, rows)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.jsonl"
    path.write_text('{"question": "Why?", "answer": "So."}', encoding="utf-8")
    with pytest.raises(DataError, match="none of its 1 items has a question of at least 5 words"):
        read_benchmark(path)
    path.write_text("{broken", encoding="utf-8")
    with pytest.raises(DataError, match=r"short\.jsonl"):
        read_benchmark(path)


def test_the_shipped_hashes_are_those_of_the_demo() -> None:
    recipe = Path(__file__).parents[3] / "recipes" / "benchmark_hashes.py"
    spec = importlib.util.spec_from_file_location("benchmark_hashes", recipe)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (own,) = read_benchmarks("luthier")
    assert own.to_dict() == module.rugby().to_dict(), "run: python recipes/benchmark_hashes.py"
    assert own_benchmarks()[0].name == "rugby"
    found = find(BenchmarkOverlap, [ask("How big is a rugby league field?")], benchmarks={own.name: own})
    assert [f.count for f in found] == [1]


@needs_shared
def test_real_files() -> None:
    """Word problems of gsm8k stand in the published preference set; in its own file every row is found."""
    gsm8k = read_benchmark(SHARED / "instruct" / "gsm8k_train.jsonl")
    place = SHARED / "preference" / "dpo_en_demo.json"
    context = partial(Context, benchmarks={"gsm8k": gsm8k})
    report = check_places({"train": [place]}, [BenchmarkOverlap], context)
    assert [(finding.name, finding.count) for finding in report.findings] == [("benchmark_overlap", 2)]
