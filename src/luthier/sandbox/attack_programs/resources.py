"""Attacks on what the machine has to share out: processes, memory, space, output, time.

Runs behind the wall, with the standard library alone.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

Bait = dict[str, Any]
_MEBIBYTE = 2**20


def _forks(most: int, end: Callable[[], None]) -> int:
    children = []
    with contextlib.suppress(OSError):
        for _ in range(most):
            child = os.fork()
            if child == 0:
                end()
                os._exit(0)
            children.append(child)
    for child in children:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return len(children)


def fork_bomb(bait: Bait) -> str:
    count = _forks(3 * bait["max_processes"], lambda: time.sleep(5))
    return f"{count} processes" if count > bait["max_processes"] + 2 else ""


def zombie_bomb(bait: Bait) -> str:
    count = _forks(3 * bait["max_processes"], lambda: None)
    return f"{count} zombies" if count > bait["max_processes"] + 2 else ""


def thread_bomb(bait: Bait) -> str:
    started = 0
    wait = threading.Event()
    threading.stack_size(65536)
    with contextlib.suppress(RuntimeError):
        for _ in range(3 * bait["max_processes"]):
            threading.Thread(target=wait.wait, args=(5,), daemon=True).start()
            started += 1
    wait.set()
    return f"{started} threads" if started > bait["max_processes"] + 2 else ""


def memory_bomb(bait: Bait) -> str:
    blocks = []
    for _ in range(2 * bait["max_memory_bytes"] // (16 * _MEBIBYTE)):
        blocks.append(b"x" * (16 * _MEBIBYTE))
    return f"{len(blocks) * 16} MiB"


def memory_in_children(bait: Bait) -> str:
    share = bait["max_memory_bytes"] // 2

    def hold() -> None:
        block = b"x" * share
        time.sleep(3)
        os._exit(len(block) % 2)

    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            hold()
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return f"{len(children)} children held {share // _MEBIBYTE} MiB each"


def _fill(folder: str, most: int) -> str:
    written = 0
    with contextlib.suppress(OSError):
        for index in range(8):
            with open(os.path.join(folder, f"fill{index}"), "wb", buffering=0) as file:
                for _ in range(most // 4 // _MEBIBYTE):
                    written += file.write(b"x" * _MEBIBYTE)
    time.sleep(0.3)
    return f"{written // _MEBIBYTE} MiB in {folder}" if written > 1.5 * most else ""


def fill_disk(bait: Bait) -> str:
    return _fill(".", bait["max_workspace_bytes"])


def fill_shared_memory(bait: Bait) -> str:
    return _fill("/dev/shm", bait["max_workspace_bytes"])


def many_files(bait: Bait) -> str:
    made = 0
    with contextlib.suppress(OSError):
        for index in range(20 * bait["max_files"]):
            os.close(os.open(f"f{index}", os.O_CREAT | os.O_WRONLY))
            made += 1
    time.sleep(0.3)
    return f"{made} files" if made > bait["max_files"] else ""


def huge_output(bait: Bait) -> str:
    block = b"x" * _MEBIBYTE
    for _ in range(64):
        os.write(1, block)
    return ""  # the length of what arrives tells


def deep_recursion(bait: Bait) -> str:
    sys.setrecursionlimit(10**9)

    def deeper(_: int) -> list[int]:
        return sorted([1], key=deeper)  # each step is a frame of C

    return f"came back with {deeper(0)}"


def busy_loop(bait: Bait) -> str:
    while True:
        pass


def sleep(bait: Bait) -> str:
    time.sleep(600)
    return "slept to the end"


def ignore_signals(bait: Bait) -> str:
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    return sleep(bait)


def stop_self(bait: Bait) -> str:
    os.kill(os.getpid(), signal.SIGSTOP)
    return ""


def hold_output_open(bait: Bait) -> str:
    subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", bait["token"]], start_new_session=True
    )
    return ""


def wait_for_input(bait: Bait) -> str:
    return "read something" if sys.stdin.read() else ""
