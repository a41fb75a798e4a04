"""One process at a time works in a folder: a lock that the operating system drops when its process dies.

The lock is on the open file, not on what is written in it, so neither a killed process, nor a process id that is used
again, nor a clock that is set can leave it behind. This file knows nothing of runs.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has another way, which the standard library shows as single bytes only
    fcntl = None  # type: ignore[assignment]

FILE = ".lock"
_PATIENCE_SECONDS = 0.5  # someone who only looks whether it is held holds it for a moment
_held: dict[int, Path] = {}


def _drop_in_child() -> None:
    # A forked child shares the open file, and would keep the lock after its parent's death.
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_in_child)


class Taken(Exception):
    """Another process, or another part of this one, holds the lock."""


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Inside, nobody else can lock `folder`. Raises Taken, or OSError where the folder cannot be written to.

    Where the system or the file system has no such locks, nothing is locked, and `is_ours` says so.
    """
    descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if _lock(descriptor):
            _held[descriptor] = folder.resolve()
        yield
    finally:
        _held.pop(descriptor, None)
        os.close(descriptor)


def is_ours(folder: Path) -> bool:
    """Whether this process holds the lock of `folder`."""
    return folder.resolve() in _held.values()


def is_locked(folder: Path) -> bool | None:
    """Whether someone holds the lock of `folder`; None where that cannot be known."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder / FILE, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    if fcntl is None:
        return False
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise Taken from error
            time.sleep(0.01)
        except OSError:  # a file system without locks
            return False
        else:
            return True
