"""What costs no training, beside each trained model of `luthier eval`: planned before anybody is asked, so that the
number of questions can be said first.

Knows nothing of tables. Imports nothing heavy at its top.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli.eval_ways import Materials, Origin, ask_ways, origin

if TYPE_CHECKING:
    from luthier.cli.eval_models import Opening
    from luthier.cli.eval_tasks import Manner
    from luthier.evaluation.baselines import Baseline, Worth
    from luthier.evaluation.runner import EvalResult
    from luthier.evaluation.store import EvalStore
    from luthier.evaluation.tasks.definition import Task


@dataclass(frozen=True)
class Planned:
    """How the base of a model is asked, by the task's name. notes: what is left out, and why, by the same names."""

    base: str | None
    ways: "Mapping[str, list[Baseline]]"
    notes: Mapping[str, list[str]]


@dataclass(frozen=True)
class Beside:
    """What the base reached without training, the model last; and whether the training paid."""

    base: str | None
    results: "list[EvalResult]"
    verdict: "Worth | None"
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "results": [{**result.summary(), "label": result.label} for result in self.results[:-1]],
            "verdict": self.verdict.to_dict() if self.verdict is not None else None,
            "notes": self.notes,
        }


def plans(
    models: Sequence[str], tasks: "Sequence[Task]", given: str | None, temperature: float
) -> dict[str, Planned]:
    """The baselines of each model that is no base itself. given: the system prompt of the command line."""
    found = {model: _plan(model, tasks, given, temperature) for model in models}
    return {model: one for model, one in found.items() if one is not None}


def _plan(model: str, tasks: "Sequence[Task]", given: str | None, temperature: float) -> Planned | None:
    from luthier.errors import LuthierError
    from luthier.models.embedded import EMBEDDED

    came_from = Origin(None) if model in EMBEDDED else origin(model)
    if model in EMBEDDED or (came_from.base is None and not _may_be_trained(model)):
        return None
    why = ""
    if came_from.base is None:
        why = f"no baselines beside {model}: its base is not known (luthier eval baselines --base NAME)"
    elif temperature > 0:
        why = f"no baselines beside {model}: the verdict on them is one of temperature 0"
    if why:
        return Planned(None, {}, {task.name: [why] for task in tasks})
    try:
        materials = Materials.read(came_from.train, no_train=came_from.no_train)
    except LuthierError as error:
        materials = Materials([], None, str(error))
    planned = {task.name: _ways(task, materials, came_from, given) for task in tasks}
    ways = {name: found for name, (found, _) in planned.items()}
    return Planned(came_from.base, ways, {name: notes for name, (_, notes) in planned.items()})


def _may_be_trained(model: str) -> bool:
    """Whether a model without a known base could be trained all the same: served, a file, a folder."""
    from luthier.models.endpoint import is_endpoint

    return is_endpoint(model) or model.lower().endswith(".gguf") or Path(model).exists()


def _ways(
    task: "Task", materials: Materials, came_from: Origin, given: str | None
) -> "tuple[list[Baseline], list[str]]":
    from luthier.errors import EvaluationError

    prompts: list[tuple[str, str]] = []
    for name, text in (("system prompt", given), ("the specialist's prompt", came_from.system_prompt)):
        if text and text not in (task.generation.system, *(known for _, known in prompts)):
            prompts.append((name, text))
    try:
        return materials.ways(task, prompts)
    except EvaluationError as error:
        ways, notes = materials.ways(task, prompts, shots=0)
        return ways, [f"no few-shot baseline: {error}", *notes]


def ask(
    planned: Planned,
    task: "Task",
    trained: "EvalResult",
    manner: "Manner",
    opening: "Opening",
    store: "EvalStore",
    out: Path,
) -> Beside:
    """Ask the base in every planned way, and hold the trained model's answers against all of them."""
    from luthier.cli.eval_models import opened
    from luthier.errors import ModelError
    from luthier.evaluation.baselines import worth

    notes = list(planned.notes[task.name])
    if planned.base is None:
        return Beside(None, [trained], None, notes)
    try:
        with opened(planned.base, opening) as answerer:
            results, unfit = ask_ways(answerer, task, planned.ways[task.name], manner, store, out)
    except ModelError as error:
        return Beside(planned.base, [trained], None, [f"no baselines of {planned.base}: {error}"])
    return Beside(planned.base, [*results, trained], worth(results, trained), notes + unfit)


def questions(tasks: "Sequence[Task]", num_models: int, plans: "Sequence[Planned]", times: int) -> str:
    """How many questions will be asked at most, with the baselines and without. times: samples or repeats of each."""
    own = sum(len(task.items) for task in tasks) * num_models * times
    extra = sum(len(task.items) * len(one.ways.get(task.name, ())) for one in plans for task in tasks)
    names = ", ".join(dict.fromkeys(way.name for one in plans for ways in one.ways.values() for way in ways))
    bases = ", ".join(dict.fromkeys(one.base for one in plans if one.base is not None))
    return f"at most {own + extra} questions: {own} here, {extra} to {bases} ({names}; --no-baselines leaves them out)"
