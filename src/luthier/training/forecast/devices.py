"""What devices can do, from their makers' data sheets; and what this machine is.

Rates are the dense ones (without sparsity) in TFLOP/s, memory is decimal gigabytes as sold, bandwidths are GB/s.
None: the device has no such arithmetic, and Luthier computes in float32 there. `link`: to its neighbours, one way,
for gradients. A data sheet is a ceiling; how much of it training reaches stands in `calibration`. Knows nothing of
models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from luthier.errors import ConfigError

Kind = Literal["cuda", "mps", "cpu"]


@dataclass(frozen=True)
class Device:
    """memory_bytes: all of it. bfloat16, float32: dense TFLOP/s. bandwidth, link: bytes a second."""

    name: str
    kind: Kind
    memory_bytes: int
    bfloat16: float | None
    float32: float
    bandwidth: float
    link: float
    source: str

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
    # Apple gives no rate of its GPUs; these are cores x 128 lanes x 2 x clock, as measured by others, for both dtypes.
    return Device(name, "mps", int(gigabytes * 1e9), float32, float32, bandwidth * 1e9, 5e9, source)


_PCIE4, _PCIE5 = 32.0, 64.0  # x16, one way
DEVICES: Mapping[str, Device] = {
    one.name: one
    for one in (
        _gpu("t4", 16, None, 8.1, 320, 16, "NVIDIA T4 data sheet (PCIe 3.0; its 65 TFLOP/s are float16)"),
        _gpu("v100", 32, None, 15.7, 900, 150, "NVIDIA V100 data sheet (SXM2; its 125 TFLOP/s are float16)"),
        _gpu("l4", 24, 121, 30.3, 300, _PCIE4, "NVIDIA L4 data sheet (half of its rates with sparsity)"),
        _gpu("a10g", 24, 70, 35, 600, _PCIE4, "NVIDIA A10G, as in AWS G5 (the A10 data sheet: 125, 31.2)"),
        _gpu("rtx-3090", 24, 71, 35.6, 936, _PCIE4, "NVIDIA GA102 whitepaper (float32 accumulation)"),
        _gpu("rtx-4090", 24, 165, 82.6, 1008, _PCIE4, "NVIDIA Ada whitepaper (float32 accumulation)"),
        _gpu("l40s", 48, 362, 91.6, 864, _PCIE4, "NVIDIA L40S data sheet"),
        _gpu("a100-40", 40, 312, 19.5, 1555, 300, "NVIDIA A100 data sheet"),
        _gpu("a100-80", 80, 312, 19.5, 2039, 300, "NVIDIA A100 data sheet (SXM)"),
        _gpu("h100", 80, 989, 67, 3350, 450, "NVIDIA H100 data sheet (SXM)"),
        _gpu("h200", 141, 989, 67, 4800, 450, "NVIDIA H200 data sheet (SXM)"),
        _apple("m3-24", 24, 3.5, 100, "Apple: memory and bandwidth of the M3"),
        _apple("m3-pro-36", 36, 6.4, 150, "Apple: memory and bandwidth of the M3 Pro"),
        _apple("m3-max-64", 64, 14.2, 400, "Apple: memory and bandwidth of the M3 Max (40 cores)"),
        _apple("m3-ultra-256", 256, 28.4, 819, "Apple: memory and bandwidth of the M3 Ultra (80 cores)"),
    )
}


def named_device(name: str) -> Device:
    """A device of the table. Raises ConfigError."""
    if name not in DEVICES:
        raise ConfigError(f"device: expected here or one of {', '.join(DEVICES)}; got {name!r}")
    return DEVICES[name]


def this_device(device: str = "auto") -> Device:
    """The device of this machine that a recipe names, with its memory as it is and its rates measured on the spot."""
    import torch

    from luthier.models.hardware import choose_dtype, find_rate, gpus, memory_bytes, processor_name
    from luthier.models.load import find_device

    found = find_device(device)
    rates = {dtype: find_rate(found, dtype) / 1e12 for dtype in (torch.float32, torch.bfloat16)}
    bfloat16 = rates[torch.bfloat16] if choose_dtype(found).dtype == torch.bfloat16 else None
    if found.type == "cuda":
        gpu = gpus()[found.index or 0]
        listed = next((one for key, one in DEVICES.items() if key.split("-")[0] in gpu.name.lower()), None)
        bandwidth = listed.bandwidth if listed else 300e9
        return Device(
            gpu.name,
            "cuda",
            gpu.memory_bytes,
            bfloat16,
            rates[torch.float32],
            bandwidth,
            16e9,
            "measured here",
        )
    kind: Kind = "mps" if found.type == "mps" else "cpu"
    available = memory_bytes()[1]
    return Device(
        f"this machine ({processor_name()})",
        kind,
        available,
        bfloat16,
        rates[torch.float32],
        20e9,
        1e9,
        "products measured here; memory: what is free now",
    )
