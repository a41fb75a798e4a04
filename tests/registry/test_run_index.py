"""The database of runs is a copy of the folders: made anew where it is gone or broken, and in nobody's way."""

import sqlite3
from pathlib import Path

import pytest

from luthier.errors import RunError
from luthier.registry.run_index import RunIndex, open_index
from luthier.registry.runs import Run, create_run
from luthier.training.run_index import IndexTracker
from luthier.training.tracking import End, Evaluation, MetricsFile, Step, Trackers


def make(folder: Path, name: str, losses: list[float], seed: int = 0) -> Run:
    run = create_run(
        folder / name,
        recipe_yaml="method: lora\n",
        data_manifest=[{"role": "train", "path": "a", "sha256": "b", "dataset_id": "sha256:c"}],
        resolved={"values": {"train": {"seed": seed}, "method": {"name": "lora"}}, "sources": {}},
    )
    for number, loss in enumerate(losses, start=1):
        run.append_metrics(
            {"event": "step", "step": number, "loss": loss, "tokens": 10, "seconds": 1.0, "metrics": {"m": 2}}
        )
    run.append_metrics(
        {"event": "evaluation", "step": len(losses), "validation_loss": losses[-1], "metrics": {}}
    )
    return run


def test_it_holds_what_the_folders_hold(tmp_path: Path) -> None:
    make(tmp_path, "a", [3.0, 2.0], seed=7)
    (line,) = open_index(tmp_path).runs()
    assert (line["method"], line["seed"], line["best_validation_loss"]) == ("lora", 7, 2.0)
    assert line["dataset"] == "sha256:c" and line["git_revision"] and line["environment"]["python"]
    assert open_index(tmp_path).metric("a", "loss") == [(1, 3.0), (2, 2.0)]
    assert open_index(tmp_path).metric("a", "m") == [(1, 2.0), (2, 2.0)]


def test_it_follows_the_files_and_is_made_anew(tmp_path: Path) -> None:
    run = make(tmp_path, "a", [3.0])
    open_index(tmp_path).close()
    run.append_metrics({"event": "step", "step": 2, "loss": 1.0, "tokens": 20, "seconds": 2.0})
    assert open_index(tmp_path).metric("a", "loss") == [(1, 3.0), (2, 1.0)]
    for file in tmp_path.glob("runs.db*"):
        file.unlink()
    assert [line["name"] for line in open_index(tmp_path).runs()] == ["a"]
    for file in tmp_path.glob("runs.db-*"):
        file.unlink()
    (tmp_path / "runs.db").write_bytes(b"this is no database, and it is long enough to be looked at" * 50)
    assert [line["name"] for line in open_index(tmp_path).runs()] == ["a"]
    assert (tmp_path / "runs.db.broken").exists()


def test_a_locked_database_stops_no_run_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.registry.run_index._WAIT_SECONDS", 0.05)
    run = make(tmp_path, "a", [3.0])
    open_index(tmp_path).close()
    said: list[str] = []
    holder = sqlite3.connect(tmp_path / "runs.db")
    holder.execute("BEGIN EXCLUSIVE")
    tracker = Trackers([MetricsFile(run), IndexTracker(run, said.append)])
    tracker.start(3)
    tracker.step(Step(1, 0.1, 2.0, 1e-3, 1.0, 10, 5, 10.0, 10, 1.0))
    tracker.evaluation(Evaluation(1, 2.0))
    tracker.close(End(1, "finished"))
    holder.close()
    assert len(said) == 1 and "goes on without the database" in said[0]
    assert run.read_metrics()[-1]["event"] == "end"


def test_a_folder_that_cannot_be_written_is_an_error_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"runs\.db"):
        RunIndex(tmp_path / "file").sync()
