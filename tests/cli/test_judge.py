"""`luthier judge` from the command line, against a real server and a local model."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.main import main
from luthier.evaluation.judge.probe import builtin_probe
from luthier.evaluation.judge.report import Fitness, find_report
from luthier.evaluation.runner import load_result, save_result
from tests.evaluation.judge.rule_judge import by_merit, honest, prefers_first
from tests.evaluation.judge.test_results import BASE, ITEMS, TUNED
from tests.models.chat_server import chat_server

QUESTIONS = builtin_probe().questions[:4]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, which in (("right", "good"), ("wrong", "bad")):
        rows = [{"id": q.id, "question": q.question, "answer": getattr(q, which)} for q in QUESTIONS]
        Path(f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `luthier judge ARGUMENTS`."""
    sys.argv = ["luthier", "judge", *arguments]
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    return int(stopped.value.code or 0), said.out, " ".join(said.err.split())


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    value = json.loads(out)
    assert isinstance(value, dict)
    return value


def test_plain_answers_are_scored_once(capsys: pytest.CaptureFixture[str]) -> None:
    prices = ("--price-in", "1", "--price-out", "2")
    with chat_server(by_merit(honest)) as (url, seen):
        first = asked(capsys, "score", "wrong.jsonl", "--judge", f"{url}#rule", *prices)
        again = asked(capsys, "score", "wrong.jsonl", "--judge", f"{url}#rule", *prices)
        code, out, _ = run(capsys, "score", "right.jsonl", "--judge", f"{url}#rule", "--repeats", "2")
    assert len(seen) == 4 + 8 and code == 0 and "4 answers: 4 passed, 4 judged, mean 5.00" in out
    assert first["num_passed"] == 0 and first["num_hallucinations"] == 4
    assert first["usage"]["cost"] == pytest.approx(4 * (7 + 2 * 3) / 1e6)
    assert again["usage"]["num_cached"] == 4 and again["usage"]["cost"] == 0.0
    assert again["items"] == first["items"]
    assert json.loads(Path(first["kept"]).read_text())["identity"] == first["identity"]


def test_saved_answers_come_back_as_results_to_compare(capsys: pytest.CaptureFixture[str]) -> None:
    save_result(TUNED, "tuned.jsonl")
    rows = [{"id": i.id, "question": i.messages[0].content, "answer": i.answer} for i in ITEMS]
    Path("items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with chat_server(by_merit(honest)) as (url, seen):
        asked(capsys, "score", "tuned.jsonl", "--judge", f"{url}#rule", "--items", "items.jsonl")
    assert load_result(Path("evaluations/tuned-judged-general.jsonl")).tally.num_passed == 12
    assert "[REFERENCE " in seen[0]["messages"][-1]["content"]


def test_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    save_result(BASE, "base.jsonl")
    save_result(TUNED, "tuned.jsonl")
    with chat_server(by_merit(honest)) as (url, _):
        found = asked(capsys, "pair", "base.jsonl", "tuned.jsonl", "--judge", f"{url}#rule")
        code, out, _ = run(capsys, "pair", "wrong.jsonl", "right.jsonl", "--judge", f"{url}#rule")
    assert (found["wins"], found["losses"], found["verdict"]) == (12, 1, "better")
    assert code == 0 and "4 won, 0 lost" in out and "not enough evidence" in out


@pytest.mark.slow
def test_a_judge_is_tested_and_its_report_kept(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"question": q.question, "answer": answer, "passed": good}
        for q in builtin_probe().questions
        for answer, good in ((q.good, True), (q.bad, False))
    ]
    Path("human.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with chat_server(by_merit(honest)) as (url, _):
        report = asked(capsys, "test", "--judge", f"{url}#rule", "--labels", "human.jsonl")
        code, out, _ = run(capsys, "test", "--judge", f"{url}#rule")
    assert report["word"] == "fit to decide"
    assert code == 1 and "not tested" in out and "no labels by people" in out
    assert find_report("judges", report["identity"]).word is Fitness.NOT_TESTED  # the last test counts
    with chat_server(prefers_first) as (url, _):
        code, out, _ = run(capsys, "test", "--judge", f"{url}#rule", "--labels", "human.jsonl")
    assert code == 1 and "not fit to decide" in out and "follows the order" in out


@pytest.mark.slow
def test_a_local_model_without_the_skill(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--judge", "luthier-nano", "--max-tokens", "8", "--attempts", "1")
    code, out, err = run(capsys, "score", "right.jsonl", *options, "--json")
    assert code == 1 and "gave no verdict on any of 4 answers" in err
    found = json.loads(out)
    assert found["num_passed"] == 0 and found["outcomes"]["judged"] == 0 and found["mean"] is None
    code, _, err = run(capsys, "pair", "right.jsonl", "wrong.jsonl", *options)
    assert code == 1 and "gave no verdict on any of 4 pairs" in err


def test_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rubric.yaml").write_text("name: x\ncriteria: []")
    url = "http://127.0.0.1:9/v1#rule"
    for arguments, why in (
        (("score", "absent.jsonl", "--judge", url), "absent.jsonl: cannot read"),
        (("score", "right.jsonl", "--judge", "http://127.0.0.1:9/v1"), "the model's name"),
        (("score", "right.jsonl", "--judge", url, "--rubric", "rubric.yaml"), "criteria"),
        (("score", "right.jsonl", "--judge", url, "--items", "right.jsonl"), "plain rows"),
        (("score", "right.jsonl", "--judge", url, "--api-key-variable", "NO_SUCH_KEY"), "NO_SUCH_KEY"),
        (("score", "right.jsonl", "--judge", "luthier-nano", "--api-key-variable", "K"), "behind a URL"),
        (("test", "--judge", url, "--labels", "right.jsonl"), "exactly one of"),
        (("score", "right.jsonl", "--judge", url, "--attempts", "0"), "--attempts"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code not in (0, None) and why in err, (arguments, err)
