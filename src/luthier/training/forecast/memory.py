"""From what was traced to the memory of one device: the parts, their sum at the worst moment, and how n devices
share it.

Sharing follows ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054, section 5): stage 1 divides the optimizer's state
by the number of devices, stage 2 the gradients too, stage 3 the weights as well; FSDP's full sharding is stage 3.
With stage 3 a layer's weights are gathered while it computes. Knows nothing of time, files or screens.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Literal

from luthier.errors import ConfigError
from luthier.training.forecast.calibration import (
    ADAPTER_PROCESS_BYTES,
    ADAPTER_SLACK,
    PROCESS_BYTES,
    SLACK,
)
from luthier.training.forecast.trace import Trace
from luthier.training.optim import is_hidden_matrix

Strategy = Literal["none", "ddp", "zero1", "zero2", "zero3", "fsdp"]
STRATEGIES: tuple[Strategy, ...] = ("none", "ddp", "zero1", "zero2", "zero3", "fsdp")
_SHARED: Mapping[Strategy, tuple[str, ...]] = {
    "none": (),
    "ddp": (),
    "zero1": ("optimizer",),
    "zero2": ("optimizer", "gradients"),
    "zero3": ("optimizer", "gradients", "weights", "adapter"),
    "fsdp": ("optimizer", "gradients", "weights", "adapter"),
}
_FLOAT32 = 4


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the worst moment of a step.

    `total` is their sum, or what loading, passing the rows through the frozen layers once, or saving takes.
    """

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    loss: int
    overhead: int
    loading: int
    trunk: int
    saving: int

    @property
    def training(self) -> int:
        """The sum at the worst moment of a step."""
        parts = (self.weights, self.adapter, self.gradients, self.optimizer, self.activations, self.loss)
        return sum(parts) + self.overhead

    @property
    def total(self) -> int:
        """The most that the whole run holds at once."""
        return max(self.training, self.loading, self.trunk, self.saving)

    def to_dict(self) -> dict[str, int]:
        """The parts and their sums."""
        return {**asdict(self), "training": self.training, "total": self.total}


def _moments(count: int) -> Callable[[str, tuple[int, ...]], int]:
    return lambda name, shape: count * prod(shape)


def _muon(name: str, shape: tuple[int, ...]) -> int:
    return (1 if is_hidden_matrix(name, len(shape)) else 2) * prod(shape)


def _adafactor(name: str, shape: tuple[int, ...]) -> int:
    return prod(shape) if len(shape) < 2 else prod(shape[:-2]) * (shape[-1] + shape[-2])


def _adamw_8bit(name: str, shape: tuple[int, ...]) -> int:
    numbers = prod(shape)
    if numbers < _FEWEST_IN_8_BITS:
        return 2 * numbers
    return -(-numbers // 2) + 2 * -(-numbers // _BLOCK)  # two moments of a byte each, a scale for each block


_FEWEST_IN_8_BITS, _BLOCK = 4096, 256  # of bitsandbytes
STATE_NUMBERS: Mapping[str, Callable[[str, tuple[int, ...]], int]] = {
    "adamw": _moments(2),
    "adamw_8bit": _adamw_8bit,
    "paged_adamw": _moments(2),
    "lion": _moments(1),
    "muon": _muon,
    "adafactor": _adafactor,
}
"""How many numbers of four bytes an optimizer keeps of one parameter, by its name and shape.

Those of `paged_adamw` leave the GPU when it is full; they are counted as if they stayed.
"""


def state_numbers(optimizer: str) -> Callable[[str, tuple[int, ...]], int]:
    """The count of an optimizer. Raises ConfigError for one whose state is not known: a guess would be no forecast."""
    if optimizer not in STATE_NUMBERS:
        raise ConfigError(
            f"optim.name={optimizer}: how much it keeps is not known, so there is no forecast; known: "
            f"{', '.join(STATE_NUMBERS)}. Use --measure, or add it to STATE_NUMBERS in "
            "luthier/training/forecast/memory.py"
        )
    return STATE_NUMBERS[optimizer]


def memory_of(
    trace: Trace,
    optimizer: str,
    *,
    kind: str,
    is_adapter: bool,
    one_microbatch: bool,
    stored_bytes: int,
    copies_of_trained: int = 0,
    streamed: bool = False,
) -> Memory:
    """The memory of one device that trains alone.

    `one_microbatch`: a step has no second one, so no gradient is there while the first one's activations are.
    `stored_bytes`: of the weights' files. `copies_of_trained`: averages, the start of PiSSA. `streamed`: of the layers
    of the trunk one is in memory at a time, and none in a step. Raises ConfigError.
    """
    count = state_numbers(optimizer)
    state = _FLOAT32 * sum(count(*one) for one in trace.trained)
    state += copies_of_trained * trace.trained_bytes
    beside_gradients = (
        max(0, trace.step_bytes - trace.gradient_bytes) if one_microbatch else trace.activation_bytes
    )
    saved = min(trace.saved_bytes, beside_gradients)
    slack = ADAPTER_SLACK[kind] if is_adapter else SLACK[kind]
    overhead = int(PROCESS_BYTES[kind] + (ADAPTER_PROCESS_BYTES[kind] if is_adapter else 0))
    base_bytes = trace.base_bytes - (trace.trunk_bytes if streamed else 0)
    held = base_bytes + trace.trained_bytes
    on_cpu = kind == "cpu"
    in_trunk = trace.trunk_bytes // trace.trunk_layers if streamed and trace.trunk_layers else 0
    return Memory(
        weights=base_bytes + (0 if is_adapter else trace.trained_bytes),
        adapter=trace.trained_bytes if is_adapter else 0,
        gradients=trace.gradient_bytes,
        optimizer=state,
        activations=int(saved * slack),
        loss=int((beside_gradients - saved) * slack),
        overhead=overhead,
        loading=overhead + held + (stored_bytes if on_cpu and not streamed else 0),
        trunk=overhead + held + in_trunk + int(trace.trunk_step_bytes * slack) if trace.trunk_layers else 0,
        saving=overhead + held + state + (max(trace.trained_bytes, state) if on_cpu else 0),
    )


def share(memory: Memory, strategy: Strategy, num_devices: int, gathered_bytes: int) -> Memory:
    """The memory of each of `num_devices`. `gathered_bytes`: the largest piece of weights that is whole at a time."""
    shared = {part: getattr(memory, part) // num_devices for part in _SHARED[strategy]}
    less = replace(memory, **shared)
    if "weights" in shared:
        less = replace(
            less, loss=less.loss + 2 * gathered_bytes
        )  # the next layer is gathered while one computes
    return replace(less, loading=0, trunk=0, saving=0)
