"""Killed at any moment, the store holds the old state or the new one, never one between."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.registry.test_specialists import bundle

from luthier.errors import RegistryError
from luthier.registry.specialist_check import collect, require_sound
from luthier.registry.specialists import SpecialistStore

State = tuple[tuple[tuple[int, str], ...], tuple[tuple[str, int], ...]]


def state(store: SpecialistStore) -> State:
    versions = tuple((one.number, one.id) for one in store.versions("rugby"))
    return versions, tuple(store.aliases("rugby").items())


def operate(store: SpecialistStore, folder: Path, number: int, draw: random.Random) -> None:
    """Commit, promote or roll back."""
    choice = draw.choice(["commit", "promote", "rollback"])
    try:
        if choice == "commit":
            store.commit("rugby", bundle(folder / f"bundle{number}", str(number)), {"system_prompt": None})
        elif choice == "promote":
            versions = store.versions("rugby")
            store.promote(draw.choice(versions).ref, force=True, reason=f"operation {number}")
        else:
            store.rollback("rugby")
    except RegistryError:
        pass  # nothing to roll back to


def kill_operations(folder: Path, count: int, enough: int) -> tuple[int, int]:
    """Operations in processes of their own, killed after a random time; (killed, that had changed something).

    At most `count` of them, and no more once both numbers exceed `enough`.
    """
    draw = random.Random(0)
    root = folder / "specialists"
    SpecialistStore(root).commit("rugby", bundle(folder / "first", "first"), {"system_prompt": None})
    killed = changed = 0
    longest_seconds = 1.5 * seconds_of_an_operation(root, folder)
    for number in range(count):
        before = state(SpecialistStore(root))
        seed, wait = draw.random(), draw.uniform(0, longest_seconds)
        pid = os.fork()
        if pid == 0:
            try:
                operate(SpecialistStore(root), folder, number, random.Random(seed))
            finally:
                os._exit(0)
        time.sleep(wait)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        was_killed = os.WIFSIGNALED(status)
        killed += was_killed
        store = SpecialistStore(root)
        require_sound(store)
        after = state(store)
        changed += after != before
        assert_one_step(before, after)
        if min(killed, changed) > enough:
            break
    collect(SpecialistStore(root))
    require_sound(SpecialistStore(root))
    return killed, changed


def seconds_of_an_operation(root: Path, folder: Path) -> float:
    """How long a commit takes on this machine today, a fork and the opening of the store included."""
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        try:
            SpecialistStore(root).commit(
                "rugby", bundle(folder / "second", "second"), {"system_prompt": None}
            )
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return time.perf_counter() - started


def assert_one_step(before: State, after: State) -> None:
    """Nothing changed, or one version more, or one alias that means another version."""
    more, moved = set(after[0]) - set(before[0]), set(after[1]) - set(before[1])
    assert set(before[0]) <= set(after[0])
    assert len(more) + len(moved) <= 1
    assert all(number in dict(after[0]) for _, number in after[1])


def test_killed_operations_leave_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    killed, changed = kill_operations(tmp_path, 200, enough=4)
    assert killed > 4 and changed > 4


@pytest.mark.slow
def test_500_killed_operations(tmp_path: Path) -> None:
    killed, changed = kill_operations(tmp_path, 500, enough=500)
    assert killed > 100 and changed > 100
