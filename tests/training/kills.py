"""Runs that are killed at random moments and resumed, held against a run that nobody stopped.

A program of its own (`python -m tests.training.kills FOLDER KILLS SEED`): it imports everything once, and forks a
process for each life of a run, so that a life starts in milliseconds. A life ends by SIGKILL after a random time,
before or after a random call to the file system, or by the kernel at a random byte of a checkpoint's file.
Prints one JSON object: what was compared, and every difference.
"""

import functools
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from luthier.config import Layer
from luthier.hashing import hash_file
from luthier.registry.runs import Run, RunStatus, create_run
from luthier.training import checkpoint
from luthier.training.checkpoint import verify
from luthier.training.job import run_job
from luthier.training.plan import Plan, plan_job
from luthier.training.tracking import MetricsFile
from tests.training.test_preference_job import rows, write
from tests.training.toys import chat_file, method_config, model_folder

NUM_STEPS = 9
CHECKPOINT_EVERY = 2
LORA = method_config("lora", dropout=0.2).model_dump(exclude_none=True)
CONFIGS: dict[str, dict[str, Any]] = {
    "sft, lora with dropout": {"method": LORA},
    "sft, full, muon": {"method": "full", "optim": {"name": "muon"}},
    "sft, full, average": {"method": "full", "train": {"ema_decay": 0.9}},
    "dpo, lora with dropout": {"method": LORA, "objective": "dpo"},
    "dpo, full, muon, average": {
        "method": "full",
        "objective": "dpo",
        "optim": {"name": "muon"},
        "train": {"ema_decay": 0.9},
    },
}
# What files.py, shutil and tempfile call by these names, so that a kill can fall before or after each.
CALLS = ("replace", "rename", "fsync", "mkdir", "unlink", "rmdir", "open")


def plan(folder: Path, changes: dict[str, Any]) -> Plan:
    kind = "pairs" if "objective" in changes else "chat"
    path = folder / f"{kind}.jsonl"
    if not (folder / "base").exists():
        model_folder(folder / "base")
    if kind == "pairs":
        write(path, rows("pairs", 12))
    else:
        chat_file(path)
    values: dict[str, Any] = {
        "model": str(folder / "base"),
        "data": {"train": str(path), "validation_share": 0.25},
        "train": {
            "max_steps": NUM_STEPS,
            "epochs": 9.0,
            "batch_size": 4,
            "dtype": "float32",
            "device": "cpu",
        },
        "optim": {"learning_rate": 1e-2},
        "evaluation": {"per_epoch": 0.7},
        "checkpoint": {"every_steps": CHECKPOINT_EVERY, "keep": 2},
    }
    return plan_job([Layer("kills", values), Layer("changes", changes)])


@dataclass
class Calls:
    """Counts calls to the file system and to save_file, and dies at the one that is asked for."""

    die_at: int | None = None
    die_before: bool = True
    cut_save: int | None = None
    cut_byte: int = 0
    count: int = 0
    saves: int = 0

    def watch(self) -> None:
        for name in CALLS:
            setattr(os, name, self._counted(getattr(os, name)))
        checkpoint.save_file = self._save(checkpoint.save_file)  # type: ignore[attr-defined]

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == self.die_at and self.die_before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*given, **named)
            if self.count == self.die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    def _save(self, save: Callable[..., Any]) -> Callable[..., Any]:
        def cut(tensors: Any, path: Path) -> None:
            self.saves += 1
            if self.saves == self.cut_save:
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel kills at this byte of the file
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.cut_byte, resource.RLIM_INFINITY))
            save(tensors, path)

        return cut


def live(job: Plan, folder: Path, calls: Calls, tell: Path | None = None) -> int:
    """One life of a run in a process of its own, as `luthier train` leads it; returns the process id."""
    if child := os.fork():
        return child
    code = 1
    try:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        run = Run(folder)
        calls.watch()
        run_job(job, run, tracker=MetricsFile(run), resume=run.status() is not RunStatus.CREATED)
        if tell is not None:
            tell.write_text(json.dumps([calls.count, calls.saves]))
        code = 0
    except BaseException as error:
        (folder.parent / f"{folder.name}.error").write_text(repr(error))
    finally:
        os._exit(code)


@dataclass(frozen=True)
class Outcome:
    """What must not depend on how often a run was killed."""

    losses: tuple[tuple[int, str], ...]
    evaluations: tuple[Any, ...]
    model: str
    weights: str
    best: str

    @classmethod
    def of(cls, folder: Path) -> "Outcome":
        run = Run(folder)
        events = run.read_metrics()
        steps = tuple((one["step"], float(one["loss"]).hex()) for one in events if one["event"] == "step")
        names = ("step", "validation_loss", "metrics")
        evaluations = tuple(str([e[n] for n in names]) for e in events if e["event"] == "evaluation")
        saved = sorted(run.model_folder.glob("*.safetensors"))
        last = run.checkpoints_folder / f"step-{NUM_STEPS:08d}"
        best = run.checkpoints_folder / "best"
        return cls(
            steps,
            evaluations,
            " ".join(hash_file(path) for path in saved),
            hash_file(last / "weights.safetensors"),
            hash_file(best / "weights.safetensors") + (best / "best.json").read_text(),
        )


@dataclass
class Tally:
    """What all of it came to."""

    kills: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    torn_states: int = 0
    most_steps_repeated: int = 0
    differences: list[str] = field(default_factory=list)


def newest_step(run: Run) -> int:
    """The last whole checkpoint, 0 where there is none."""
    names = [p.name for p in checkpoint.CheckpointStore(run.checkpoints_folder).list() if verify(p) is None]
    return int(names[-1].removeprefix("step-")) if names else 0


def straight(job: Plan, folder: Path) -> tuple[Outcome, float, int, int]:
    """The run that nobody stops: what it comes to, how long it takes, its calls and its saves."""
    create_run(folder, recipe_yaml="{}", data_manifest=[])
    started = time.perf_counter()
    told = folder.parent / f"{folder.name}.calls"
    _, status = os.waitpid(live(job, folder, Calls(), told), 0)
    assert status == 0, (folder.parent / f"{folder.name}.error").read_text()
    count, saves = json.loads(told.read_text())
    return Outcome.of(folder), time.perf_counter() - started, count, saves


def death(random_: random.Random, seconds: float, count: int, saves: int) -> tuple[str, Calls, float | None]:
    kind = random_.choice(("time", "call", "byte"))
    if kind == "time":
        return kind, Calls(), random_.uniform(0, seconds)
    if kind == "call":
        return kind, Calls(die_at=random_.randint(1, count), die_before=random_.random() < 0.5), None
    return kind, Calls(cut_save=random_.randint(1, saves), cut_byte=random_.randint(0, 60_000)), None


def killed(
    job: Plan, folder: Path, measured: tuple[Outcome, float, int, int], tally: Tally, pick: random.Random
) -> None:
    """One run, killed up to three times, then resumed to its end and compared."""
    expected, seconds, count, saves = measured
    run = create_run(folder, recipe_yaml="{}", data_manifest=[])
    error = folder.parent / f"{folder.name}.error"
    for _ in range(pick.randint(1, 3)):
        kind, calls, delay = death(pick, seconds, count, saves)
        child = live(job, folder, calls)
        if delay is not None:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            if os.WEXITSTATUS(status):
                tally.differences.append(f"{folder.name}: {error.read_text()}")
            break  # it ended before its death came
        tally.kills += 1
        tally.by_kind[kind] = tally.by_kind.get(kind, 0) + 1
        tally.torn_states += bool(list(run.checkpoints_folder.glob(".*.tmp")))
        taken = [one["step"] for one in run.read_metrics() if one["event"] == "step"]
        tally.most_steps_repeated = max(tally.most_steps_repeated, max(taken, default=0) - newest_step(run))
    if run.status() is not RunStatus.FINISHED:
        _, status = os.waitpid(live(job, folder, Calls()), 0)
        if status:
            tally.differences.append(f"{folder.name}: {error.read_text()}")
            return
    tally.runs += 1
    found = Outcome.of(folder)
    litter = [path.name for path in run.checkpoints_folder.iterdir() if path.name.startswith(".")]
    if found != expected or litter or run.status() is not RunStatus.FINISHED:
        tally.differences.append(f"{folder.name}: {found} is not {expected}, {litter}, {run.status()}")


def main(folder: Path, num_kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    pick, tally = random.Random(seed), Tally()
    jobs = {name: plan(folder, changes) for name, changes in CONFIGS.items()}
    measured = functools.cache(lambda name: straight(jobs[name], folder / f"straight-{name}"))
    number = 0
    while tally.kills < num_kills and len(tally.differences) < 5:
        name = list(jobs)[number % len(jobs)]
        killed(jobs[name], folder / f"{number:03d}", measured(name), tally, pick)
        number += 1
    print(json.dumps(vars(tally)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
