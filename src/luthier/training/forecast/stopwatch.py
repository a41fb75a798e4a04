"""Seconds of a short piece of work, and the bandwidth of memory, measured so that another job disturbs little.

Knows nothing of models.
"""

import functools
import time
from collections import deque
from collections.abc import Callable

import torch

_FEWEST_TRIES = 5
_ALL_TRIES_SECONDS = 0.05
_MOVED_NUMBERS = 1 << 20  # 4 MB: what an activation of a small model takes
_MOVED_TENSORS = 8  # more than caches hold


def best_seconds(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of many short runs, the first one left out: it warms up.

    Not their mean: where other jobs take turns on the cores, threads wait for each other for milliseconds.
    """
    run()
    _wait(device)
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < _FEWEST_TRIES or time.perf_counter() - began < _ALL_TRIES_SECONDS:
        started = time.perf_counter()
        run()
        _wait(device)
        found.append(time.perf_counter() - started)
    return min(found)


@functools.cache
def measure_bandwidth(device: torch.device) -> float:
    """Bytes a second that a pointwise operation reads and writes, its result newly allocated."""
    made = deque((torch.ones(_MOVED_NUMBERS, device=device) for _ in range(_MOVED_TENSORS)), _MOVED_TENSORS)
    return 3 * 4 * _MOVED_NUMBERS / best_seconds(lambda: made.append(made[0] * made[1]), device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
