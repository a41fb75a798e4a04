"""From a recipe to a run folder, and the status word that is left whatever happens."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.chat.messages import Message
from luthier.config import Layer
from luthier.errors import ConfigError, DataError, TrainingError
from luthier.models.load import load_model
from luthier.registry.runs import Run, RunStatus, create_run
from luthier.training.job import JobResult, run_job
from luthier.training.loop import Measured
from luthier.training.plan import Plan, describe, plan_job
from luthier.training.tracking import MetricsFile
from tests.training.toys import chat_file, model_folder


def recipe(tmp_path: Path, **changes: Any) -> list[Layer]:
    if not (tmp_path / "base").exists():
        model_folder(tmp_path / "base")
        chat_file(tmp_path / "rows.jsonl")
    values: dict[str, Any] = {
        "model": str(tmp_path / "base"),
        "data": {"train": str(tmp_path / "rows.jsonl"), "validation_share": 0.25},
        "train": {"max_steps": 4, "batch_size": 4, "dtype": "float32", "device": "cpu"},
        "evaluation": {"per_epoch": 1},
        "checkpoint": {"every_steps": 1},
    }
    return [Layer("test", values), Layer("changes", changes)]


def run(
    tmp_path: Path, name: str = "run", resume: bool = False, **changes: Any
) -> tuple[Plan, Run, JobResult]:
    plan = plan_job(recipe(tmp_path, **changes))
    made = Run(tmp_path / name) if resume else create_run(tmp_path / name, recipe_yaml="{}", data_manifest=[])
    return plan, made, run_job(plan, made, tracker=MetricsFile(made), resume=resume)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["full", {"name": "top_layers", "num_layers": 1}, "lora", "dora"])
def test_every_method_gives_a_model_that_loads(method: Any, dtype: str, tmp_path: Path) -> None:
    _, made, result = run(tmp_path, method=method, train={"dtype": dtype, "gradient_checkpointing": True})
    assert (made.status(), result.loop.num_steps) == (RunStatus.FINISHED, 4)
    assert 0 < result.trainable_parameters <= result.all_parameters
    assert result.report.exists()
    loaded = load_model(str(result.model_folder), dtype="float32")
    with torch.no_grad():
        assert loaded.model(input_ids=torch.arange(9)[None]).logits.isfinite().all()


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        _, made, _ = run(tmp_path, name, method="lora", train={"seed": seed})
        files.append((made.model_folder / "adapter_model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def test_a_failing_run_says_why_and_keeps_its_checkpoints(tmp_path: Path) -> None:
    plan = plan_job(recipe(tmp_path))
    made = create_run(tmp_path / "run", recipe_yaml="{}", data_manifest=[])

    def evaluators(_: Any) -> list[Any]:
        def fail(_: Any) -> Measured:
            raise TrainingError("the grader is broken")

        return [fail]

    with pytest.raises(TrainingError, match="grader"):
        run_job(plan, made, tracker=MetricsFile(made), evaluators=evaluators)
    record = made.status_record()
    assert (record.status, record.reason) == (RunStatus.FAILED, "the grader is broken")
    assert made.read_metrics()[-1]["status"] == "failed"
    _, _, result = run(tmp_path, resume=True)
    assert (result.loop.outcome, made.status()) == ("finished", RunStatus.FINISHED)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from luthier.errors import CheckpointError
from luthier.registry.runs import create_run
from luthier.training.job import run_job
from luthier.training.plan import plan_job
from luthier.training.tracking import MetricsFile
from tests.training.test_job import recipe
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
plan = plan_job(recipe(Path(sys.argv[1])))
run = create_run(Path(sys.argv[1]) / "run", recipe_yaml="{}", data_manifest=[])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    run_job(plan, run, tracker=MetricsFile(run))
except CheckpointError as error:
    print("refused:", error)
"""


@pytest.mark.slow
def test_a_disk_that_fills_fails_the_run_with_the_reason(tmp_path: Path) -> None:
    recipe(tmp_path)
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.startswith("refused: cannot write the checkpoint"), done.stderr
    made = Run(tmp_path / "run")
    record = made.status_record()
    assert record.status is RunStatus.FAILED and "cannot write the checkpoint" in str(record.reason)
    assert not list(made.checkpoints_folder.iterdir())
    _, _, result = run(tmp_path, resume=True)
    assert result.loop.outcome == "finished"


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"data": {"max_length": 2000}}, ConfigError, "made for 1024 positions"),
        (
            {"evaluation": {"patience": 2}, "data": {"validation_share": 0}},
            ConfigError,
            "nothing is held out",
        ),
        ({"model": {"template": "gone.jinja"}}, ConfigError, "model.template"),
        ({"data": {"train": "gone.jsonl"}}, DataError, "no such data file"),
        ({"data": {"max_length": 4}}, DataError, r"rows\.jsonl:\d+"),
        ({"method": {"name": "top_layers", "num_layers": 9}}, ConfigError, "has 2 layers, got 9"),
    ],
)
def test_what_cannot_be_planned(changes: Any, error: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=said):
        run(tmp_path, **changes)


def test_every_value_is_told_with_its_source(tmp_path: Path) -> None:
    told = {key: (value, source) for key, value, source in describe(plan_job(recipe(tmp_path)))}
    assert told["train.max_steps"] == ("4", "test")
    assert told["optim.learning_rate"] == ("0.0002", "default for lora")
    assert told["optim.warmup_share"] == ("0.1", "default under 500 rows")
    assert all(source and json.loads(value) is not ... for value, source in told.values())


def test_template_options_are_part_of_the_saved_template(tmp_path: Path) -> None:
    model = {"template": "thinking", "template_options": {"enable_thinking": False, "note": None}}
    plan, made, _ = run(tmp_path, model=model)
    loaded = load_model(str(made.model_folder), dtype="float32")
    asked = [Message("user", "What is 1 plus one?")]
    assert loaded.renderer.prompt(asked) == plan.renderer.prompt(asked)
    assert loaded.renderer.decode(loaded.renderer.prompt(asked)).endswith("<think>\n\n</think>\n\n")


def test_the_average_is_what_is_saved_and_noise_changes_the_losses(tmp_path: Path) -> None:
    losses, files = [], []
    for name, train in (("plain", {}), ("average", {"ema_decay": 0.5}), ("noise", {"neftune_alpha": 50})):
        _, made, _ = run(tmp_path, name, method="lora", train=train)
        losses.append([event["loss"] for event in made.read_metrics() if event["event"] == "step"])
        files.append((made.model_folder / "adapter_model.safetensors").read_bytes())
    assert losses[0] == losses[1] != losses[2]
    assert len(set(files)) == 3
