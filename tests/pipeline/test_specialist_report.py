"""The page of a specialist: every part with its numbers, what is missing said, nothing hostile let through."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.page.browser import chromium, parse
from tests.training.test_report import realistic_run

from luthier.chat.parse import Termination
from luthier.errors import EvaluationError, RegistryError
from luthier.evaluation.graders import VerdictWord
from luthier.evaluation.runner import EvalResult, EvalSettings, ItemResult
from luthier.pipeline.specialist_report import RUN_FILES, report_place, write_specialist_report
from luthier.pipeline.specialist_results import EVALUATION, evaluation_record
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import SpecialistStore

HOSTILE = '<script>alert("x")</script>'
PROMPT = f"Answer in metres.\n\t{HOSTILE}\n"


def result(name: str, passed: Sequence[bool], answer: str = "68 metres") -> EvalResult:
    items = tuple(
        ItemResult(
            id=f"q{number}",
            tags=(),
            prompt=f"{HOSTILE} How wide, {number}?",
            answer=f"{answer} {HOSTILE}",
            num_tokens=3,
            num_prompt_tokens=5,
            termination=Termination.EOS,
            grader="exact",
            verdict=VerdictWord.PASSED if right else VerdictWord.FAILED,
            score=float(right),
            reason="as asked" if right else "another number",
            seconds=0.1,
        )
        for number, right in enumerate(passed)
    )
    return EvalResult(name, "plain", None, (), "sha256:" + "ab" * 32, EvalSettings(64, 8), items, 1.0)


@pytest.fixture(scope="module")
def run_parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs") / "rugby-001"
    realistic_run(folder)
    (folder / "adapter.safetensors").write_bytes(b"\0" * 1000)
    (folder / "examples.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": f"How long? {HOSTILE}"}]}) + "\n"
    )
    names = (*RUN_FILES, "examples.jsonl")
    return {
        "model/adapter.safetensors": folder / "adapter.safetensors",
        **{name: folder / name for name in names},
    }


def commit(store: SpecialistStore, parts: Mapping[str, Path]) -> Specialist:
    data = [{"role": "train", "path": "rows.jsonl", "sha256": "sha256:" + "9f" * 32, "rows": 1520}]
    base = {"name": "luthier-nano", "hash": "sha256:" + "11" * 32}
    details = {"system_prompt": PROMPT, "form": "adapter", "base": base, "licence": "MIT", "data": data}
    return store.commit("rugby", parts, {**details, "run": "rugby-001", "message": "first"})[0]


def verdict(word: str = "hold") -> dict[str, Any]:
    """In the gate's form."""
    met = {"criterion": "domain", "outcome": "met", "text": "12 won, 0 lost (p = 0.0005)", "asks_for": None}
    missed = {"criterion": "golden", "outcome": "missed", "text": f"lost 9 {HOSTILE}", "asks_for": "hold"}
    leaks = {"criterion": "leaks", "outcome": "met", "text": "0 of 20 items are asked in training too"}
    sides = {"candidate": {"name": "rugby@1"}, "champion": {"name": "luthier-nano"}}
    return {"word": word, "reasons": [met, missed, leaks], "warnings": ["another prompt"], **sides}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, run_parts: dict[str, Path]) -> Path:
    """The page of a version of which everything is known."""
    folder = tmp_path_factory.mktemp("store")
    store = SpecialistStore(folder / "specialists")
    one = commit(store, run_parts)
    results = [
        result("luthier-nano", [False] * 15 + [True] * 5, "70"),
        result("rugby@1", [True] * 19 + [False]),
    ]
    store.attach(one, EVALUATION, evaluation_record("widths", results, role="domain"))
    store.attach(one, "verdict", verdict())
    store.promote(one.ref, force=True, reason="shown to a friend")
    return write_specialist_report(store, one, folder / "page.html", price_per_hour=36.0)


def test_every_part_is_there_with_its_numbers(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for part in ("Results: widths (domain)", "Gate", "Answers side by side: widths", "Data", "Training"):
        assert f"<h2>{part}</h2>" in text
    for part in ("Hardware and cost", "How it is asked", "Where it comes from", "What happened"):
        assert f"<h2>{part}</h2>" in text
    assert "19/20" in text and "95.0%" in text and "5/20" in text  # accuracies
    assert "+70.0 points" in text and "15 won, 1 lost" in text
    assert "12 won, 0 lost (p = 0.0005)" in text and "another prompt" in text
    assert "0 of 20 items are asked in training too" in text  # the data card tells the gate's word on leaks
    assert "1,520" in text and "MIT" in text and "3 min 48 s" in text and "Production on 20" in text
    assert "2.2800" in text and "at 36 an hour" in text  # 228 s at 36 an hour
    assert 'data-line="validation"' in text and "shown to a friend" in text


def test_it_is_one_small_safe_file_that_reads_well(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parsed = parse(text)
    assert "script" not in parsed.seen and parsed.addresses == ["data:,"]
    assert "&lt;script&gt;" in text and len(text) < 300_000
    assert "prefers-color-scheme: dark" in text and '<html lang="en">' in text
    assert parsed.seen.count("h1") == 1 and parsed.seen.count("table") > 5
    assert text.count('<svg class="plot"') == text.count('role="img"')  # every drawing is told in words


def test_a_browser_draws_it(page: Path, tmp_path: Path) -> None:
    drawn = chromium(tmp_path, page, f"--screenshot={tmp_path / 'page.png'}", "--window-size=1200,3000")
    assert (tmp_path / "page.png").stat().st_size > 30_000
    assert "CONSOLE" not in drawn.stderr and "Refused" not in drawn.stderr


def test_what_is_missing_is_said(tmp_path: Path, run_parts: dict[str, Path]) -> None:
    store = SpecialistStore(tmp_path / "specialists")
    one, _ = store.commit(
        "bare", {"model/adapter.safetensors": run_parts["recipe.yaml"]}, {"system_prompt": None}
    )
    place = report_place(store, one)
    assert place == tmp_path / "specialists" / "reports" / "bare@1.html"
    text = write_specialist_report(store, one, place).read_text(encoding="utf-8")
    parse(text)
    for said in (
        "no verdict",
        "Nothing was measured yet",
        "luthier gate bare@1 --champion NAME --items FILE",
        "None were kept",
        "Nothing is known of the data",
        "no curve is known",
        "The machine that trained it is not known",
        "It has none: it was trained and tested without",
        "Not promoted on 20",
    ):
        assert said in text, said


def test_the_last_result_of_a_name_counts_and_foreign_records_are_left_alone(
    tmp_path: Path, run_parts: dict[str, Path]
) -> None:
    store = SpecialistStore(tmp_path / "specialists")
    one = commit(store, run_parts)
    for right in (3, 7):
        results = [result("base", [False] * 10), result("own", [True] * right + [False] * (10 - right))]
        store.attach(one, EVALUATION, evaluation_record("widths", results))
    store.attach(one, EVALUATION, {"accuracy": 0.5})
    store.attach(one, "verdict", {"word": "ship"})
    text = write_specialist_report(store, one, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "7/10" in text and "3/10" not in text and "came without reasons" in text
    store.attach(one, EVALUATION, {"format": 1, "name": "torn", "comparison": {}})
    with pytest.raises(RegistryError, match="is not in the form that this Luthier writes"):
        write_specialist_report(store, one, tmp_path / "page.html")


def test_samples_are_chosen_by_verdict_and_spread() -> None:
    before = result("base", [False] * 50 + [True] * 50)
    after = result("own", [True] * 40 + [False] * 30 + [True] * 30)
    record = evaluation_record("x", [before, after])
    outcomes = [one["outcome"] for one in record["samples"]]
    assert outcomes == ["won"] * 4 + ["lost"] * 4 + ["alike"] * 4
    assert [one["id"] for one in record["samples"][:4]] == ["q0", "q10", "q20", "q30"]
    assert [answer["verdict"] for answer in record["samples"][4]["answers"]] == ["passed", "failed"]
    assert json.loads(json.dumps(record)) == record
    with pytest.raises(EvaluationError, match="at least two"):
        evaluation_record("x", [after])
