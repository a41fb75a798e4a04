"""From the seconds of a micro-batch to those of a run, and to money.

A step takes its micro-batches and its optimizer's pass over memory. n devices divide the rows; what they send each
other is added, as if nothing were hidden behind computing: 2 Psi numbers a step for an all-reduce of Psi gradients, 3
Psi where weights are gathered too (ZeRO, arXiv:1910.02054, section 7). Knows nothing of memory or files.
"""

from dataclasses import dataclass

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
    heaviest_seconds: float,
    trained_parameters: int,
    device: Device,
    *,
    trunk_seconds: float = 0.0,
    strategy: Strategy = "none",
    num_devices: int = 1,
    price_per_hour: float | None = None,
) -> Duration:
    """The forecast of a run. `heaviest_seconds`: forward and backward of the heaviest micro-batch on one device.

    `trunk_seconds`: of the same through the layers that are computed once.
    """
    node_seconds = heaviest_seconds / workload.heaviest_nodes / num_devices
    trunk_node_seconds = trunk_seconds / workload.heaviest_nodes / num_devices
    computing = node_seconds * workload.nodes_per_step
    moving = trained_parameters * _OPTIMIZER_BYTES / device.bandwidth
    sending = 0.0
    if num_devices > 1:
        volumes = 3 if strategy in ("zero3", "fsdp") else 2
        sending = volumes * trained_parameters * 4 / device.link
    step = computing + moving + sending
    total = _total(workload, step, node_seconds / 3, trunk_node_seconds)
    cost = None if price_per_hour is None else total / 3600 * price_per_hour * num_devices
    return Duration(step, total, workload.tokens_per_step / step, cost)


def measured_duration(workload: Workload, nodes_per_second: float, trunk_nodes_per_second: float) -> Duration:
    """The run at the speed of its measured steps. `trunk_nodes_per_second`: 0 where nothing is computed once."""
    step = workload.nodes_per_step / nodes_per_second
    of_trunk = 1 / trunk_nodes_per_second if trunk_nodes_per_second else 0.0
    total = _total(workload, step, 1 / nodes_per_second / 3, of_trunk)
    return Duration(step, total, workload.tokens_per_step / step, None)


def _total(workload: Workload, step: float, forward: float, trunk: float) -> float:
    """Seconds of all steps, of the evaluations (`forward` a node) and of what is computed once (`trunk` a node)."""
    evaluations = forward * workload.validation_nodes * workload.num_evaluations
    return step * workload.num_steps + evaluations + trunk * workload.distinct_nodes
