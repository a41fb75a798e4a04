"""The lock of a folder: one holder, gone with its process, not shared with what it forks."""

import os
import signal
import time
from pathlib import Path

import pytest

from luthier.errors import RunError
from luthier.registry.run_lock import FILE, Taken, is_locked, is_ours, lock_folder
from luthier.registry.runs import RunStatus, create_run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_one_holds_it(tmp_path: Path) -> None:
    assert is_locked(tmp_path) is None  # never locked: nothing is known
    with lock_folder(tmp_path):
        assert is_locked(tmp_path) and is_ours(tmp_path)
        with pytest.raises(Taken), lock_folder(tmp_path):
            pass
        assert is_ours(tmp_path)
    assert is_locked(tmp_path) is False and not is_ours(tmp_path)
    with lock_folder(tmp_path):
        assert is_locked(tmp_path)


def holding(folder: Path) -> int:
    """A process that holds the lock until it is killed."""
    child = os.fork()
    if not child:
        with lock_folder(folder):
            time.sleep(60)
        os._exit(0)
    while not is_locked(folder):
        time.sleep(0.005)
    return child


def test_it_dies_with_its_process(tmp_path: Path) -> None:
    child = holding(tmp_path)
    try:
        with pytest.raises(Taken), lock_folder(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with lock_folder(tmp_path):
        assert is_ours(tmp_path)


def test_a_forked_child_does_not_keep_it(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
    try:
        until = time.monotonic() + 5  # the child closes its copy when it first runs
        while is_locked(tmp_path) and time.monotonic() < until:
            time.sleep(0.005)
        assert is_locked(tmp_path) is False
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_looking_at_it_does_not_keep_a_run_from_starting(tmp_path: Path) -> None:
    watcher = os.fork()
    (tmp_path / FILE).touch()
    if not watcher:
        while True:
            is_locked(tmp_path)
    try:
        for _ in range(50):
            with lock_folder(tmp_path):
                pass
    finally:
        os.kill(watcher, signal.SIGKILL)
        os.waitpid(watcher, 0)


def test_a_run_that_another_trains_is_refused_by_name(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", recipe_yaml="{}", data_manifest=[])
    run.set_status(RunStatus.RUNNING)
    child = holding(run.folder)
    try:
        said = rf"another process trains this run \(process {os.getpid()} on"
        with pytest.raises(RunError, match=said), run.locked():
            pass
        assert run.status() is RunStatus.RUNNING
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert run.status() is RunStatus.INTERRUPTED
    with run.locked():
        run.set_status(RunStatus.RUNNING)
