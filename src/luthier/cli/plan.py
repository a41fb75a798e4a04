"""`luthier plan`: what a run would take in memory, time and money, before a step is paid for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, print_json, quiet_libraries
from luthier.cli.train import RecipeAndOverrides, named_options, recipe_layers

if TYPE_CHECKING:
    from rich.console import Console

    from luthier.training.forecast import Forecast
    from luthier.training.forecast.duration import Duration
    from luthier.training.forecast.probe import Measured
    from luthier.training.forecast.workload import Workload
    from luthier.training.recipe import Recipe

_COMPARED = ("full", "top_layers", "lora", "dora", "qlora", "ia3")
_HERE = ("here", "cpu")
_BUSY = 0.3  # of the cores: what is measured in milliseconds is then disturbed
_PARTS = ("weights", "adapter", "gradients", "optimizer", "activations", "loss", "overhead")


def plan(
    recipe_and_overrides: RecipeAndOverrides = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Training rows; without any, rows of data.max_length are assumed."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Embedded name, folder or hub id; a config.json is enough.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Forecast this method alone; without it several are compared.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="here, cpu, or t4, l4, a100-80, h100, ...; may be repeated.")
    ] = None,
    num_devices: Annotated[int, typer.Option(min=1, help="How many of them share the work.")] = 1,
    strategy: Annotated[
        str, typer.Option(help="How they share it: ddp, zero1, zero2, zero3 or fsdp.")
    ] = "fsdp",
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="Of one device, in any money.")] = None,
    measure: Annotated[
        bool | None,
        typer.Option(help="Run two steps of the heaviest micro-batch. Default: where a small model is here."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="The folder that holds runs.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Forecast memory, time and cost, by method and device, and say what to change where it does not fit."""
    from luthier.errors import ConfigError, ModelError
    from luthier.models.hardware import busy_share
    from luthier.training.forecast.history import track_record

    quiet_libraries()
    strategy_word = _strategy(strategy, num_devices)
    devices = device or ["here"]
    asked = _Asked(recipe_and_overrides or [], data, model, method, devices)
    if measure and not any(one in _HERE for one in devices):
        raise ConfigError("--measure runs the model on this machine: name --device here")
    busy = busy_share() if any(one in _HERE for one in devices) else None
    with console(stderr=True).status("reading the rows and tracing the model"):
        made, refused, workload = asked.forecasts(
            devices, strategy=strategy_word, num_devices=num_devices, price_per_hour=price_per_hour
        )
    measured = _measured(asked, made, devices, measure)
    if not made and measured is None:
        raise ModelError("; ".join(f"{name}: no forecast: {why}" for name, why in refused.items()))
    record = track_record(runs)
    if json:
        print_json(_as_json(made, refused, workload, measured, record.sentence) | {"busy": busy})
        return
    screen = console()
    _print_workload(screen, workload)
    if made:
        _print_table(screen, made)
    for name, why in refused.items():
        screen.print(f"{name}: no forecast: {why}", style="dim", markup=False, soft_wrap=True)
    _print_measured(screen, made, measured, asked.recipe.method.name, workload)
    if busy is not None and busy > _BUSY:
        screen.print(
            f"other jobs use {busy:.0%} of this machine now: its times are rough, the measured one too",
            style="yellow",
        )
    screen.print(record.sentence, style="dim")


class _Asked:
    """What the command line asks for, resolved: the recipe, the config, and whether its method alone is wanted."""

    def __init__(
        self,
        arguments: list[str],
        data: list[str] | None,
        model: str | None,
        method: str | None,
        devices: Sequence[str],
    ) -> None:
        options = named_options(model, method)
        if data:
            options["data"] = {"train": data}
        if "cpu" in devices and "here" not in devices:
            options["train"] = {"device": "cpu"}
        self.assumed = not data and not _names_data(arguments)
        if self.assumed:
            options["data"] = {"train": ["(rows of data.max_length)"]}
        self.layers, stem = recipe_layers(arguments, options)
        self.stem = "plan" if self.assumed else stem
        self.method = method
        self.recipe: Recipe
        self.is_recipe = any("=" not in one for one in arguments)

    def forecasts(
        self, devices: Sequence[str], **options: Any
    ) -> "tuple[list[Forecast], dict[str, str], Workload]":
        from luthier.models.method_table import METHODS
        from luthier.training.forecast import compare_methods, config_of, methods_to_compare
        from luthier.training.forecast.devices import named_device, this_device

        own = {"here": self._device(), "cpu": "cpu"}
        found = [this_device(own[name]) if name in own else named_device(name) for name in devices]
        workload, vocab_size = self._workload()
        config = config_of(self.recipe, vocab_size)
        alone = self.method is not None or self.is_recipe or self.recipe.model.new is not None
        names = [self.recipe.method.name] if alone else [name for name in _COMPARED if name in METHODS]
        methods = methods_to_compare(names, self.recipe)
        made: list[Forecast] = []
        refused: dict[str, str] = {}
        for device in found:
            some, none = compare_methods(methods, self.recipe, config, workload, device, **options)
            made += some
            refused |= none
        return made, refused, workload

    def _device(self) -> str:
        from luthier.config import merge_layers

        values = merge_layers(self.layers)[0]
        return str((values.get("train") or {}).get("device", "auto"))

    def _workload(self) -> "tuple[Workload, int | None]":
        from luthier.training.forecast.workload import ASSUMED_ROWS, assumed_rows, workload_of
        from luthier.training.plan import plan_job, resolve_for_model

        if not self.assumed:
            plan = plan_job(self.layers, where=self.stem)
            self.recipe = plan.recipe
            made = workload_of(plan.recipe, plan.train_rows, plan.validation_rows, plan.num_steps)
            return made, len(plan.tokenizer)
        self.recipe = resolve_for_model(self.layers, where=self.stem)
        train = self.recipe.train
        num_steps = max(1, round(ASSUMED_ROWS / train.batch_size * train.epochs))
        num_steps = min(num_steps, train.max_steps or num_steps)
        return workload_of(self.recipe, assumed_rows(self.recipe), None, num_steps, assumed=True), None


def _names_data(arguments: list[str]) -> bool:
    """Whether the recipe or an override says which rows to train on."""
    from luthier.config import Layer, merge_layers, parse_overrides, read_layers

    layers: list[Layer] = []
    for argument in arguments:
        if "=" not in argument:
            layers += read_layers(Path(argument))
    layers.append(Layer("", parse_overrides(a for a in arguments if "=" in a)))
    data = merge_layers(layers)[0].get("data")
    return bool(data.get("train")) if isinstance(data, Mapping) else bool(data)


def _strategy(strategy: str, num_devices: int) -> Any:
    from luthier.errors import ConfigError
    from luthier.training.forecast.memory import STRATEGIES

    known = [one for one in STRATEGIES if one != "none"]
    if strategy not in known:
        raise ConfigError(f"strategy: expected {', '.join(known)}; got {strategy!r}")
    return strategy if num_devices > 1 else "none"


def _measured(
    asked: _Asked, made: "list[Forecast]", devices: Sequence[str], wanted: bool | None
) -> "Measured | None":
    """The probe, where it was asked for, or where the model is here, small, and forecast to fit."""
    from luthier.errors import ConfigError
    from luthier.training.forecast.probe import PROBED_PARAMETERS, probe

    own = next((one for one in made if one.method == asked.recipe.method.name), None)
    name = asked.recipe.model.name
    local = name is None or not _is_remote(name)
    on_this = any(one in _HERE for one in devices)
    if wanted is None:
        here = on_this and own is not None and own.num_devices == 1
        small = own is not None and own.all_parameters <= PROBED_PARAMETERS
        fits = own is not None and own.fits and not _lacks_weights(name)
        wanted = local and here and small and fits and not _scores(asked.recipe)
    if not wanted:
        return None
    if not local:
        raise ConfigError(
            f"--measure runs the model, and {name} is not here: name an embedded one or a folder"
        )
    if _scores(asked.recipe):
        raise ConfigError(
            "--measure takes two steps of language models alone, and objective=reward scores answers"
        )
    with console(stderr=True).status("measuring two steps of the heaviest micro-batch"):
        return probe(asked.layers, assumed=asked.recipe if asked.assumed else None)


def _scores(recipe: "Recipe") -> bool:
    from luthier.training.objectives import make_objective

    return make_objective(recipe.objective).scores


def _is_remote(name: str) -> bool:
    from luthier.models.embedded import EMBEDDED

    return name not in EMBEDDED and not Path(name).expanduser().is_dir()


def _lacks_weights(name: str | None) -> bool:
    from luthier.models.embedded import EMBEDDED

    folder = Path(name or "").expanduser()
    return name is not None and name not in EMBEDDED and not any(folder.glob("*.safetensors"))


def _as_json(
    made: "list[Forecast]",
    refused: Mapping[str, str],
    workload: "Workload",
    measured: "Measured | None",
    record: str,
) -> dict[str, Any]:
    return {
        "forecasts": [one.to_dict() for one in made],
        "no_forecast": dict(refused),
        "workload": _workload_dict(workload),
        "measured": measured.to_dict() | {"time": _at_that_speed(workload, measured).to_dict()}
        if measured
        else None,
        "track_record": record,
    }


def _workload_dict(workload: "Workload") -> dict[str, Any]:
    return {
        "assumed": workload.assumed,
        "rows": workload.num_rows,
        "tokens": workload.num_tokens,
        "steps": workload.num_steps,
        "tokens_per_step": workload.tokens_per_step,
        "computed_per_step": workload.nodes_per_step,
        "heaviest_microbatch": workload.heaviest_nodes,
        "steps_looked_at": workload.num_looked_at,
    }


def _print_workload(screen: "Console", workload: "Workload") -> None:
    if workload.assumed:
        screen.print(
            "No rows were given: every row is taken to be data.max_length long, half of it supervised, sharing "
            "nothing, 1,000 rows in all. Give --data for your own.",
            style="yellow",
        )
    shared = workload.tokens_per_step / workload.nodes_per_step
    screen.print(
        f"{workload.num_steps:,} steps of {workload.tokens_per_step:,.0f} tokens, "
        f"{workload.nodes_per_step:,.0f} of them computed ({shared:.2f}x); the heaviest micro-batch: "
        f"{workload.heaviest_nodes:,} (of {workload.num_looked_at} steps looked at)"
    )


def _print_table(screen: "Console", made: "list[Forecast]") -> None:
    from rich.table import Table

    from luthier.training.progress import format_bytes, format_seconds

    for device in dict.fromkeys(one.device for one in made):
        some = [one for one in made if one.device is device]
        first = some[0]
        shared = f", {first.num_devices} of them, {first.strategy}" if first.num_devices > 1 else ""
        title = f"{device.name}: {format_bytes(device.memory_bytes)}, {first.dtype}{shared}"
        table = Table(title=title, box=None, title_justify="left", pad_edge=False)
        for column in ("method", "memory", "", "tokens/s", "run", "cost"):
            table.add_column(column, justify="left" if column in ("method", "") else "right", no_wrap=True)
        for one in some:
            cost = "" if one.duration.cost is None else f"{one.duration.cost:,.2f}"
            word = "[green]fits[/green]" if one.fits else "[red]too large[/red]"
            speed, seconds = f"{one.duration.tokens_per_second:,.0f}", one.duration.total_seconds
            table.add_row(
                one.method, format_bytes(one.memory.total), word, speed, format_seconds(seconds), cost
            )
        screen.print(table)
        for one in some:
            parts = ", ".join(f"{part} {format_bytes(getattr(one.memory, part))}" for part in _PARTS)
            screen.print(f"{one.method}: {parts}", style="dim", soft_wrap=True)
        for one in some:
            if one.advice:
                screen.print(f"{one.method} would fit with: {'; or '.join(one.advice)}", markup=False)
            if one.trunk_bytes:
                screen.print(
                    f"{one.method}: frozen layers kept on the disk would be {format_bytes(one.trunk_bytes)}"
                )


def _at_that_speed(workload: "Workload", measured: "Measured") -> "Duration":
    from luthier.training.forecast.duration import measured_duration

    return measured_duration(workload, measured.nodes_per_second, measured.trunk_nodes_per_second)


def _print_measured(
    screen: "Console",
    made: "list[Forecast]",
    measured: "Measured | None",
    method: str,
    workload: "Workload",
) -> None:
    from luthier.training.progress import format_bytes, format_seconds

    own = next((one for one in made if one.method == method), None)
    if measured is None:
        return
    off = f" (forecast {own.memory.total / measured.peak_memory_bytes - 1:+.0%})" if own else ""
    screen.print(
        f"measured here, {method}, two steps of the heaviest micro-batch: "
        f"{format_bytes(measured.peak_memory_bytes)}{off}, {measured.nodes_per_second:,.0f} computed tokens/s; "
        f"at that speed the run takes {format_seconds(_at_that_speed(workload, measured).total_seconds)}",
        soft_wrap=True,
    )
