"""What became of an answer: a word, a score, the reason, and what figures of the whole set are made of.

This file knows nothing of items and of how an answer is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class VerdictWord(StrEnum):
    """What became of an answer. A grader that fails itself says nothing about the answer: `ungradable`."""

    PASSED = "passed"
    FAILED = "failed"
    UNGRADABLE = "ungradable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A word with its evidence.

    `score` is 1.0 for right, 0.0 for wrong or ungradable, and in between where a part is right; only 1.0 is
    `passed`. `details` holds what the grader's figures of the whole set count.
    """

    word: VerdictWord
    score: float
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)


def passed(reason: str, **details: Any) -> Verdict:
    return Verdict(VerdictWord.PASSED, 1.0, reason, details)


def failed(reason: str, **details: Any) -> Verdict:
    return Verdict(VerdictWord.FAILED, 0.0, reason, details)


def scored(score: float, reason: str, **details: Any) -> Verdict:
    """A score from 0 to 1; passed where it is 1."""
    return Verdict(VerdictWord.PASSED if score == 1.0 else VerdictWord.FAILED, score, reason, details)


def ungradable(reason: str) -> Verdict:
    return Verdict(VerdictWord.UNGRADABLE, 0.0, reason)
