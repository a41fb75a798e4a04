"""The report: everything escaped, well-formed, self-contained, and drawn by a real browser."""

import json
import math
import random
import re
import time
from pathlib import Path

import pytest

from luthier.errors import RunError
from luthier.registry.runs import Run, create_run
from luthier.training.report import write_report
from luthier.training.tracking import Checkpoint, End, Evaluation, MetricsFile, Sample, Step
from tests.page.browser import chromium, parse

RESOLVED = {
    "values": {
        "model": {"name": "luthier-nano", "new": None},
        "method": {"name": "lora", "rank": 16, "alpha": 32, "dropout": 0.05, "targets": "all-linear"},
        "optim": {"learning_rate": 2e-4, "schedule": "cosine", "warmup_share": 0.1},
        "train": {"epochs": 3, "batch_size": 8, "seed": 0, "dtype": "bfloat16"},
    },
    "sources": {
        "model.name": "recipe",
        "method.rank": "default for lora",
        "optim.learning_rate": "default for lora",
        "optim.warmup_share": "10% because there are under 500 rows",
        "train.seed": "command line",
    },
}
QUESTIONS = (
    ("How wide is a rugby league field?", "68 metres"),
    ('What <b>is</b> "in-goal" & why? <script>alert(1)</script>', "6 to 11 metres"),
)


def realistic_run(folder: Path, num_steps: int = 480) -> Run:
    """A run whose curves look like a small LoRA run's, with answers that try to break the page."""
    manifest = [
        {"role": "train", "path": "data/train.jsonl", "sha256": "sha256:" + "9f" * 32, "rows": 1520},
        {"role": "validation", "path": "data/validation.jsonl", "sha256": "sha256:" + "0c" * 32, "rows": 180},
    ]
    run = create_run(folder, recipe_yaml="model: {name: x}\n", data_manifest=manifest, resolved=RESOLVED)
    run.set_status("running")
    tracker = MetricsFile(run)
    tracker.start(num_steps)
    noise = random.Random(0)
    for number in range(1, num_steps + 1):
        done = number / num_steps
        loss = 0.35 + 3.2 * math.exp(-6 * done) + noise.gauss(0, 0.12 * (1.2 - done))
        rate = 2e-4 * min(done / 0.1, 0.5 * (1 + math.cos(math.pi * max(0.0, done - 0.1) / 0.9)))
        norm = 0.6 + 2 * math.exp(-4 * done) * noise.uniform(0.6, 1.5)
        speed = 3100 + noise.gauss(0, 120)
        tokens = (1480 * number, 390 * number)
        tracker.step(Step(number, 3 * done, loss, rate, norm, *tokens, speed, 1_240_000_000, number * 0.45))
        if number % 60 == 0:
            answers = (
                "The field is <script>alert('x')</script> 70 m\x00",
                "68 metres wide.\nThat is all. \ud800",
            )
            samples = [
                Sample(question, answers[done > 0.4], expected, "passed" if done > 0.4 else "failed")
                for question, expected in QUESTIONS
            ]
            validation = 0.52 + 2.4 * math.exp(-5 * done) + 0.9 * max(0.0, done - 0.7)
            tracker.evaluation(Evaluation(number, validation, {"accuracy": min(0.93, done * 1.3)}, samples))
            tracker.checkpoint(Checkpoint(number, f"checkpoints/step-{number}"))
    tracker.message("2 of 1520 rows were dropped: <longer> than 1024 tokens")
    tracker.close(End(num_steps, "finished", 360, 0.621, seconds=228.0))
    run.set_status("finished")
    return run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(realistic_run(tmp_path_factory.mktemp("runs") / "rugby-001").folder)


def test_the_report_is_whole_escaped_and_needs_nothing_from_outside(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    parsed = parse(page)
    assert "script" not in parsed.seen
    assert parsed.addresses == ["data:,"]
    assert "url(" not in page and "@import" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page
    assert "&lt;longer&gt;" in page
    assert "\x00" not in page


def test_the_report_says_what_the_run_was(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    for shown in (
        "rugby-001", "finished", "luthier-nano", "lora", "480 of 480", "at step 360", "3 min 48 s",
        "1.2 GB",
        "0.0002", "default for lora", "under 500 rows", "sha256:9f9f", "1520", "versions.torch",
        "710,400", "187,200 supervised",
    ):  # fmt: skip
        assert shown in page, shown
    assert re.search(r"3,\d\d\d tokens/s", page)


@pytest.mark.parametrize("num_steps", [0, 1, 2, 5000])
def test_runs_of_any_length_give_a_page_of_reasonable_size(tmp_path: Path, num_steps: int) -> None:
    run = create_run(tmp_path / "a", recipe_yaml="model: luthier-nano\nmethod: full\n", data_manifest=[])
    run.metrics_path.write_text(
        "".join(
            json.dumps({"event": "step", "step": n, "loss": 2.0 if n != 3 else None, "grad_norm": None})
            + "\n"
            for n in range(1, num_steps + 1)
        )
    )
    page = write_report(run.folder).read_text(encoding="utf-8")
    parse(page)
    assert len(page) < 200_000
    assert "luthier-nano" in page and ("No step was recorded yet." in page) == (num_steps == 0)


def test_a_step_written_twice_counts_once(tmp_path: Path) -> None:
    run = create_run(tmp_path / "a", recipe_yaml="{}\n", data_manifest=[])
    for loss in (9.0, 1.0):
        run.append_metrics({"event": "evaluation", "step": 1, "validation_loss": loss, "metrics": {}})
    page = write_report(run.folder).read_text(encoding="utf-8")
    assert "1.0000" in page and "9.0000" not in page


def test_an_interrupted_run_says_why(tmp_path: Path) -> None:
    run = create_run(tmp_path / "a", recipe_yaml="{}\n", data_manifest=[])
    run.set_status("interrupted", "Ctrl-C at step 12")
    assert "Reason: Ctrl-C at step 12." in write_report(run.folder).read_text(encoding="utf-8")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a run folder"):
        write_report(tmp_path)
    run = create_run(tmp_path / "a", recipe_yaml="a: [\n", data_manifest=[])
    with pytest.raises(RunError, match=r"recipe\.yaml: expected YAML"):
        write_report(run.folder)
    run.resolved_path.write_text("{")
    with pytest.raises(RunError, match=r"resolved\.json: expected JSON"):
        write_report(run.folder)


def test_a_real_browser_draws_the_curves_without_a_complaint(report: Path, tmp_path: Path) -> None:
    done = chromium(tmp_path, report, "--dump-dom")
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    for line in ("training, each step", "training, smoothed", "validation", "accuracy", "Learning rate"):
        found = re.search(rf'<polyline class="[^"]*" data-line="{line}" points="([^"]*)"', done.stdout)
        assert found is not None and len(found[1].split()) >= 8, line
    # The browser's own tree, after its parser mended what it must: no script came alive.
    assert "<script" not in done.stdout
    assert "&lt;script&gt;" in done.stdout


def test_a_real_browser_paints_a_page(report: Path, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    started = time.monotonic()
    done = chromium(tmp_path, report, f"--screenshot={picture}", "--window-size=1100,1400")
    assert picture.exists(), done.stderr
    assert picture.stat().st_size > 40_000, "an empty page compresses to a few kB"
    assert time.monotonic() - started < 60
