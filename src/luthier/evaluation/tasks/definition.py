"""A task: items, graders and settings, read from a YAML file beside a JSONL file.

    items: intents.jsonl          # beside this file
    graders:                      # the first one decides; the others are reported
      - kind: classification
        labels: [card_arrival, card_lost]
    prompt: "Which intent? {question}"
    ask: generate                 # or likelihood: the likeliest of `choices`
    generation:
      max_new_tokens: 16
      system: Answer with one intent.

This file knows nothing of models and of how an answer comes to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from luthier.config import Config, build, read_yaml
from luthier.errors import ConfigError, EvaluationError
from luthier.evaluation.graders.families import Surroundings, make_grader
from luthier.evaluation.graders.grader import Grader
from luthier.evaluation.item import EvalItem
from luthier.evaluation.task import load_items, read_rows


class Generation(Config):
    """How answers are generated, always at temperature 0. `system` comes before an item's own system turn."""

    max_new_tokens: int = Field(default=64, ge=1)
    system: str | None = None


class TaskFile(Config):
    """The keys of the YAML file."""

    items: str
    graders: tuple[str | dict[str, Any], ...] = Field(min_length=1)
    name: str | None = None
    prompt: str | None = None
    ask: Literal["generate", "likelihood"] = "generate"
    generation: Generation = Generation()


@dataclass(frozen=True, slots=True)
class Task:
    """A task that is ready: its items are proved by all of its graders, the first of which decides."""

    name: str
    items: tuple[EvalItem, ...]
    graders: tuple[Grader, ...]
    ask: str
    generation: Generation

    @property
    def graders_by_name(self) -> Mapping[str, Grader]:
        return {grader.name: grader for grader in self.graders}


def load_task(path: Path | str, *, unsafe_execution: bool = False) -> Task:
    """Read a task and prove its items. Raises EvaluationError: what is wrong in which file, line and field.

    unsafe_execution: run code tasks where no wall holds on this machine; without it that is a SandboxError.
    """
    path = Path(path)
    try:
        file = build(TaskFile, read_yaml(path), where=str(path))
    except ConfigError as error:
        raise EvaluationError(str(error).replace("no such recipe", "no such task")) from error
    items_path = path.parent / file.items
    answers = [str(row["answer"]) for _, row in read_rows(items_path) if "answer" in row]
    around = Surroundings(path.parent, answers, unsafe_execution)
    try:
        graders = tuple(_grader(entry, around) for entry in file.graders)
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from error
    names = [grader.name for grader in graders]
    if len(set(names)) != len(names):
        raise EvaluationError(f"{path}: graders: expected each kind once, found {', '.join(names)}")
    _refuse_without_effect(path, file, names)
    items = load_items(items_path, graders=graders, prompt=file.prompt)
    return Task(file.name or path.stem, items, graders, file.ask, file.generation)


def _grader(entry: str | Mapping[str, Any], around: Surroundings) -> Grader:
    if isinstance(entry, str):
        return make_grader(entry, {}, around)
    if not isinstance(entry.get("kind"), str):
        raise EvaluationError(f"graders: expected a name, or 'kind' with settings, found {dict(entry)}")
    return make_grader(entry["kind"], {key: entry[key] for key in entry if key != "kind"}, around)


def _refuse_without_effect(path: Path, file: TaskFile, names: list[str]) -> None:
    if file.ask == "likelihood" and names[0] != "choice":
        raise EvaluationError(
            f"{path}: ask: likelihood scores 'choices', so its first grader is 'choice'; found {names[0]!r}"
        )
    if file.ask == "likelihood" and "max_new_tokens" in file.generation.model_fields_set:
        raise EvaluationError(
            f"{path}: generation.max_new_tokens has no effect where choices are scored; remove it"
        )
