"""How many threads a step is fastest with. It is tried: where cores are virtual, shared, or wait long for each other,
more threads can be slower, and how many are right depends on the model's widths too.
"""

import time
from typing import Any

import torch

_NUM_TOKENS = 16  # a step of so many answers
_REPEATS = 3
_SLACK = 1.05  # fewer threads are taken where more are faster by less: others need the cores too


@torch.inference_mode()
def fastest_num_threads(model: Any, device: torch.device) -> int:
    """Of 1, 2, 4, ... up to torch's own number, which is set again at the end. Without a choice nothing is tried."""
    most = torch.get_num_threads()
    if device.type != "cpu" or most == 1:
        return most
    ids_BT = torch.arange(_NUM_TOKENS)[None]
    seconds: dict[int, float] = {}
    try:
        for num_threads in sorted({most, *(2**k for k in range(most.bit_length()) if 2**k < most)}):
            torch.set_num_threads(num_threads)
            model(input_ids=ids_BT, use_cache=False)  # warm
            seconds[num_threads] = min(_seconds(model, ids_BT) for _ in range(_REPEATS))
    finally:
        torch.set_num_threads(most)
    return min(n for n, one in seconds.items() if one <= _SLACK * min(seconds.values()))


def _seconds(model: Any, ids_BT: torch.Tensor) -> float:
    started = time.perf_counter()
    model(input_ids=ids_BT, use_cache=False)
    return time.perf_counter() - started
