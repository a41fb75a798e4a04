"""What a run will take: memory and time on a device, before a step is paid for, and how far such forecasts were off.

    trace        what a micro-batch holds and computes, by the real code on tensors without numbers
                 (shapes: the model; alive: the bytes; work: the operations)
    workload     the heaviest micro-batch and the amounts, from the real rows where they are given
    memory       the parts on one device, shared among n by ZeRO or FSDP
    pace         seconds of a micro-batch: measured here (stopwatch), from a data sheet elsewhere
    duration     seconds and money of a run
    devices      what devices can do; calibration: the measured constants
    probe        the real thing, two steps, in a process of its own
    history      forecasts beside what came

`forecast` puts them together. Knows nothing of screens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from luthier.errors import ConfigError, ModelError
from luthier.models.load import DTYPES, load_config
from luthier.training.forecast.calibration import USABLE
from luthier.training.forecast.devices import Device
from luthier.training.forecast.duration import Duration, duration_of
from luthier.training.forecast.memory import Memory, Strategy, memory_of, share
from luthier.training.forecast.pace import microbatch_seconds
from luthier.training.forecast.trace import Trace, trace
from luthier.training.forecast.workload import Workload
from luthier.training.method_config import default_method
from luthier.training.recipe import Recipe

WHOLE_WEIGHTS = ("full", "top_layers", "freeze")
_ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float64": 8}


@dataclass(frozen=True)
class Forecast:
    """What one method takes on one device (or each of n). `advice`: what to change where it does not fit.

    trunk_bytes: the hidden states below the lowest trained layer, if they are kept on the disk; 0 where nothing is
    below."""

    method: str
    device: Device
    dtype: str
    strategy: Strategy
    num_devices: int
    memory: Memory
    duration: Duration
    trained_parameters: int
    all_parameters: int
    trunk_bytes: int
    advice: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the whole run stays below what may be planned with."""
        return self.memory.total <= USABLE * self.device.memory_bytes

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values, with stable keys."""
        return {
            "method": self.method,
            "device": self.device.name,
            "device_memory_bytes": self.device.memory_bytes,
            "dtype": self.dtype,
            "strategy": self.strategy,
            "num_devices": self.num_devices,
            "fits": self.fits,
            "memory": self.memory.to_dict(),
            "time": self.duration.to_dict(),
            "trained_parameters": self.trained_parameters,
            "all_parameters": self.all_parameters,
            "trunk_cache_bytes": self.trunk_bytes,
            "advice": list(self.advice),
        }


def config_of(recipe: Recipe, vocab_size: int | None = None) -> Any:
    """The architecture that the recipe trains, without weights: of a hub id, a folder with config.json, or a new one.

    `vocab_size`: of the tokenizer, for a new one. Raises ModelError, ConfigError.
    """
    from pathlib import Path

    from luthier.models.fresh import config_of_shape
    from luthier.models.load import find_model

    if recipe.model.new is not None:
        if vocab_size is None:
            raise ConfigError("a new architecture takes its vocabulary from its tokenizer: give --data too")
        return config_of_shape(recipe.model.new, vocab_size)
    name = str(recipe.model.name)
    if (Path(name).expanduser() / "config.json").is_file():
        return load_config(name)
    return load_config(find_model(name).base)


def forecast(
    recipe: Recipe,
    config: Any,
    workload: Workload,
    device: Device,
    *,
    method: Any = None,
    strategy: Strategy = "none",
    num_devices: int = 1,
    price_per_hour: float | None = None,
    traced: Trace | None = None,
) -> Forecast:
    """Forecast `recipe` (with another `method` section, if given) on `device`.

    `traced`: what `trace_for` gave, for one trace and many devices. Raises ModelError where the architecture cannot be
    run on shapes alone, ConfigError where the method does not fit it.
    """
    chosen = method or recipe.method
    dtype = dtype_on(recipe, device)
    seen = traced or trace_for(recipe, config, workload, dtype, chosen)
    ema, pissa = recipe.train.ema_decay is not None, chosen.name == "pissa"
    alone = memory_of(
        seen,
        recipe.optim.name,
        kind=device.kind,
        is_adapter=chosen.name not in WHOLE_WEIGHTS,
        one_microbatch=workload.one_microbatch,
        stored_bytes=seen.all_parameters * _stored_item_bytes(config),
        copies_of_trained=int(ema) + int(pissa),
        streamed=recipe.model.stream,
    )
    memory = alone if num_devices == 1 else share(alone, strategy, num_devices, seen.largest_weight_bytes)
    width = int(config.hidden_size)
    duration = duration_of(
        workload,
        microbatch_seconds(seen.work, device, dtype, width),
        seen.trained_parameters,
        device,
        trunk_seconds=microbatch_seconds(seen.trunk_work, device, dtype, width),
        strategy=strategy,
        num_devices=num_devices,
        price_per_hour=price_per_hour,
    )
    made = Forecast(
        chosen.name, device, dtype, strategy, num_devices, memory, duration,
        seen.trained_parameters, seen.all_parameters,
        workload.distinct_nodes * width * _ITEM_BYTES[dtype] if seen.trunk_layers else 0, (),
    )  # fmt: skip
    return made if made.fits else replace(made, advice=tuple(_advice(made, recipe, workload)))


def trace_for(recipe: Recipe, config: Any, workload: Workload, dtype: str, method: Any) -> Trace:
    """The trace of the heaviest micro-batch."""
    train = recipe.train
    return trace(
        config,
        method,
        workload.heaviest,
        DTYPES[dtype],
        checkpointing=train.gradient_checkpointing,
        trunk=train.trunk != "off" and train.neftune_alpha is None,
    )


def dtype_on(recipe: Recipe, device: Device) -> str:
    """What is computed in: the recipe's word, or what the device is good at."""
    return device.dtype if recipe.train.dtype == "auto" else recipe.train.dtype


def methods_to_compare(names: Sequence[str], recipe: Recipe) -> Mapping[str, Any]:
    """The method sections of these names: the recipe's own as it is, the others with their defaults."""
    sections = {name: recipe.method if name == recipe.method.name else default_method(name) for name in names}
    return {name: section for name, section in sections.items() if section is not None}


def compare_methods(
    methods: Mapping[str, Any],
    recipe: Recipe,
    config: Any,
    workload: Workload,
    device: Device,
    **options: Any,
) -> tuple[list[Forecast], dict[str, str]]:
    """A forecast for each method, and why there is none for the others."""
    made, refused = [], {}
    for name, method in methods.items():
        try:
            made.append(forecast(recipe, config, workload, device, method=method, **options))
        except (ModelError, ConfigError) as error:
            refused[name] = str(error)
    return made, refused


def _stored_item_bytes(config: Any) -> int:
    dtype = getattr(config, "dtype", None)
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype.removeprefix("torch."), None)
    return dtype.itemsize if isinstance(dtype, torch.dtype) else 4


def _advice(made: Forecast, recipe: Recipe, workload: Workload) -> list[str]:
    """What would make it fit, the cheapest first."""
    memory, room = made.memory, USABLE * made.device.memory_bytes
    moving = memory.activations + memory.loss
    still = memory.training - moving
    said = []
    if still < room and moving:
        budget = int(workload.heaviest_nodes * (room - still) / moving)
        longest = recipe.data.max_length
        if budget >= longest:
            said.append(f"train.tokens_per_microbatch={budget // 64 * 64 or budget}")
        elif not recipe.train.gradient_checkpointing:
            said.append("train.gradient_checkpointing=true")
        said.append("a smaller data.max_length") if budget < longest else None
    elif made.method in WHOLE_WEIGHTS:
        said.append("method=lora")
    if still >= room:
        said.append("a smaller model, a larger device, or zero3/fsdp over several")
    return said
