"""What a router decided about a question, in words and numbers."""

from dataclasses import dataclass, field
from enum import StrEnum


class Word(StrEnum):
    """How a question was decided."""

    ROUTED = "routed"  # one specialist answers
    BASE = "base"  # no specialist's matter: the base answers
    UNSURE = "unsure"  # more likely a specialist's than not, but of no one of them: the base answers, and it is said
    SHARED = "shared"  # it belongs to two specialists; the likelier one answers unless the question is split


@dataclass(frozen=True)
class Decision:
    """`specialist`: who answers, None where the base does. Probabilities are calibrated and sum to 1 with `base`."""

    word: Word
    specialist: str | None
    probability: float
    why: str
    others: tuple[str, ...] = ()
    probabilities: dict[str, float] = field(default_factory=dict)
