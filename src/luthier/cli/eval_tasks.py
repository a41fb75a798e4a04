"""What `luthier eval` does with one task: read it, put it to a model, show what came out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli.common import console

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.evaluation.runner import EvalResult
    from luthier.evaluation.tasks.definition import Task
    from luthier.evaluation.tasks.scores import GraderScores
    from luthier.models.load import LoadedModel


def read(path: Path) -> "Task":
    """A task file."""
    from luthier.evaluation.tasks.definition import load_task

    return load_task(path)


def of_items(path: Path) -> "Task":
    """Items without a task: each names its own grader, and there are no figures beside the accuracy."""
    from luthier.data.places import resolve_file
    from luthier.evaluation.task import load_items
    from luthier.evaluation.tasks.definition import Generation, Task

    items = load_items(resolve_file(path, "test"))
    return Task(path.stem, items, (), "generate", Generation())


def ask(
    loaded: "LoadedModel",
    ref: str,
    task: "Task",
    system: str | None,
    max_new_tokens: int | None,
    batch_size: int,
) -> "tuple[EvalResult, tuple[GraderScores, ...]]":
    """Put every item to the model, with a progress bar on stderr; the command line's settings come first."""
    from rich.progress import Progress

    from luthier.errors import ConfigError
    from luthier.evaluation.answerer import ModelAnswerer
    from luthier.evaluation.graders import GRADERS
    from luthier.evaluation.runner import evaluate
    from luthier.evaluation.tasks.likelihood import ModelScorer, by_likelihood
    from luthier.evaluation.tasks.scores import score

    if max_new_tokens is not None and task.ask == "likelihood":
        raise ConfigError(
            f"--max-new-tokens has no effect on {task.name}, whose choices are scored; remove it"
        )
    with Progress(console=console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"{ref}: {task.name}", total=len(task.items))
        result = evaluate(
            ModelAnswerer(loaded, name=ref),
            task.items,
            system_prompt=system if system is not None else task.generation.system,
            max_new_tokens=max_new_tokens or task.generation.max_new_tokens,
            batch_size=batch_size,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
            graders=task.graders_by_name or GRADERS,
            asking=by_likelihood(ModelScorer(loaded)) if task.ask == "likelihood" else None,
        )
    return result, score(task.items, task.graders, result)


def summary(
    result: "EvalResult", task: "Task", scores: "tuple[GraderScores, ...]", answers: Path
) -> dict[str, Any]:
    """The result's summary, and the figures of the task's graders."""
    return {
        **result.summary(),
        "label": result.label,
        "task": task.name,
        "graders": [one.to_dict() for one in scores],
        "answers": str(answers),
    }


def table(summaries: list[dict[str, Any]], task: "Task") -> "Table":
    """One column per model; accuracy first, then what each grader says."""
    from rich.table import Table

    from luthier.evaluation.stats import wilson_interval

    shown = Table(title=f"{task.name}: {len(task.items)} items", title_justify="left")
    shown.add_column("")
    for entry in summaries:
        shown.add_column(entry["label"], overflow="fold")
    rows: dict[str, list[str]] = {"right": [], "accuracy (95%)": []}
    for entry in summaries:
        graded = entry["num_passed"] + entry["num_failed"]
        interval = wilson_interval(entry["num_passed"], graded)
        rows["right"].append(f"{entry['num_passed']}/{graded}")
        rows["accuracy (95%)"].append(f"{entry['accuracy']:.1%} ({interval.low:.1%} to {interval.high:.1%})")
        for grader in entry["graders"]:
            for figure in grader["figures"]:
                low, high = figure["interval"]["low"], figure["interval"]["high"]
                cell = f"{figure['value']:.3f} ({low:.3f} to {high:.3f})"
                rows.setdefault(f"{grader['grader']}: {figure['name']}", []).append(cell)
    for name, cells in rows.items():
        shown.add_row(name, *cells)
    return shown
