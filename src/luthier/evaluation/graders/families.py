"""The kinds of graders that a task may name, with their settings.

Another family joins by an entry in `FAMILIES`: its settings, and a function that builds a `Grader` from them.
This file knows nothing of items, models and answers.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from luthier.config import Config, build
from luthier.errors import ConfigError, EvaluationError
from luthier.evaluation.graders.choice import CHOICE
from luthier.evaluation.graders.code import code
from luthier.evaluation.graders.custom import custom
from luthier.evaluation.graders.extraction import EXTRACTION
from luthier.evaluation.graders.grader import Grader
from luthier.evaluation.graders.json_answer import json_answer
from luthier.evaluation.graders.labels import classification
from luthier.evaluation.graders.numeric import NUMERIC, RELATIVE_TOLERANCE, numeric_within
from luthier.evaluation.graders.refusal import PHRASES, refusal
from luthier.evaluation.graders.retrieval import ABSTENTIONS, retrieval
from luthier.evaluation.graders.rules import RULES
from luthier.evaluation.graders.similarity import similarity
from luthier.evaluation.graders.text import CONTAINS, EXACT
from luthier.evaluation.graders.tool_calls import TOOL_CALLS


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a family may look at beside its settings: the task's folder, and the gold answers of its items.

    unsafe_execution: whether answers may be run where no wall holds; the person says so, never a task.
    """

    folder: Path
    answers: Sequence[str]
    unsafe_execution: bool = False


class NoSettings(Config):
    """A family without settings."""


class NumericSettings(Config):
    """How far the number may be off: |answer - gold| <= max(absolute, relative x |gold|)."""

    relative: float = Field(default=float(RELATIVE_TOLERANCE), ge=0)
    absolute: float = Field(default=0.0, ge=0)


class ClassificationSettings(Config):
    """`labels`: all that there are; without them, those of the items' gold answers."""

    labels: tuple[str, ...] = ()


class JsonSettings(Config):
    """`schema_file`: a JSON Schema beside the task."""

    schema_file: str | None = None


class SimilaritySettings(Config):
    """What an item's score is."""

    measure: Literal["chrf", "bleu", "rouge_l"] = "chrf"


class RetrievalSettings(Config):
    """The words that say "it is not there"."""

    abstentions: tuple[str, ...] = ABSTENTIONS


class RefusalSettings(Config):
    """How refusals begin."""

    phrases: tuple[str, ...] = PHRASES


class CustomSettings(Config):
    """A Python file beside the task, the function in it, and the keys of a row that it reads."""

    file: str
    function: str = "grade"
    keys: tuple[str, ...] = ()


class CodeSettings(Config):
    """What one answer's program may use."""

    timeout_seconds: float = Field(default=10.0, gt=0)
    max_memory_mb: int = Field(default=512, ge=16)


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of grader: the settings that it takes and what it makes of them."""

    settings: type[Config]
    make: Callable[[Any, Surroundings], Grader]


def _numeric(settings: NumericSettings, around: Surroundings) -> Grader:
    relative = Fraction(settings.relative).limit_denominator(10**12)
    grade = numeric_within(relative, Fraction(settings.absolute).limit_denominator(10**12))
    return Grader("numeric", grade, NUMERIC.golds, NUMERIC.wrongs)


def _classification(settings: ClassificationSettings, around: Surroundings) -> Grader:
    return classification(settings.labels or sorted(set(around.answers)))


def _json(settings: JsonSettings, around: Surroundings) -> Grader:
    if settings.schema_file is None:
        return json_answer()
    path = around.folder / settings.schema_file
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path}: cannot read the schema: {error.strerror}") from error
    except ValueError as error:
        raise EvaluationError(f"{path}: the schema is not JSON: {error}") from error
    if not isinstance(schema, dict | bool):
        raise EvaluationError(f"{path}: schema: expected an object, found {type(schema).__name__}")
    try:
        return json_answer(schema)
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from error


def _code(settings: CodeSettings, around: Surroundings) -> Grader:
    return code(settings.timeout_seconds, settings.max_memory_mb * 2**20, unsafe=around.unsafe_execution)


def _ready(grader: Grader) -> Family:
    return Family(NoSettings, lambda settings, around: grader)


FAMILIES: dict[str, Family] = {
    "exact": _ready(EXACT),
    "contains": _ready(CONTAINS),
    "numeric": Family(NumericSettings, _numeric),
    "choice": _ready(CHOICE),
    "classification": Family(ClassificationSettings, _classification),
    "extraction": _ready(EXTRACTION),
    "json": Family(JsonSettings, _json),
    "similarity": Family(SimilaritySettings, lambda settings, around: similarity(settings.measure)),
    "retrieval": Family(RetrievalSettings, lambda settings, around: retrieval(settings.abstentions)),
    "rules": _ready(RULES),
    "tool_calls": _ready(TOOL_CALLS),
    "refusal": Family(RefusalSettings, lambda settings, around: refusal(settings.phrases)),
    "code": Family(CodeSettings, _code),
    "custom": Family(
        CustomSettings,
        lambda settings, around: custom(around.folder / settings.file, settings.function, settings.keys),
    ),
}


def make_grader(kind: str, settings: Mapping[str, Any], around: Surroundings) -> Grader:
    """The grader of this kind. Raises EvaluationError on an unknown kind or setting, naming the nearest."""
    if kind not in FAMILIES:
        near = difflib.get_close_matches(kind, FAMILIES, n=1)
        start = f"did you mean '{near[0]}'? " if near else ""
        raise EvaluationError(f"no kind of grader is called {kind!r}; {start}known: {', '.join(FAMILIES)}")
    family = FAMILIES[kind]
    try:
        chosen = build(family.settings, settings, where=f"grader '{kind}'")
    except ConfigError as error:
        raise EvaluationError(str(error)) from error
    return family.make(chosen, around)
