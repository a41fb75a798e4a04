"""What `luthier eval` does with one task: read it, put it to a model, show what came out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli.common import console

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.chat.messages import Message
    from luthier.evaluation.answerers.opening import OpenedAnswerer
    from luthier.evaluation.baselines import Baseline
    from luthier.evaluation.compare import Pair
    from luthier.evaluation.noise import NoiseFloor
    from luthier.evaluation.runner import Asking, EvalResult, Kept
    from luthier.evaluation.speed import Price
    from luthier.evaluation.stats import PassAtK
    from luthier.evaluation.store import EvalStore
    from luthier.evaluation.tasks.definition import Task
    from luthier.evaluation.tasks.scores import GraderScores

_PASS_AT = (1, 5, 10, 100)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a task is put to a model. resume: None lets the kind of model decide. repeat: which asking of the same.

    baseline: examples and passages that are shown beside the system prompt.
    """

    system: str | None = None
    max_new_tokens: int | None = None
    batch_size: int = 32
    temperature: float = 0.0
    seed: int = 0
    repeat: int = 0
    resume: bool | None = None
    baseline: "Baseline | None" = None

    @property
    def few_shot(self) -> "tuple[Message, ...]":
        return self.baseline.few_shot if self.baseline is not None else ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one task and one model. `runs`: the first one counts; the others are repeats or samples."""

    runs: "list[EvalResult]"
    scores: "tuple[GraderScores, ...]"
    noise: "NoiseFloor | None"
    passes: "tuple[PassAtK, ...]"


def read(path: Path, *, unsafe_execution: bool = False) -> "Task":
    """A task file."""
    from luthier.evaluation.tasks.definition import load_task

    return load_task(path, unsafe_execution=unsafe_execution)


def of_items(path: Path) -> "Task":
    """Items without a task: each names its own grader, and there are no figures beside the accuracy."""
    from luthier.data.places import resolve_file
    from luthier.evaluation.task import load_items
    from luthier.evaluation.tasks.definition import Generation, Task

    items = load_items(resolve_file(path, "test"))
    return Task(path.stem, items, (), "generate", Generation())


def ask(
    answerer: "OpenedAnswerer", task: "Task", manner: Manner, store: "EvalStore | None" = None
) -> "EvalResult":
    """Put every item to the model, with a progress bar on stderr; the command line's settings come first."""
    from rich.progress import Progress

    from luthier.errors import ConfigError
    from luthier.evaluation.graders import GRADERS
    from luthier.evaluation.runner import evaluate

    if manner.max_new_tokens is not None and task.ask == "likelihood":
        raise ConfigError(
            f"--max-new-tokens has no effect on {task.name}, whose choices are scored; remove it"
        )
    max_new_tokens = manner.max_new_tokens or task.generation.max_new_tokens
    asking = _asking(answerer, task, manner, max_new_tokens)
    kept = _kept(answerer, task, manner, asking, max_new_tokens, store)
    with Progress(console=console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"{answerer.name}: {task.name}", total=len(task.items))
        return evaluate(
            answerer,
            task.items,
            system_prompt=manner.system,
            few_shot=manner.few_shot,
            prompt_variant=manner.baseline.name if manner.baseline is not None else None,
            max_new_tokens=max_new_tokens,
            batch_size=manner.batch_size,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
            graders=task.graders_by_name or GRADERS,
            asking=asking,
            kept=kept,
        )


def _asking(answerer: "OpenedAnswerer", task: "Task", manner: Manner, max_new_tokens: int) -> "Asking | None":
    from luthier.errors import ConfigError
    from luthier.evaluation.samples import by_sampling
    from luthier.evaluation.tasks.likelihood import by_likelihood

    if task.ask == "likelihood":
        if manner.baseline is not None and manner.baseline.lookup is not None:
            raise ConfigError(
                f"{task.name} scores choices; passages can only be shown where answers are generated"
            )
        if manner.temperature > 0:
            raise ConfigError(
                f"--temperature has no effect on {task.name}, whose choices are scored; remove it"
            )
        return by_likelihood(answerer.scorer())
    if manner.temperature > 0:
        return by_sampling(answerer, max_new_tokens, manner.temperature, manner.seed)
    return manner.baseline.asking(answerer, max_new_tokens) if manner.baseline is not None else None


def _kept(
    answerer: "OpenedAnswerer",
    task: "Task",
    manner: Manner,
    asking: "Asking | None",
    max_new_tokens: int,
    store: "EvalStore | None",
) -> "Kept | None":
    from luthier.evaluation.runner import EvalSettings
    from luthier.evaluation.store import Asked
    from luthier.evaluation.task import items_hash

    if store is None:
        return None
    settings = EvalSettings(max_new_tokens, manner.batch_size)
    if asking is not None:
        settings = EvalSettings(
            max_new_tokens, manner.batch_size, asking.decoding, asking.temperature, asking.seed
        )
    lookup = manner.baseline.lookup if manner.baseline is not None else None
    asked = Asked(
        answerer.identity(),
        items_hash(task.items),
        settings,
        manner.system,
        tuple(message.to_dict() for message in manner.few_shot),
        manner.repeat,
        {"passages": lookup.hash, "shown": manner.baseline.num_passages}
        if manner.baseline and lookup
        else {},
    )
    resume = not answerer.may_change if manner.resume is None else manner.resume
    kept = store.begin(
        asked, model_name=answerer.name, task=task.name, num_items=len(task.items), resume=resume
    )
    if kept.known:
        console(stderr=True).print(
            f"{answerer.name}: {len(kept.known)} of {len(task.items)} answers are there already "
            f"(evaluation {kept.number}; --no-resume asks again)",
            markup=False,
        )
    return kept


def outcome(task: "Task", runs: "list[EvalResult]") -> Outcome:
    """The figures of the first run, and what the others say: samples of it, or the noise."""
    from luthier.evaluation.noise import noise_floor
    from luthier.evaluation.samples import pass_at_k_of_results
    from luthier.evaluation.tasks.scores import score

    scores = score(task.items, task.graders, runs[0])
    if len(runs) == 1:
        return Outcome(runs, scores, None, ())
    if runs[0].settings.temperature == 0:
        return Outcome(runs, scores, noise_floor(runs), ())
    passes = tuple(pass_at_k_of_results(runs, k) for k in _PASS_AT if k <= len(runs))
    return Outcome(runs, scores, None, passes)


def summary(found: Outcome, task: "Task", answers: Path, price: "Price | None") -> dict[str, Any]:
    """The result's summary, and the figures of the task's graders."""
    from dataclasses import asdict

    from luthier.evaluation.speed import speed_of

    result = found.runs[0]
    speed = speed_of([item for run in found.runs for item in run.items])
    return {
        **result.summary(),
        "label": result.label,
        "task": task.name,
        "graders": [one.to_dict() for one in found.scores],
        "answers": str(answers),
        "cost": speed.cost(price) if price is not None else None,
        "noise": found.noise.to_dict() if found.noise is not None else None,
        "pass_at_k": [asdict(one) for one in found.passes],
    }


def table(summaries: list[dict[str, Any]], task: "Task", *, speed: bool = False) -> "Table":
    """One column per model; accuracy first, then what each grader says, then time and money."""
    from rich.table import Table

    shown = Table(title=f"{task.name}: {len(task.items)} items", title_justify="left")
    shown.add_column("")
    for entry in summaries:
        shown.add_column(entry["label"], overflow="fold")
    columns = [_cells(entry, speed) for entry in summaries]
    for name in dict.fromkeys(name for column in columns for name in column):
        shown.add_row(name, *(column.get(name, "") for column in columns))
    return shown


def _cells(entry: dict[str, Any], speed: bool) -> dict[str, str]:
    from luthier.evaluation.stats import wilson_interval

    graded = entry["num_passed"] + entry["num_failed"]
    interval = wilson_interval(entry["num_passed"], graded)
    cells = {
        "right": f"{entry['num_passed']}/{graded}",
        "accuracy (95%)": f"{entry['accuracy']:.1%} ({interval.low:.1%} to {interval.high:.1%})",
    }
    for grader in entry["graders"]:
        for figure in grader["figures"]:
            cells[f"{grader['grader']}: {figure['name']}"] = _with_interval(figure["value"], figure)
        for name, counts in grader["tables"].items():
            if counts and all(isinstance(count, int) for count in counts.values()):
                cells[f"{grader['grader']}: {name}"] = ", ".join(
                    f"{key} {count}" for key, count in counts.items()
                )
    for one in entry["pass_at_k"]:
        cells[f"pass@{one['k']}"] = _with_interval(one["estimate"], one)
    if entry["noise"]:
        cells["verdicts that change by themselves"] = f"{entry['noise']['verdicts_changed']:.1%}"
    if cut := entry["terminations"].get("length"):
        cells["cut at the limit of tokens"] = f"{cut}"
    if speed:
        cells |= _speed_cells(entry["speed"])
    if entry["cost"] is not None:
        cells["cost"] = f"{entry['cost']:.6g}"
    return cells


def _with_interval(value: float, found: dict[str, Any]) -> str:
    return f"{value:.3f} ({found['interval']['low']:.3f} to {found['interval']['high']:.3f})"


def _speed_cells(speed: dict[str, Any]) -> dict[str, str]:
    def shown(key: str, unit: str) -> str:
        return "not known" if speed[key] is None else f"{speed[key]:.3g}{unit}"

    return {
        "latency p50": shown("p50_latency_seconds", " s"),
        "latency p95": shown("p95_latency_seconds", " s"),
        "tokens per second": shown("tokens_per_second", ""),
    }


def side_by_side(
    task: "Task",
    results: "list[EvalResult]",
    scored: "list[tuple[GraderScores, ...]]",
    pairs: "tuple[Pair, ...]",
) -> "Table":
    """One row per way to ask: accuracy, the first grader's next figure, and the trained model against it."""
    from rich.table import Table
    from rich.text import Text

    from luthier.evaluation.stats import wilson_interval

    figures = [
        next((figure for first in one[:1] for figure in first.figures if figure.name != "accuracy"), None)
        for one in scored
    ]
    named = [figure.name for figure in figures if figure is not None][:1]
    shown = Table(title=f"{task.name}: {len(task.items)} items", title_justify="left")
    for name in ("", "right", "accuracy (95%)", *named, "trained won/lost", "p"):
        shown.add_column(name, overflow="fold")
    for place, result in enumerate(results):
        tally, figure = result.tally, figures[place]
        interval = wilson_interval(tally.num_passed, tally.num_graded)
        pair = pairs[place] if place < len(pairs) else None
        shown.add_row(
            Text(result.label),
            f"{tally.num_passed}/{tally.num_graded}",
            f"{tally.accuracy:.1%} ({interval.low:.1%} to {interval.high:.1%})",
            *(f"{figure.value:.3f}" if figure is not None else "" for _ in named),
            f"{pair.wins}/{pair.losses}" if pair is not None else "",
            f"{pair.p_value:.2g}" if pair is not None else "",
        )
    return shown
