"""How often a guard is wrong: on its own cases, and on questions that nothing is wrong with.

A case is one JSON line: {"guard": NAME, "bad": true or false, "text": TEXT or a list of parts that are joined, ...},
with "side" (input where not said), "role" (user), "question" and "context" where they matter. Parts keep made-up keys
from looking like leaked ones. A guard sees its own cases alone, whatever follows from a hit in the policy.
"""

import json
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from luthier.chat.messages import ROLES, Message
from luthier.errors import DataError
from luthier.serving.guards.guard import Action, Guard, Seen, Side
from luthier.serving.guards.guard_set import GuardSet

FOLDER = Path(__file__).parent / "cases"
_KEYS = frozenset(["guard", "bad", "text", "side", "role", "question", "context"])
_SHOWN = 80


@dataclass(frozen=True)
class Case:
    """`bad`: the guard has to find something."""

    guard: str
    bad: bool
    seen: Seen


@dataclass(frozen=True)
class CaseReport:
    """Of one guard. missed, alarmed: the texts it was wrong on, cut short. A guard that is not on was not asked."""

    guard: str
    is_on: bool
    num_bad: int = 0
    num_detected: int = 0
    num_good: int = 0
    num_false_alarms: int = 0
    p50_milliseconds: float = 0.0
    p95_milliseconds: float = 0.0
    missed: tuple[str, ...] = ()
    alarmed: tuple[str, ...] = ()


@dataclass(frozen=True)
class OrdinaryReport:
    """What a policy makes of ordinary questions. actions: how many were not simply allowed, by what followed."""

    num_questions: int
    p50_milliseconds: float
    p95_milliseconds: float
    actions: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)


def shipped_cases() -> list[Case]:
    """Written for this: one file a guard."""
    return [case for path in sorted(FOLDER.glob("*.jsonl")) for case in load_cases(path)]


def load_cases(path: Path) -> list[Case]:
    """Raises DataError with the line where one is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    return [_case(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]


def _case(line: str, where: str) -> Case:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: expected a JSON object: {error}") from error
    if not isinstance(row, dict) or not row.keys() >= {"guard", "bad", "text"} or row.keys() - _KEYS:
        raise DataError(
            f"{where}: expected guard, bad, text and, of {', '.join(sorted(_KEYS))}, what matters"
        )
    text = "".join(row["text"]) if isinstance(row["text"], list) else row["text"]
    side, role, question = row.get("side", "input"), row.get("role", "user"), row.get("question", "")
    if side not in get_args(Side) or role not in ROLES or not isinstance(text, str):
        raise DataError(f"{where}: expected side {' or '.join(get_args(Side))}, a role, and a text")
    if side == "input":
        messages: tuple[Message, ...] = (Message(role, text),)
    else:
        role, messages = "assistant", (Message("user", question),)
    return Case(row["guard"], bool(row["bad"]), Seen(text, role, side, True, messages, row.get("context")))


def measure_cases(guards: GuardSet, cases: Sequence[Case]) -> list[CaseReport]:
    """A report for each guard that there are cases of, in the order in which they first appear."""
    known = {guard.name: guard for guard in guards.guards}
    by_guard: dict[str, list[Case]] = {}
    for case in cases:
        by_guard.setdefault(case.guard, []).append(case)
    return [
        _report(known[name], own) if name in known else CaseReport(name, is_on=False)
        for name, own in by_guard.items()
    ]


def _report(guard: Guard, cases: Sequence[Case]) -> CaseReport:
    milliseconds, missed, alarmed = [], [], []
    for case in cases:
        started = time.perf_counter()
        hits = list(guard.look(case.seen))
        milliseconds.append(1e3 * (time.perf_counter() - started))
        if case.bad and not hits:
            missed.append(f"missed: {_short(case.seen.text)}")
        elif hits and not case.bad:
            alarmed.append(f"false alarm ({hits[0].what}): {_short(case.seen.text)}")
    num_bad = sum(case.bad for case in cases)
    p50, p95 = _quantiles(milliseconds)
    return CaseReport(
        guard.name,
        is_on=True,
        num_bad=num_bad,
        num_detected=num_bad - len(missed),
        num_good=len(cases) - num_bad,
        num_false_alarms=len(alarmed),
        p50_milliseconds=p50,
        p95_milliseconds=p95,
        missed=tuple(missed),
        alarmed=tuple(alarmed),
    )


def measure_ordinary(guards: GuardSet, questions: Iterable[str]) -> OrdinaryReport:
    """The policy as it stands, on questions one at a time."""
    milliseconds: list[float] = []
    actions: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for question in questions:
        messages = [Message("user", question)]
        started = time.perf_counter()
        verdict = guards.check_input(messages)
        milliseconds.append(1e3 * (time.perf_counter() - started))
        if verdict.action is not Action.ALLOW:
            actions[verdict.action.value] += 1
        reasons.update(reason.removesuffix(" (turn 1, user)") for reason in verdict.reasons)
    p50, p95 = _quantiles(milliseconds)
    return OrdinaryReport(len(milliseconds), p50, p95, dict(actions), dict(reasons.most_common(10)))


def _quantiles(milliseconds: Sequence[float]) -> tuple[float, float]:
    """p50 and p95."""
    ordered = sorted(milliseconds) or [0.0]
    return statistics.median(ordered), ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)]


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
