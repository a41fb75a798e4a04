"""Trackers join by name; what TensorBoard is told can be read back; one that fails costs no run."""

from pathlib import Path
from typing import Any

import pytest

from luthier.errors import ConfigError
from luthier.registry.runs import Run, create_run
from luthier.training.tracker_plugins import open_trackers
from luthier.training.tracking import End, Evaluation, Step

STEP = Step(1, 0.1, 2.5, 1e-3, 1.0, 10, 5, 10.0, 10, 1.0)


def test_tensorboard_files_read_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = create_run(tmp_path / "run", recipe_yaml="method: lora\n", data_manifest=[])
    (tracker,) = open_trackers(["tensorboard"], run, print)
    tracker.start(1)
    tracker.step(STEP)
    tracker.evaluation(Evaluation(1, 2.0, {"accuracy": 0.5}))
    tracker.close(End(1, "finished"))
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    assert [one.value for one in events.Scalars("train/loss")] == [2.5]
    assert [one.value for one in events.Scalars("validation/accuracy")] == [0.5]


class Failing:
    def __init__(self, run: Run) -> None:
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        raise OSError("no network")


def test_a_tracker_that_fails_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    run = create_run(tmp_path / "run", recipe_yaml="{}", data_manifest=[])
    (tracker,) = open_trackers(["tests.training.test_trackers:Failing"], run, said.append)
    tracker.start(1)
    tracker.step(STEP)
    tracker.close(End(1, "finished"))
    assert said == [
        "the run goes on without the tracker tests.training.test_trackers:Failing: OSError: no network"
    ]


@pytest.mark.parametrize("name", ["nothing", "no.such.module:Class", "json:NoClass"])
def test_a_name_that_is_none_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.trackers"):
        open_trackers([name], Run(tmp_path), print)
