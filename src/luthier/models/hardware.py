"""What this machine can do: cores, memory, GPUs, and which dtype to compute in.

The dtype is chosen by measuring a matrix product for a few milliseconds, not by the device's name: bfloat16
is many times faster than float32 on some processors and slower on others.
This file knows nothing of models.
"""

import functools
import os
import platform
import time
from dataclasses import dataclass

import psutil
import torch

_PROBE_SIZE = 512
_PROBE_SECONDS = 0.01
_WORTH_IT = 1.2  # bfloat16 costs precision, so it must be clearly faster


@dataclass(frozen=True)
class Gpu:
    """One CUDA device. `capability` is (major, minor), e.g. (9, 0) for Hopper."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int

    @property
    def generation(self) -> str:
        """NVIDIA's name for the capability's major (and, for 7.5 and 8.9, minor) version."""
        named = {(7, 5): "Turing", (8, 9): "Ada Lovelace"}
        by_major = {6: "Pascal", 7: "Volta", 8: "Ampere", 9: "Hopper", 10: "Blackwell", 12: "Blackwell"}
        return named.get(self.capability, by_major.get(self.capability[0], "unknown"))


@dataclass(frozen=True)
class DtypeChoice:
    """The dtype to compute in, and the measured reason."""

    dtype: torch.dtype
    reason: str


def default_device() -> torch.device:
    """CUDA where there is one, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@functools.cache
def choose_dtype(device: torch.device) -> DtypeChoice:
    """float32 or bfloat16 (float16 is left out: it needs loss scaling), by a probe of some 20 milliseconds."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] < 8:
        return DtypeChoice(torch.float32, "this GPU generation has no bfloat16")
    rates = {dtype: _gflops(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    ratio = rates[torch.bfloat16] / rates[torch.float32]
    measured = f"float32 {rates[torch.float32]:.0f}, bfloat16 {rates[torch.bfloat16]:.0f} GFLOP/s"
    if ratio >= _WORTH_IT:
        return DtypeChoice(torch.bfloat16, f"bfloat16 is {ratio:.1f}x as fast here ({measured})")
    return DtypeChoice(torch.float32, f"bfloat16 is only {ratio:.1f}x as fast here ({measured})")


def find_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a product of matrices, measured for some milliseconds."""
    return _gflops(device, dtype) * 1e9


def _gflops(device: torch.device, dtype: torch.dtype) -> float:
    matrix = torch.ones(_PROBE_SIZE, _PROBE_SIZE, device=device, dtype=dtype)
    _synchronized_product(matrix, device)  # the first product pays for loading kernels
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < _PROBE_SECONDS:
        _synchronized_product(matrix, device)
        count += 1
    return 2 * _PROBE_SIZE**3 * count / elapsed / 1e9


def _synchronized_product(matrix: torch.Tensor, device: torch.device) -> None:
    matrix @ matrix
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gpus() -> list[Gpu]:
    """The CUDA devices that torch sees."""
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(Gpu(properties.name, (properties.major, properties.minor), properties.total_memory))
    return found


def processor_name() -> str:
    """The processor's name, as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_share() -> float:
    """The share of all cores that other jobs use now, looked at for a tenth of a second."""
    return float(psutil.cpu_percent(interval=0.1)) / 100


def memory_bytes() -> tuple[int, int]:
    """(total, available) memory of the machine."""
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)
