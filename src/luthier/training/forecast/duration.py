"""From FLOPs and bytes to seconds and money.

A step takes its products at the share of the device's rate that `calibration` knows, and its optimizer's pass over
memory. n devices divide the rows; what they send each other is added, as if nothing were hidden behind computing: 2
Psi numbers a step for an all-reduce of Psi gradients, 3 Psi where weights are gathered too (ZeRO, arXiv:1910.02054,
section 7). Knows nothing of memory or files.
"""

from dataclasses import dataclass

from luthier.training.forecast.calibration import EFFICIENCY, FULL_WIDTH
from luthier.training.forecast.devices import Device
from luthier.training.forecast.memory import Strategy
from luthier.training.forecast.workload import Workload

_OPTIMIZER_BYTES = (
    28  # a number's gradient, weight and two moments are read, three of them written, in float32
)


@dataclass(frozen=True)
class Duration:
    """Seconds of a step and of the run (evaluations included), tokens/s as a user counts them, money if priced."""

    step_seconds: float
    total_seconds: float
    tokens_per_second: float
    cost: float | None

    def to_dict(self) -> dict[str, float | None]:
        return {
            "step_seconds": self.step_seconds,
            "total_seconds": self.total_seconds,
            "tokens_per_second": self.tokens_per_second,
            "cost": self.cost,
        }


def duration_of(
    workload: Workload,
    flops_per_node: float,
    trained_parameters: int,
    device: Device,
    dtype: str,
    *,
    hidden_size: int,
    strategy: Strategy = "none",
    num_devices: int = 1,
    price_per_hour: float | None = None,
) -> Duration:
    """The forecast of a run. `flops_per_node`: forward and backward of one computed token."""
    filled = min(1.0, hidden_size / FULL_WIDTH[device.kind])
    rate = device.rate(dtype) * EFFICIENCY[device.kind] * filled
    computing = flops_per_node * workload.nodes_per_step / rate / num_devices
    moving = trained_parameters * _OPTIMIZER_BYTES / device.bandwidth
    sending = 0.0
    if num_devices > 1:
        volumes = 3 if strategy in ("zero3", "fsdp") else 2
        sending = volumes * trained_parameters * 4 / device.link
    step = computing + moving + sending
    forward = flops_per_node / 3 * workload.validation_nodes / rate / num_devices
    total = step * workload.num_steps + forward * workload.num_evaluations
    cost = None if price_per_hour is None else total / 3600 * price_per_hour * num_devices
    return Duration(step, total, workload.tokens_per_step / step, cost)
