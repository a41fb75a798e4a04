"""The main job on a toy: every step is real, only the model and the data are tiny."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.training.toys import model_folder

from luthier.errors import DataError
from luthier.pipeline.make import Outcome, SpecialistJob, make_specialist
from luthier.registry.specialists import SpecialistStore
from luthier.training.tracking import Trackers

ANSWERS = {"How wide is it?": "It is 68 metres wide.", "How high is it?": "It is 3 metres high."}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def job(folder: Path, steps: int = 4) -> SpecialistJob:
    data = folder / "data"
    asked = list(ANSWERS.items())
    return SpecialistJob(
        base=str(folder / "base") if (folder / "base").exists() else str(model_folder(folder / "base")),
        train=write(
            data / "train.jsonl", [{"messages": turns(f"{q} ({n})", a)} for q, a in asked for n in range(6)]
        ),
        valid=write(
            data / "valid.jsonl", [{"messages": turns(f"Say: {q}", a), "must": ["3"]} for q, a in asked[1:]]
        ),
        test=write(data / "test.jsonl", [{"question": f"Now, {q}", "answer": a} for q, a in asked]),
        other=write(data / "other.jsonl", [{"question": "Who are you?", "must_not": ["68"]}]),
        prompts={"facts": "It is 68 metres wide.", "more facts": "It is 68 metres wide and 3 metres high."},
        question="How wide is it?",
        folder=folder / "job",
        recipe={
            "method": {"name": "full"},
            "train": {"max_steps": steps, "batch_size": 4, "dtype": "float32"},
        },
        max_new_tokens=4,
    )


def make(what: SpecialistJob) -> tuple[Outcome, dict[str, str]]:
    told: dict[str, str] = {}
    outcome = make_specialist(what, lambda name, line: told.__setitem__(name, line), Trackers([]))
    return outcome, told


def test_every_step_is_told_and_kept(tmp_path: Path) -> None:
    outcome, told = make(job(tmp_path))
    assert list(told) == [
        "check the data", "measure the base", "train", "evaluate", "compare", "merge", "verify", "ask it", "gate",
    ]  # fmt: skip
    assert [entry.tally.num_graded for entry in outcome.comparison.entries] == [2, 2, 2]
    assert outcome.certificate["word"] != "different" and outcome.run["steps"] == 4
    kept = json.loads((tmp_path / "job" / "outcome.json").read_text())
    assert kept == json.loads(json.dumps(outcome.to_dict()))
    assert (
        outcome.gate["word"] == "not enough evidence"
        and outcome.specialist == "specialist@1"
        and not outcome.promoted
    )
    assert {one["role"]: one["num_items"] for one in outcome.gate["sets"]} == {
        "domain": 2, "golden": 1, "general": 100, "ordinary": 60,
    }  # fmt: skip
    store = SpecialistStore(tmp_path / "job" / "specialists")
    (record,) = store.records(store.find("specialist@1"), "verdict")
    assert record["body"] == outcome.gate
    answers = list((tmp_path / "job" / "answers").glob("tuned-test.jsonl"))
    assert len(answers) == 1 and (outcome.run_folder / "report.html").is_file()


def test_done_steps_are_read_back_and_changed_inputs_are_done_again(tmp_path: Path) -> None:
    first, _ = make(job(tmp_path))
    again, told = make(job(tmp_path))
    assert again.to_dict() == first.to_dict()
    repeated = {name for name, line in told.items() if line.endswith("(done before)")}
    assert repeated == {"check the data", "measure the base", "train", "evaluate", "merge", "verify", "gate"}
    _, told = make(job(tmp_path, steps=5))
    repeated = {name for name, line in told.items() if line.endswith("(done before)")}
    assert repeated == {"check the data", "measure the base"}, (
        "another recipe trains anew, and all that follows"
    )


def test_data_with_a_leak_stops_before_a_step_is_paid_for(tmp_path: Path) -> None:
    what = job(tmp_path)
    write(
        what.valid, [{"messages": turns("How wide is it? (0)", ANSWERS["How wide is it?"]), "must": ["68"]}]
    )
    with pytest.raises(DataError, match="luthier data check"):
        make(what)
    assert not (tmp_path / "job" / "run").exists()
