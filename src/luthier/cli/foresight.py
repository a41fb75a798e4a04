"""Before the first step: the forecast of a run, a warning where it exceeds the memory that is there, who else is
told.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from luthier.registry.runs import Run
    from luthier.training.forecast import Forecast
    from luthier.training.plan import Plan
    from luthier.training.tracking import Tracker


def foresee(plan: "Plan", run: "Run", screen: "Console") -> "Forecast | None":
    """Forecast the run on its device and keep it in its folder; None where the architecture gives none.

    Never stops a run: a forecast may be wrong.
    """
    from luthier.errors import LuthierError
    from luthier.files import write_json_atomic
    from luthier.training.forecast import config_of, forecast
    from luthier.training.forecast.devices import this_device
    from luthier.training.forecast.workload import workload_of
    from luthier.training.progress import format_bytes

    try:
        workload = workload_of(plan.recipe, plan.train_rows, plan.validation_rows, plan.num_steps)
        config = config_of(plan.recipe, len(plan.tokenizer))
        made = forecast(plan.recipe, config, workload, this_device(str(plan.device)))
    except LuthierError as error:
        screen.print(f"no forecast: {error}", style="dim", markup=False, soft_wrap=True)
        return None
    write_json_atomic(run.folder / "forecast.json", made.to_dict())
    room = format_bytes(made.device.memory_bytes)
    if not made.fits:
        advice = f"; it would fit with {'; or '.join(made.advice)}" if made.advice else ""
        screen.print(
            f"this run may not fit: forecast {format_bytes(made.memory.total)}, free here {room}{advice}",
            style="bold yellow",
            markup=False,
            soft_wrap=True,
        )
    return made


def remember_forecast(run: "Run", made: "Forecast | None") -> None:
    """Put the forecast beside what came, for `luthier plan` to state its error."""
    from luthier.training.forecast.history import remember

    last: dict[str, Any] | None = next(
        (event for event in reversed(run.read_metrics()) if event.get("event") == "step"), None
    )
    if made is None or last is None or not last["seconds"]:
        return
    speed = last["tokens"] / last["seconds"]
    remember(
        run.folder.parent,
        run.name,
        made.to_dict(),
        peak_memory_bytes=last["peak_memory_bytes"],
        tokens_per_second=speed,
    )


def extra_trackers(plan: "Plan", run: "Run", screen: "Console") -> "list[Tracker]":
    """The database of the workspace, and the trackers that the recipe names."""
    from luthier.training.run_index import IndexTracker
    from luthier.training.tracker_plugins import open_trackers

    return [IndexTracker(run, screen.print), *open_trackers(plan.recipe.train.trackers, run, screen.print)]
