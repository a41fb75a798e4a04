"""`luthier router`: learnt from files and from the store, measured, explained; what cannot be done is said."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from luthier.cli.gate_routing import routing
from luthier.cli.main import app
from luthier.errors import ConfigError, DataError, LuthierError, ServingError
from tests.serving.router.questions import some


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, ["router", *words])


def error(*words: str) -> LuthierError:
    found = invoke(*words).exception
    assert isinstance(found, LuthierError), found
    return found


def write(folder: Path, seed: int) -> None:
    """Chat rows for training; other questions of the same people for measuring."""
    for name, questions in some(60, seed).items():
        rows = [
            {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": "Yes."}]}
            for q in questions
        ]
        (folder / f"{name}-{seed}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("router")
    write(folder, 0)
    write(folder, 1)
    named = [f"{name}={folder}/{name}-0.jsonl" for name in ("cooking", "gardening", "banking")]
    done = invoke("train", *named, "--general", f"{folder}/base-0.jsonl", "--out", f"{folder}/router")
    assert done.exit_code == 0, done.output
    assert "banking 60, cooking 60, gardening 60, base 60" in done.output.replace("\n", " ")
    return folder


def test_measured_on_other_questions(place: Path) -> None:
    named = [f"{name}={place}/{name}-1.jsonl" for name in ("cooking", "gardening", "banking")]
    words = ["eval", f"{place}/router", *named, "--general", f"{place}/base-1.jsonl"]
    report = json.loads(invoke(*words, "--json").output)["report"]
    assert report["accuracy"] > 0.97 and report["auroc"] > 0.97 and report["num_general"] == 60
    shown = invoke(*words).output
    assert "find their owner" in shown and "stay with the base" in shown and "gardening" in shown


def test_regret_from_a_matrix(place: Path) -> None:
    rows = [
        {
            "question": "How do I bake a pie?",
            "scores": {"cooking": 1, "gardening": 0, "banking": 0, "base": 0.5},
        },
        {
            "question": "Please sing a song!",
            "scores": {"cooking": 1, "gardening": 0, "banking": 0, "base": 0.5},
        },
    ]
    (place / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = json.loads(
        invoke("eval", f"{place}/router", "--scores", f"{place}/scores.jsonl", "--json").output
    )
    assert found["report"] is None and found["regret"]["regret"] == pytest.approx(0.25)
    assert "regret 0.250" in invoke("eval", f"{place}/router", "--scores", f"{place}/scores.jsonl").output
    (place / "torn.jsonl").write_text('{"question": "x"}\n')
    assert "torn.jsonl:1: expected" in str(
        error("eval", f"{place}/router", "--scores", f"{place}/torn.jsonl")
    )


def test_explained(place: Path) -> None:
    found = json.loads(invoke("explain", f"{place}/router", "Can you prune the roses?", "--json").output)
    assert (found["word"], found["specialist"]) == ("routed", "gardening")
    assert "prune" in dict(found["because"])
    assert "base: base" in invoke("explain", f"{place}/router", "Give me a description of Paris").output


def test_what_is_missing_is_said(place: Path, tmp_path: Path) -> None:
    one = f"cooking={place}/cooking-0.jsonl"
    assert isinstance(error("train", one), ConfigError)
    assert "expected NAME=FILE, got 'cooking'" in str(
        error("train", "cooking", "--general", f"{place}/base-0.jsonl")
    )
    assert isinstance(error("train", f"cooking={place}/nothing.jsonl", "--general", "x"), DataError)
    assert isinstance(error("eval", str(tmp_path), one), ServingError)
    assert "expected questions with their owners" in str(error("eval", f"{place}/router"))


def test_the_gate_can_ask_what_a_new_specialist_does_to_the_others(place: Path, tmp_path: Path) -> None:
    named = [f"{name}={place}/{name}-0.jsonl" for name in ("cooking", "gardening")]
    general = f"{place}/base-0.jsonl"
    invoke("train", *named, "--general", general, "--out", f"{tmp_path}/old")
    thief = tmp_path / "thief.jsonl"
    new = [q for q in some(60, 1)["cooking"] if q not in some(60, 0)["cooking"]]
    rows = [{"prompt": q, "completion": "Yes."} for q in new]
    thief.write_text("".join(json.dumps(row) + "\n" for row in rows))
    invoke("train", *named, f"thief={thief}", "--general", general, "--out", f"{tmp_path}/new")
    routed = [f"{name}={place}/{name}-1.jsonl" for name in ("cooking", "gardening")]
    asked = (tmp_path / "old", tmp_path / "new", routed, [f"{place}/base-1.jsonl"])
    measure = routing(*asked)
    assert measure is not None
    report = measure()
    assert report.num_questions == 180 and [one.split(":")[0] for one in report.harm] == ["cooking"]
    same = routing(tmp_path / "old", tmp_path / "old", routed, ())
    assert same is not None and same().harm == () and routing(None, None, (), ()) is None
    with pytest.raises(ConfigError, match="--router OLD --next-router NEW --routed"):
        routing(tmp_path / "old", None, routed, ())
