"""Curves get their names: constructed ones at and beyond the borders, and those of runs that really went so."""

import json
import math
import random
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.main import main
from luthier.config import Layer
from luthier.errors import TrainingError
from luthier.registry.runs import Run, create_run
from luthier.training.diagnose import Curve, Diagnosis, diagnose, diagnose_run
from luthier.training.job import run_job
from luthier.training.manifest import num_repeated
from luthier.training.not_finite import why_not_finite
from luthier.training.plan import plan_job
from luthier.training.report import write_report
from luthier.training.spikes import SpikeWatch
from luthier.training.tracking import MetricsFile
from tests.training.toys import chat_file, model_folder, random_rows

STEPS = 200


def events(
    loss: Callable[[float], float], validation: Sequence[float] = (), noise: float = 0.02
) -> list[Any]:
    """Steps of a curve over 0..1 with noise, and evaluations at equal distances."""
    drawn = random.Random(0)
    steps = [
        {
            "event": "step",
            "step": n,
            "loss": loss(n / STEPS) * (1 + noise * drawn.uniform(-1, 1)),
            "learning_rate": 2e-4,
        }
        for n in range(1, STEPS + 1)
    ]
    every = STEPS // max(1, len(validation))
    return [
        *steps,
        *(
            {"event": "evaluation", "step": every * (n + 1), "validation_loss": value}
            for n, value in enumerate(validation)
        ),
    ]


def named(found: list[Any], **manifest: Any) -> Diagnosis:
    return diagnose(found, [{"role": "train", **manifest}] if manifest else [])


def falling(start: float, end: float, pace: float = 8.0) -> Callable[[float], float]:
    return lambda t: end + (start - end) * math.exp(-pace * t)


@pytest.mark.parametrize(
    ("loss", "validation", "word"),
    [
        (falling(3, 0.8), [1.6, 1.2, 1.05, 1.0], Curve.HEALTHY),
        (falling(3, 0.8), [], Curve.HEALTHY),
        (falling(3, 0.3, 4), [1.2, 1.0, 1.1, 1.3], Curve.OVERFITTING),
        # 2% above the best is noise, 4% is not.
        (falling(3, 0.3, 8), [1.2, 1.0, 1.01, 1.02], Curve.HEALTHY),
        (falling(3, 0.3, 8), [1.2, 1.0, 1.01, 1.04], Curve.OVERFITTING),
        (falling(3, 2.9), [3.0, 2.95], Curve.UNDERFITTING),
        # Little is under a twentieth.
        (falling(3, 2.89, 30), [], Curve.UNDERFITTING),
        (falling(3, 2.7, 30), [], Curve.PLATEAUED),
        (lambda t: 3 - 2 * t, [], Curve.UNDERFITTING),
        (falling(3, 1.8, 30), [2.0, 1.9], Curve.PLATEAUED),
        # Standing still well below the first loss is what learning ends in.
        (falling(3, 1.3, 30), [1.4, 1.3], Curve.HEALTHY),
        (lambda t: 3 - 2 * min(t, 0.4) / 0.4 + 6 * max(0.0, t - 0.6), [1.5, 3.0], Curve.DIVERGED),
        # It came back.
        (lambda t: 3 - 2 * t + (3 if 0.4 < t < 0.43 else 0), [2.0, 1.2], Curve.UNSTABLE),
        (lambda t: 0.01 + 0.001 * t, [], Curve.HEALTHY),
    ],
)  # fmt: skip
def test_a_constructed_curve_gets_its_name(loss: Any, validation: list[float], word: Curve) -> None:
    found = diagnose(events(loss, validation))
    assert found.word is word, found
    assert found.why and found.advice and found.numbers["steps"] == STEPS


def test_every_name_is_reached() -> None:
    short = diagnose(events(falling(3, 1))[:9])
    assert short.word is Curve.TOO_SHORT and diagnose([]).word is Curve.TOO_SHORT
    assert diagnose(events(falling(3, 1))[:10]).word is not Curve.TOO_SHORT
    copies = named(events(falling(3, 0.02)), token_rows=100, repeated_rows=90)
    assert copies.word is Curve.MEMORISED and "90% of the training rows repeat" in copies.why
    few = named(events(falling(3, 0.02)), token_rows=100, repeated_rows=19)
    unlearnt = named(events(falling(3, 0.2)), token_rows=100, repeated_rows=90)
    assert (few.word, unlearnt.word) == (Curve.HEALTHY, Curve.HEALTHY)


def test_a_step_that_was_taken_twice_counts_once_and_null_is_no_loss() -> None:
    found = events(falling(3, 0.8))
    again = [*found, *found[-20:], {"event": "step", "step": STEPS + 1, "loss": None}]
    assert diagnose(again) == diagnose(found)


def test_a_spike_is_told_with_its_rows() -> None:
    found = events(falling(3, 0.8))
    found[149]["loss"] = 9.0
    found.append({"event": "spike", "step": 150, "places": ["rows.jsonl:7"]})
    told = diagnose(found)
    assert told.word is Curve.HEALTHY and [one["step"] for one in told.spikes] == [150]
    assert "A spike at step 150: loss 9" in told.lines[-1] and "rows.jsonl:7" in told.lines[-1]


def test_what_is_a_spike() -> None:
    def scores(losses: Sequence[float]) -> list[int]:
        watch = SpikeWatch()
        return [n for n, loss in enumerate(losses) if watch.see(loss)]

    noise = random.Random(1)
    usual = [2 + noise.gauss(0, 0.1) for _ in range(500)]
    assert scores(usual) == []
    assert scores([*usual[:60], 3.5, *usual[60:]]) == [60]
    assert scores([1.0] * 30 + [1.2] + [1.0] * 5) == []  # a flat curve has no deviation
    assert scores([1.0] * 30 + [1.3] + [1.0] * 5) == [30]
    assert scores([1.0] * 11 + [9.0]) == [] and scores([1.0] * 12 + [9.0]) == [12]
    assert scores([2.0] * 20 + [0.1]) == []  # downward is no spike


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weight_sum": 0.0}, "empty rows"),
        ({"broken_weight": "lm_head.weight"}, "the weight lm_head.weight was not finite before"),
        ({"before": [2.0, 1.0, 1.6]}, "the learning rate .0.01.. The loss had risen from 1 to 1.6"),
        ({"before": [2.0, 1.0, 1.4]}, "had not risen before"),
        ({"float16": True, "before": [1.0, 1.0]}, "float16 overflow"),
        ({"before": []}, "first step"),
    ],
)
def test_a_cause_is_named_for_what_is_no_number(given: dict[str, Any], said: str) -> None:
    usual: dict[str, Any] = {"before": [2.0, 1.0], "weight_sum": 9.0, "learning_rate": 0.01}
    text = why_not_finite(math.nan, math.nan, **{**usual, "float16": False, "broken_weight": None, **given})
    assert re.search(said, text), text


def test_repeated_rows_are_counted() -> None:
    rows = random_rows([5, 5, 5])
    rows.token_ids[5:10] = rows.token_ids[:5]
    assert num_repeated(rows) == 1


# Runs that really go so.


def train(folder: Path, **changes: Any) -> Run:
    """A tiny model on few rows; the run is left in `folder/run` even where it fails."""
    if not (folder / "base").exists():
        model_folder(folder / "base")
        chat_file(folder / "rows.jsonl", 24)
    values: dict[str, Any] = {
        "model": str(folder / "base"),
        "method": "full",
        "data": str(folder / "rows.jsonl"),
        "optim": {"learning_rate": 1e-2, "warmup_share": 0.0},
        "train": {"dtype": "float32", "device": "cpu", "batch_size": 4, "epochs": 10},
    }
    plan = plan_job([Layer("test", values), Layer("changes", changes)])
    run = create_run(folder / "run", recipe_yaml="{}", data_manifest=plan.data_manifest)
    run_job(plan, run, tracker=MetricsFile(run))
    return run


def test_a_run_that_learns_nothing_new(tmp_path: Path) -> None:
    found = diagnose_run(train(tmp_path, optim={"learning_rate": 1e-6}))
    assert found.word is Curve.UNDERFITTING and "optim.learning_rate=5e-06 (it was 1e-06)" in found.advice


@pytest.mark.slow
def test_a_run_that_learns_copies_by_heart(tmp_path: Path) -> None:
    rows = chat_file(tmp_path / "few.jsonl", 3).read_text() * 20
    (tmp_path / "copies.jsonl").write_text(rows)
    found = diagnose_run(train(tmp_path, data=str(tmp_path / "copies.jsonl")))
    assert found.word is Curve.MEMORISED and found.numbers["repeated rows"] == 57 / 60


@pytest.mark.slow
def test_a_run_that_overfits(tmp_path: Path) -> None:
    # Answers that follow from nothing: the held-out ones cannot be known.
    drawn = random.Random(0)
    rows = [
        {"prompt": f"Say {n}", "completion": "".join(drawn.choice("abcdefgh") for _ in range(12))}
        for n in range(48)
    ]
    path = tmp_path / "noise.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = train(
        tmp_path,
        data={"train": str(path), "validation_share": 0.25},
        train={"epochs": 30, "batch_size": 8},
    )
    found = diagnose_run(run)
    assert found.word is Curve.OVERFITTING, found
    assert (
        "Diagnosis" in write_report(run.folder).read_text() and "overfitting" in run.report_path.read_text()
    )


def test_a_run_that_diverges(tmp_path: Path) -> None:
    found = diagnose_run(train(tmp_path, optim={"learning_rate": 2.0, "schedule": "constant"}))
    assert found.word is Curve.DIVERGED and "it was 2" in found.advice, found


def test_a_run_that_blows_up_and_comes_back(tmp_path: Path) -> None:
    found = diagnose_run(train(tmp_path, optim={"learning_rate": 1.0, "schedule": "constant"}))
    assert found.word is Curve.UNSTABLE and "before it fell" in found.why, found


def test_a_run_that_stops_at_no_number(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected finite numbers"):
        train(tmp_path, optim={"learning_rate": 1e37, "clip_norm": 1e30}, train={"epochs": 20})
    found = diagnose_run(Run(tmp_path / "run"))
    assert (
        found.word is Curve.DIVERGED and "expected finite numbers" in found.why and "rows.jsonl:" in found.why
    )


def test_a_spike_of_a_real_run_names_the_rows(tmp_path: Path) -> None:
    # One row is unlike all the others; each epoch is 25 steps of one row.
    rows = [{"prompt": "Say it", "completion": "It is so."}] * 24
    rows.append({"prompt": "x", "completion": "zqxj vkwy qqzz"})
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = train(tmp_path, data=str(path), train={"batch_size": 1, "epochs": 3, "seed": 3})
    spikes = [event for event in run.read_metrics() if event["event"] == "spike"]
    assert spikes and all(event["places"] == [f"{path}:25"] for event in spikes)
    assert [one["step"] for one in diagnose_run(run).spikes] == [event["step"] for event in spikes]


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = create_run(tmp_path / "run", recipe_yaml="{}", data_manifest=[])
    for event in events(falling(3, 0.3, 4), [1.2, 1.0, 1.1, 1.3]):
        run.append_metrics(event)

    def call(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["luthier", "diagnose", str(run.folder), *options])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 0
        return capsys.readouterr().out

    assert "overfitting: the validation loss was best at step 100" in call()
    assert json.loads(call("--json"))["word"] == "overfitting"
