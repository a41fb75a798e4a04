"""What a candidate has to show before it may ship: a small YAML file, every key of it with a default.

Knows nothing of models, of results, and of what a miss leads to.
"""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, model_validator

from luthier.config import Config, build, merge_layers, read_layers
from luthier.hashing import hash_json


class Gain(Config):
    """Better than the champion on the domain's items. `margin`: by at least so much, 0.02 for two points.

    items: the files, from the policy's folder; what is named beside the policy takes their place.
    """

    items: tuple[str, ...] = ()
    margin: float = Field(default=0.0, ge=0, lt=1)


class NotWorse(Config):
    """Not worse than the champion by `margin` or more. `required`: whether a set has to be there at all."""

    required: bool = True
    margin: float = Field(default=0.05, gt=0, lt=1)


class Golden(NotWorse):
    """What has to stay as it is. `items` as in `Gain`."""

    items: tuple[str, ...] = ()


class AtLeast(Config):
    """A share of answers. It decides as measured; with `confidence`, its one-sided bound has to clear the limit too."""

    required: bool = True
    at_least: float = Field(default=0.95, gt=0, le=1)
    confidence: float | None = Field(default=None, gt=0.5, lt=1)
    min_items: int = Field(default=20, ge=1)


class AtMost(Config):
    """As `AtLeast`, from the other side."""

    required: bool = True
    at_most: float = Field(default=0.05, ge=0, lt=1)
    confidence: float | None = Field(default=None, gt=0.5, lt=1)
    min_items: int = Field(default=20, ge=1)


class Forgetting(AtMost):
    """Of the general questions that the base answers, the share that the candidate no longer does."""

    at_most: float = Field(default=0.1, ge=0, lt=1)


class OverRefusal(AtMost):
    """Of ordinary questions, those that are refused. `items`: a file of them instead of those that ship."""

    items: str | None = None


class SameAnswer(Config):
    """The largest share of one and the same answer to the domain's items. null: any."""

    at_most: float | None = Field(default=0.9, gt=0, le=1)


class Latency(Config):
    """The 95th percentile of seconds per answer, one question at a time, on the domain's items. null: any."""

    p95_seconds: float | None = Field(default=None, gt=0)
    num_questions: int = Field(default=20, ge=20)


class Leaks(Config):
    """Evaluation items among the training rows: none exactly; a share of `near_at_most` nearly."""

    required: bool = True
    near_at_most: float = Field(default=0.01, ge=0, le=1)


class Routing(Config):
    """Other specialists' questions, and general ones, find who they found before. `required`: it has to be measured."""

    required: bool = False


class JudgeModel(Config):
    """Who compares, and how it is asked: as in its own test, or its report is not found.

    model: URL#MODEL, or a model on this machine. reports: where `luthier judge test` keeps reports.
    """

    model: str = Field(min_length=1)
    repeats: int = Field(default=1, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int = Field(default=1024, ge=1)
    max_attempts: int = Field(default=3, ge=1)
    max_concurrency: int = Field(default=4, ge=1)
    timeout_seconds: float = Field(default=60.0, gt=0)
    api_key_variable: str | None = None
    reports: str = "judges"


class Judged(Config):
    """Candidate and champion compared in pairs by the judge. `rubric`: a file; null: the one that ships."""

    criterion: str = Field(min_length=1)
    rubric: str | None = None
    require: Literal["better", "not worse"] = "not worse"
    margin: float = Field(default=0.05, gt=0, lt=1)
    required: bool = True


class Policy(Config):
    """All that is asked for. `confidence` is that of every test whose section does not name its own."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    domain: Gain = Gain()
    golden: Golden = Golden()
    others: NotWorse = NotWorse()
    format: AtLeast = AtLeast()
    same_answer: SameAnswer = SameAnswer()
    forgetting: Forgetting = Forgetting()
    over_refusal: OverRefusal = OverRefusal()
    latency: Latency = Latency()
    leaks: Leaks = Leaks()
    routing: Routing = Routing()
    judge: JudgeModel | None = None
    judged: tuple[Judged, ...] = ()

    @model_validator(mode="after")
    def _judge_and_judged(self) -> "Policy":
        names = [one.criterion for one in self.judged]
        if bool(names) != (self.judge is not None):
            raise ValueError("judge and judged go together: who compares, and what by")
        if len(set(names)) < len(names):
            raise ValueError(f"judged: expected one entry of each criterion, found {', '.join(names)}")
        return self

    @property
    def alpha(self) -> float:
        """The error that is allowed."""
        return 1 - self.confidence

    @property
    def hash(self) -> str:
        """The id of a policy: its values, whatever file they came from."""
        return hash_json(self.model_dump(mode="json"))


def load_policy(path: Path | None) -> Policy:
    """The policy of a file, or the default one. Raises ConfigError, naming the nearest key where one is unknown."""
    if path is None:
        return Policy()
    values, _ = merge_layers(read_layers(path))
    return build(Policy, values, where=str(path))


def policy_yaml(policy: Policy) -> str:
    """The whole policy as a file to copy."""
    return yaml.safe_dump(policy.model_dump(mode="json"), sort_keys=False)
