"""A process and its descendants, read from /proc: who they are, how much memory they hold, and their end.

Knows nothing of sandboxes.
"""

import contextlib
import os
import signal
import time

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> list[int]:
    """The children of a process, their children and so on; it is itself not among them."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                children += map(int, file.read().split())
    except OSError:
        pass  # it has just ended
    return children


def private_bytes(pids: list[int]) -> int:
    """Resident memory that is not a file's, summed. What a fork shares with its parent counts for each."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm") as file:
                _, resident, shared, *_ = map(int, file.read().split())
        except OSError:
            continue
        total += (resident - shared) * _PAGE_BYTES
    return total


def proportional_bytes(pids: list[int]) -> int:
    """The same with shared pages counted once, anonymous shared memory with them. Slower."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                lines = dict(line.split(":", 1) for line in file if line.startswith("Pss_"))
        except OSError:
            continue
        total += sum(
            int(lines[name].split()[0]) * 1024 for name in ("Pss_Anon", "Pss_Shmem") if name in lines
        )
    return total


def kill_descendants(pid: int, *, patience_seconds: float = 5.0) -> None:
    """SIGKILL to all descendants until none is left that is not a zombie, or patience is at its end."""
    end = time.monotonic() + patience_seconds
    while time.monotonic() < end:
        alive = [child for child in descendants(pid) if not _is_zombie(child)]
        if not alive:
            return
        for child in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True
