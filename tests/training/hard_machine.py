"""Runs on a machine that refuses: a disk that is full, a folder that is read only, a run that another process trains.

A program of its own (`python -m tests.training.hard_machine FOLDER NUM_SIZES`), forked as in `kills`. Each run must end
with an error that is written for a person, and go on, once the machine allows it, as the run that nobody disturbed.
Prints one JSON object: each case with what was said, and every difference.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from luthier.errors import LuthierError
from luthier.registry.runs import Run, RunStatus, create_run
from luthier.training.job import run_job
from luthier.training.plan import Plan
from luthier.training.tracking import MetricsFile
from tests.training.kills import CONFIGS, Calls, Outcome, live, plan, straight

_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
Case = Callable[[Plan, Path, Outcome], list[str]]


def attempt(job: Plan, folder: Path, *, resume: bool) -> str:
    """What a person is told; a traceback is named as one."""
    try:
        run = Run(folder)
        run_job(job, run, tracker=MetricsFile(run), resume=resume)
    except (LuthierError, OSError) as error:  # the command line prints both, and no traceback
        return str(error)
    except BaseException as error:
        return f"TRACEBACK {error!r}"
    return "finished"


def compare(folder: Path, expected: Outcome) -> list[str]:
    found = Outcome.of(folder)
    return [] if found == expected else [f"DIFFERS {found} is not {expected}"]


def own_mounts() -> bool:
    """Whether this process may mount things that only it sees."""
    return (
        ctypes.CDLL(None).unshare(_NEW_USER | _NEW_MOUNTS) == 0
        if os.geteuid()
        else (ctypes.CDLL(None).unshare(_NEW_MOUNTS) == 0)
    )


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def full_disk(kilobytes: int) -> Case:
    """A disk of this size that is made larger once it was full."""

    def case(job: Plan, folder: Path, expected: Outcome) -> list[str]:
        folder.mkdir()
        if not own_mounts():
            return ["SKIPPED: this machine lets nobody mount a small disk"]
        mount("--make-rprivate", "/")
        mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder))
        said = [_create(folder / "run")]
        if said == ["created"]:
            said.append(attempt(job, folder / "run", resume=False))
        mount("-o", "remount,size=100m", str(folder))
        if not (folder / "run").exists():
            said.append(_create(folder / "run"))
        if said[-1] != "finished":
            said.append(attempt(job, folder / "run", resume=True))
        return [*said, *compare(folder / "run", expected)]

    return case


def _create(folder: Path) -> str:
    try:
        create_run(folder, recipe_yaml="{}", data_manifest=[])
    except LuthierError as error:
        return str(error)
    return "created"


def large_files_refused(num_bytes: int) -> Case:
    """No file may grow over this size, as under a quota."""

    def case(job: Plan, folder: Path, expected: Outcome) -> list[str]:
        create_run(folder, recipe_yaml="{}", data_manifest=[])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))
        said = [attempt(job, folder, resume=False)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        said.append(attempt(job, folder, resume=True))
        return [*said, *compare(folder, expected)]

    return case


def read_only(job: Plan, folder: Path, expected: Outcome) -> list[str]:
    create_run(folder, recipe_yaml="{}", data_manifest=[])
    if not own_mounts():
        return ["SKIPPED: this machine lets nobody mount a read-only folder"]
    mount("--make-rprivate", "/")
    mount("--bind", str(folder), str(folder))
    mount("-o", "remount,bind,ro", str(folder))
    said = [attempt(job, folder, resume=False)]
    mount("-o", "remount,bind,rw", str(folder))
    return [*said, attempt(job, folder, resume=True), *compare(folder, expected)]


def two_at_once(job: Plan, folder: Path, expected: Outcome) -> list[str]:
    """The second is refused, whatever the first one's clock says; the first one's death frees the run."""
    run = create_run(folder, recipe_yaml="{}", data_manifest=[])
    first = live(job, folder, Calls())
    while not list(run.checkpoints_folder.glob("step-*")):
        time.sleep(0.002)
    os.kill(first, signal.SIGSTOP)
    raw = json.loads(run.status_path.read_text())
    # As after the clock was set forward by a day: the process seems to have begun at another time.
    run.status_path.write_text(json.dumps({**raw, "process_started": raw["process_started"] - 86_400}))
    said = [f"while it lives: {run.status()}", attempt(job, folder, resume=True)]
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    said.append(f"after its death: {run.status()}")
    assert run.status() is RunStatus.INTERRUPTED
    return [*said, attempt(job, folder, resume=True), *compare(folder, expected)]


def in_a_child(case: Case, job: Plan, folder: Path, expected: Outcome) -> list[str]:
    """Limits and mounts die with the process that made them."""
    told = folder.parent / f"{folder.name}.told"
    if child := os.fork():
        os.waitpid(child, 0)
        found: list[str] = json.loads(told.read_text()) if told.exists() else ["TRACEBACK: it told nothing"]
        return found
    try:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        try:
            said = case(job, folder, expected)
        except BaseException as error:
            said = [f"TRACEBACK {error!r}"]
        told.write_text(json.dumps(said))
    finally:
        os._exit(0)


def main(folder: Path, num_sizes: int) -> None:
    torch.set_num_threads(1)
    job = plan(folder, CONFIGS["sft, full, average"])
    expected, *_ = straight(job, folder / "straight")
    used = sum(path.stat().st_size for path in (folder / "straight").rglob("*") if path.is_file()) // 1000
    sizes = [1 + 3 * used * number // (2 * num_sizes) for number in range(num_sizes)]
    cases: dict[str, Case] = {"read only": read_only, "two at once": two_at_once}
    cases |= {f"a disk of {size} kB": full_disk(size) for size in sizes}
    cases |= {f"files of {size // 6} kB at most": large_files_refused(size * 1000 // 6) for size in sizes}
    found = {
        name: in_a_child(case, job, folder / f"case-{number}", expected)
        for number, (name, case) in enumerate(cases.items())
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
