"""A run that is killed, starved of disk or started twice ends as the run that nobody disturbed, to the last bit."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def program(name: str, *arguments: object) -> Any:
    """What `python -m tests.training.NAME` prints, from the root of the repository."""
    command = [sys.executable, "-m", f"tests.training.{name}", *map(str, arguments)]
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_at_random_a_run_is_the_straight_run(tmp_path: Path) -> None:
    found = program("kills", tmp_path, 3, 0)
    assert found["differences"] == []
    assert found["kills"] >= 3 and found["runs"] >= 1
    assert found["most_steps_repeated"] <= 2  # checkpoints are written every 2 steps


@pytest.mark.slow
def test_killed_two_hundred_times_a_run_is_the_straight_run(tmp_path: Path) -> None:
    found = program("kills", tmp_path, 200, 1)
    print(found)
    assert found["differences"] == []
    assert found["kills"] >= 200 and min(found["by_kind"].values()) >= 40
    assert found["torn_states"] >= 50, "kills fell inside the writing of checkpoints"
    assert found["most_steps_repeated"] <= 2


def refused_well(cases: dict[str, list[str]]) -> None:
    said = "\n".join(line for lines in cases.values() for line in lines)
    assert "TRACEBACK" not in said and "DIFFERS" not in said, said
    for name, lines in cases.items():
        assert lines[-1] == "finished" or lines[0].startswith("SKIPPED"), (name, lines)


@pytest.mark.slow
def test_a_machine_that_refuses_is_told_of_and_nothing_is_lost(tmp_path: Path) -> None:
    cases = program("hard_machine", tmp_path, 2)
    refused_well(cases)
    alive, second, dead, last = cases["two at once"]
    assert alive == "while it lives: running" and dead == "after its death: interrupted"
    assert "another process trains this run" in second and last == "finished"
    assert "Read-only file system" in cases["read only"][0] or cases["read only"][0].startswith("SKIPPED")
    assert "File too large" in cases["files of 0 kB at most"][0]


@pytest.mark.slow
def test_disks_of_every_size(tmp_path: Path) -> None:
    cases = program("hard_machine", tmp_path, 24)
    refused_well(cases)
    full = [lines for lines in cases.values() if "No space left" in " ".join(lines)]
    assert len(full) >= 10 or any(line.startswith("SKIPPED") for lines in cases.values() for line in lines)
