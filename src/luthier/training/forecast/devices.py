"""What devices can do, from their makers' data sheets; and what this machine is.

Rates are the dense ones (without sparsity) in TFLOP/s, memory is decimal gigabytes as sold, bandwidths are GB/s.
None: the device has no such arithmetic, and Luthier computes in float32 there. `link`: to its neighbours, one way,
for gradients. A data sheet is a ceiling; how much of it training reaches stands in `calibration`. `source` names what
the figures are from and where they were compared (2026-11-21; pages of third parties that quote the sheets). Knows
nothing of models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from luthier.errors import ConfigError

Kind = Literal["cuda", "mps", "cpu"]


@dataclass(frozen=True)
class Device:
    """memory_bytes: all of it. bfloat16, float32: dense TFLOP/s. bandwidth, link: bytes a second.

    here: torch's name of it, where it is this machine's and can be measured.
    """

    name: str
    kind: Kind
    memory_bytes: int
    bfloat16: float | None
    float32: float
    bandwidth: float
    link: float
    source: str
    here: str | None = None

    @property
    def dtype(self) -> str:
        """What Luthier computes in there, unless the recipe says otherwise."""
        return "bfloat16" if self.bfloat16 else "float32"

    def rate(self, dtype: str) -> float:
        """FLOP/s of dense products in a dtype, on paper."""
        tera = self.bfloat16 if dtype == "bfloat16" and self.bfloat16 else self.float32
        return tera * 1e12 / (2 if dtype == "float64" else 1)


def _gpu(
    name: str,
    gigabytes: float,
    bfloat16: float | None,
    float32: float,
    bandwidth: float,
    link: float,
    source: str,
) -> Device:
    return Device(name, "cuda", int(gigabytes * 1e9), bfloat16, float32, bandwidth * 1e9, link * 1e9, source)


def _apple(name: str, gigabytes: float, float32: float, bandwidth: float, source: str) -> Device:
    # Apple gives no rate of its GPUs; these are cores x 128 lanes x 2 x 1.398 GHz (hmc-tech.com), for both dtypes.
    return Device(name, "mps", int(gigabytes * 1e9), float32, float32, bandwidth * 1e9, 5e9, source)


_PCIE4 = 32.0  # x16, one way
_PCIE3_BYTES, _NETWORK_BYTES = 16e9, 1e9
DEVICES: Mapping[str, Device] = {
    one.name: one
    for one in (
        _gpu("t4", 16, None, 8.1, 320, 16, "NVIDIA T4 data sheet (its 65 are float16); sysrqmts.com"),
        _gpu(
            "v100",
            32,
            None,
            15.7,
            900,
            150,
            "NVIDIA V100 data sheet (its 125 are float16); developer.nvidia.com",
        ),
        _gpu(
            "l4",
            24,
            121,
            30.3,
            300,
            _PCIE4,
            "NVIDIA L4 data sheet (242 with sparsity); sysrqmts.com, aiwiki.ai",
        ),
        _gpu("a10", 24, 125, 31.2, 600, _PCIE4, "NVIDIA A10 data sheet; sysrqmts.com, nucleusbox.com"),
        _gpu(
            "rtx-3090", 24, 71, 35.6, 936, _PCIE4, "NVIDIA GA102 whitepaper; half of its float16 rate of 142"
        ),
        _gpu("rtx-4090", 24, 165, 82.6, 1008, _PCIE4, "NVIDIA Ada whitepaper; waredb.com, gigagpu.com"),
        _gpu("l40s", 48, 362, 91.6, 864, _PCIE4, "NVIDIA L40S data sheet (733 with sparsity); mullet.se"),
        _gpu("a100-40", 40, 312, 19.5, 1555, 300, "NVIDIA A100 data sheet; glennklockwood.com"),
        _gpu("a100-80", 80, 312, 19.5, 2039, 300, "NVIDIA A100 data sheet (SXM); glennklockwood.com"),
        _gpu("h100", 80, 989, 67, 3350, 450, "NVIDIA H100 data sheet (SXM); glennklockwood.com"),
        _gpu("h200", 141, 989, 67, 4800, 450, "NVIDIA H200 data sheet (SXM); saulelectric.com"),
        _apple("m3-24", 24, 3.58, 100, "Apple: M3, 10 cores, memory and bandwidth; gizmohopper.com"),
        _apple("m3-pro-36", 36, 6.44, 150, "Apple: M3 Pro, 18 cores; gigazine.net, hmc-tech.com"),
        _apple("m3-max-64", 64, 14.3, 400, "Apple: M3 Max, 40 cores; notebookcheck.net, hmc-tech.com"),
        _apple("m3-ultra-256", 256, 28.6, 819, "Apple: M3 Ultra, 80 cores; inforeader.com"),
    )
}


def named_device(name: str) -> Device:
    """A device of the table. Raises ConfigError."""
    if name not in DEVICES:
        raise ConfigError(f"device: expected here, cpu or one of {', '.join(DEVICES)}; got {name!r}")
    return DEVICES[name]


def this_device(device: str = "auto") -> Device:
    """The device of this machine that a recipe names, with its memory as it is and its rates measured on the spot."""
    import torch

    from luthier.models.hardware import choose_dtype, find_rate, gpus, memory_bytes, processor_name
    from luthier.models.load import find_device
    from luthier.training.forecast.stopwatch import measure_bandwidth

    found = find_device(device)
    rates = {dtype: find_rate(found, dtype) / 1e12 for dtype in (torch.float32, torch.bfloat16)}
    bfloat16 = rates[torch.bfloat16] if choose_dtype(found).dtype == torch.bfloat16 else None
    kind: Kind = "cuda" if found.type == "cuda" else "mps" if found.type == "mps" else "cpu"
    if kind == "cuda":
        gpu = gpus()[found.index or 0]
        name, available, link = gpu.name, gpu.memory_bytes, _PCIE3_BYTES
    else:
        name, available, link = f"this machine ({processor_name()})", memory_bytes()[1], _NETWORK_BYTES
    return Device(
        name, kind, available, bfloat16, rates[torch.float32], measure_bandwidth(found), link,
        "measured here; memory of a processor: what is free now", str(found),
    )  # fmt: skip
