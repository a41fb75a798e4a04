"""`luthier train --smoke`: a small run first, and whether the whole is worth starting."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from luthier.cli.common import console, print_json

if TYPE_CHECKING:
    from luthier.config import Layer
    from luthier.registry.runs import Run
    from luthier.training.plan import Plan
    from luthier.training.recipe import Resolved
    from luthier.training.smoke import SmokeVerdict


def smoke_run(
    plan: "Plan", create: "Callable[[Plan, list[Layer]], Run]", json: bool, layers: "list[Layer]"
) -> None:
    """Train a tenth of the plan in a run of its own (`create` makes its folder), judge it, leave with its exit code."""
    from luthier.files import write_json_atomic
    from luthier.training.smoke import EXIT_CODES, smoke_layers, smoke_steps

    num_steps = smoke_steps(plan.num_steps)
    small = replace(plan, resolved=_shortened(plan, num_steps), num_steps=num_steps)
    run = create(small, smoke_layers(layers, plan.num_steps))
    verdict = _train_and_judge(plan, small, run)
    write_json_atomic(run.folder / "smoke.json", verdict.to_dict())
    if json:
        print_json({"run": str(run.folder), **verdict.to_dict()})
    else:
        screen = console()
        screen.print(f"\n[bold]{verdict.word.value}[/bold]")
        for reason in verdict.reasons:
            screen.print(f"  {reason}", markup=False, soft_wrap=True)
    raise typer.Exit(EXIT_CODES[verdict.word])


def _shortened(plan: "Plan", num_steps: int) -> "Resolved":
    from luthier.training.recipe import Resolved

    recipe = plan.recipe
    train = recipe.train.model_copy(update={"max_steps": num_steps})
    sources = {**plan.resolved.sources, "train.max_steps": "smoke"}
    return Resolved(recipe.model_copy(update={"train": train}), sources)


def _train_and_judge(plan: "Plan", small: "Plan", run: "Run") -> "SmokeVerdict":
    from luthier.cli.foresight import extra_trackers, foresee
    from luthier.errors import Interrupted, TrainingError
    from luthier.models.hardware import memory_bytes
    from luthier.pipeline.evaluators import task_evaluators
    from luthier.training.job import run_job
    from luthier.training.progress import Progress
    from luthier.training.smoke import judge, paired_fall
    from luthier.training.smoke_losses import RowLosses
    from luthier.training.tracking import MetricsFile, Trackers

    screen = console(stderr=True)
    foresee(plan, run, screen)
    losses = RowLosses(small)
    asked = task_evaluators(small)
    tracker = Trackers([MetricsFile(run), *extra_trackers(small, run, screen), Progress(screen)])
    try:
        result = run_job(
            small,
            run,
            tracker=tracker,
            evaluators=lambda model: [*losses.evaluators(model), *(asked(model) if asked else ())],
        )
    except TrainingError as error:
        screen.print(str(error), style="yellow", markup=False, soft_wrap=True)
    else:
        if result.loop.outcome == "interrupted":
            raise Interrupted(f"interrupted; the smoke run is in {run.folder}")
    limit = memory_bytes()[0] if small.device.type == "cpu" else 0
    return judge(
        run,
        paired_fall(losses.before, losses.after) if losses.after else None,
        paired_fall(losses.other, losses.after[: len(losses.other)]) if losses.other else None,
        full_steps=plan.num_steps,
        memory_limit_bytes=limit,
    )
