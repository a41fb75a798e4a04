"""What the gate decides on, and what it says: plain values, without models.

Knows nothing of policies and of how the answers came to be.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

from luthier.evaluation.judge.report import Fitness
from luthier.evaluation.runner import EvalResult
from luthier.hashing import hash_json, hash_text

FORMAT = 1

Role = Literal["domain", "golden", "others", "general", "ordinary"]


@dataclass(frozen=True, slots=True)
class Side:
    """A model as it was asked. `weights`: the hash of its weights; `system_prompt`: what it was asked with.

    `files`: the hash of each file, where it was asked as it lies in files that ship.
    """

    name: str
    weights: str
    system_prompt: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """The id of weights and prompt together: what ships."""
        return hash_json([self.weights, self.system_prompt])

    def to_dict(self) -> dict[str, Any]:
        prompt = None if self.system_prompt is None else hash_text(self.system_prompt)
        return {
            "name": self.name,
            "hash": self.hash,
            "weights": self.weights,
            "system_prompt_hash": prompt,
            "system_prompt": self.system_prompt,
            **({"files": dict(self.files)} if self.files else {}),
        }


@dataclass(frozen=True, slots=True)
class AskedSet:
    """The answers to one set of items. `against`: the champion's, of the general probes the base's.

    `before`: the hash that the set had when it was first used, None where this is the first time. `rules_hash`: of how
    its task asks and grades, where it belongs to one.
    """

    role: Role
    name: str
    path: str
    candidate: EvalResult
    against: EvalResult | None = None
    before: str | None = None
    rules_hash: str | None = None

    @property
    def hash(self) -> str:
        """The id of its items, and of how they are graded where that is their own."""
        items = self.candidate.items_hash
        return items if self.rules_hash is None else hash_json([items, self.rules_hash])


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What the data check found when it held the items against the training rows.

    exact: items whose question (or whole row) is a training row's; near: items that ask nearly what one asks.
    """

    num_items: int
    exact: int
    near: int
    train: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoutingReport:
    """What became of the choice between specialists where the candidate joins them, on questions whose owner is known.

    harm: what is worse for those who were there before, one sentence each.
    """

    num_questions: int
    harm: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge made of the domain's answers in pairs; wins are the candidate's.

    word: of the judge's own test; where that is not `fit to decide`, nothing was asked and every count is 0.
    identity: of model, settings, framing and rubric together. num_left_out: pairs without a verdict.
    """

    judge: str
    identity: str
    word: Fitness
    wins: int = 0
    losses: int = 0
    ties: int = 0
    num_left_out: int = 0

    @property
    def num_decided(self) -> int:
        return self.wins + self.losses + self.ties


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was measured. What is None, empty or missing was not.

    leaks: a report, or why there is none. others: names of other specialists whose sets could not be asked, and why.
    seconds: of the candidate's answers, one question at a time. judged: by criterion. routing: None where the candidate
    joins no others. warnings are passed on.
    """

    candidate: Side
    champion: Side
    sets: tuple[AskedSet, ...]
    leaks: LeakReport | str = "no training files are known"
    base: Side | None = None
    unasked_others: Mapping[str, str] | None = None
    seconds: tuple[float, ...] = ()
    judged: Mapping[str, Judgement] | None = None
    routing: RoutingReport | None = None
    warnings: tuple[str, ...] = ()

    def of(self, role: Role) -> tuple[AskedSet, ...]:
        """The sets of a role."""
        return tuple(one for one in self.sets if one.role == role)


class Outcome(StrEnum):
    """What became of one criterion."""

    MET = "met"
    MISSED = "missed"
    NOT_ENOUGH = "not enough evidence"
    NOT_MEASURED = "not measured"


class Word(StrEnum):
    """The gate's answer."""

    SHIP = "ship"
    HOLD = "hold"
    REJECT = "reject"
    NOT_ENOUGH = "not enough evidence"


EXIT_CODES: Mapping[Word, int] = {Word.SHIP: 0, Word.HOLD: 3, Word.REJECT: 4, Word.NOT_ENOUGH: 5}


@dataclass(frozen=True, slots=True)
class Reason:
    """One criterion with its number. `asks_for`: the word that it alone would lead to; None: it stops nothing."""

    criterion: str
    outcome: Outcome
    text: str
    number: float | None = None
    limit: float | None = None
    asks_for: Word | None = None

    def to_dict(self) -> dict[str, Any]:
        words = {"outcome": self.outcome.value, "asks_for": self.asks_for.value if self.asks_for else None}
        return {**asdict(self), **words}


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The word, the reason of each criterion, and the hashes of all that it rests on.

    `asked_with`: the settings that the models were asked with, so that they can be asked in the same way again.
    """

    word: Word
    reasons: tuple[Reason, ...]
    warnings: tuple[str, ...]
    candidate: Side
    champion: Side
    base: Side | None
    sets: tuple[Mapping[str, Any], ...]
    policy: Mapping[str, Any]
    policy_hash: str
    asked_with: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.word]

    def to_dict(self) -> dict[str, Any]:
        """JSON values under keys that stay; what the store of specialists keeps as the record `verdict`."""
        return {
            "format": FORMAT,
            "word": self.word.value,
            "reasons": [reason.to_dict() for reason in self.reasons],
            "warnings": list(self.warnings),
            "candidate": self.candidate.to_dict(),
            "champion": self.champion.to_dict(),
            "base": self.base.to_dict() if self.base else None,
            "sets": [dict(one) for one in self.sets],
            "policy": dict(self.policy),
            "policy_hash": self.policy_hash,
            "asked_with": dict(self.asked_with),
        }
