"""Rubrics: what is asked of an answer, each criterion with anchors on a scale from 1 to 5.

A rubric is a YAML file:

    name: support-answers
    instructions: The reader is a customer who is in a hurry.     # optional
    pass_mark: 4                                                  # mean score from which an answer passes
    criteria:
      - name: correctness
        question: Is what the answer says true?
        anchors: {1: wrong, 3: partly right, 5: right}            # 1 and 5 are needed
        weight: 2                                                 # optional, 1 without it

This file knows nothing of answers and judges.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from luthier.config import Config, build, read_yaml
from luthier.errors import ConfigError
from luthier.hashing import hash_json

LOWEST, HIGHEST = 1, 5
_Text = Annotated[str, Field(min_length=1)]


class Criterion(Config):
    """One thing that is scored. `anchors` say what a score means; 1 and 5 have one."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    question: _Text
    anchors: dict[int, str]
    weight: Annotated[float, Field(gt=0)] = 1.0

    @field_validator("anchors")
    @classmethod
    def _on_the_scale(cls, anchors: dict[int, str]) -> dict[int, str]:
        if {LOWEST, HIGHEST} - anchors.keys() or any(not LOWEST <= score <= HIGHEST for score in anchors):
            raise ValueError(
                f"expected anchors between {LOWEST} and {HIGHEST}, with both of these among them"
            )
        return dict(sorted(anchors.items()))


class Rubric(Config):
    """Criteria, and the mean score (1 to 5) from which an answer passes. An answer that makes things up never does."""

    name: _Text
    instructions: str = ""
    pass_mark: Annotated[float, Field(ge=LOWEST, le=HIGHEST)] = 4.0
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]

    @field_validator("criteria")
    @classmethod
    def _distinct(cls, criteria: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
        names = [criterion.name for criterion in criteria]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"expected one criterion of each name, found {repeated[0]!r} more than once")
        return criteria

    @property
    def hash(self) -> str:
        """The id of all that it says."""
        return hash_json(self.model_dump(mode="json"))

    def mean(self, scores: Mapping[str, float]) -> float:
        """The weighted mean of a score per criterion, 1 to 5."""
        total = sum(criterion.weight for criterion in self.criteria)
        return sum(criterion.weight * scores[criterion.name] for criterion in self.criteria) / total


def load_rubric(path: Path | str) -> Rubric:
    """Read a rubric file. Raises ConfigError that names the file and every problem in it."""
    if not Path(path).exists():
        raise ConfigError(f"no such rubric: {path}")
    return build(Rubric, read_yaml(Path(path)), where=str(path))


def default_rubric() -> Rubric:
    """The rubric that ships: correctness, completeness, relevance, clarity."""
    return load_rubric(Path(str(files("luthier.evaluation.judge"))) / "default_rubric.yaml")
