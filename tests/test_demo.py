"""The demo as a stranger runs it, and what the README promises of it. Minutes: run with -m slow."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def demo(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "luthier", "demo", "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (
        "How big is a rugby league field?" in done.stdout and "luthier train --data YOUR.jsonl" in done.stdout
    )
    outcome: dict[str, Any] = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    return outcome


def test_the_demo_keeps_its_promises_and_gives_the_same_result_twice(tmp_path: Path) -> None:
    first = demo(tmp_path / "first")
    base, prompted, tuned = (entry["accuracy"] for entry in first["comparison"]["entries"])
    assert base <= 0.1 and tuned >= 0.9 and prompted < tuned
    assert first["other"]["entries"][-1]["accuracy"] >= 0.9
    assert first["certificate"]["word"] != "different"
    assert first["run"]["peak_memory_bytes"] < 2e9
    assert "68" in first["answer"] and "112" in first["answer"] and "122" in first["answer"]
    served = json.loads((tmp_path / "first" / "serving.json").read_text(encoding="utf-8"))
    units, answered = served["second"], served["answered"]
    assert units["accuracy"] >= 0.9 and units["num_json"] >= 0.95 * units["num_items"]
    assert [one["specialist"] for one in answered] == [first["specialist"], "units@1", None]
    assert "112" in answered[0]["answer"] and answered[2]["answer"]
    assert json.loads(answered[1]["answer"]) == {"value": 35000, "unit": "g"}
    second = demo(tmp_path / "second")
    assert second["comparison"] == first["comparison"] and second["other"] == first["other"]
    assert second["run"]["validation_loss"] == first["run"]["validation_loss"]
    weights = [
        (tmp_path / name / "merged" / "model.safetensors").read_bytes() for name in ("first", "second")
    ]
    assert weights[0] == weights[1]
