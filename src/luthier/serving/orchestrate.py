"""A question that belongs to two specialists: split, each part asked of its own, the answers joined with their names.

The base plans the parts. A plan counts only where it says nothing that the question does not and leaves nothing out;
otherwise clauses are told apart by their form and routed one by one. What was done, and why, stands in the result.
Knows nothing of engines: who answers is handed in.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

from luthier.errors import LuthierError, ServingError
from luthier.serving.protocol import Request
from luthier.serving.router import Decision, Router, Word
from luthier.serving.router.router import GENERAL
from luthier.serving.terms import EMPTY_WORDS, terms

Ask = Callable[[str | None, str], Awaitable[str]]
"""(a specialist, None for the base; a question) -> its answer. Raises LuthierError where there is none."""
AskJson = Callable[[str, Mapping[str, Any]], Awaitable[str]]
"""(a prompt, a JSON schema) -> the base's answer, held to that schema."""

MAX_PARTS = 4
_MIN_FROM_QUESTION = 0.8  # of a part's words, those that the question has
_MIN_COVERED = 0.8  # of the question's words, those that some part has
_ASKS = (
    "what|how|who|whom|whose|when|where|why|which|is|are|was|were|do|does|did|can|could|will|would|should|may|has|have|"
    "please|tell|give|show|explain|describe|convert|calculate|compute|find|list|write|name|make|translate|compare|help"
)
_CLAUSE_END = re.compile(
    rf"(?<=[.?!;])\s+|,?\s+(?:and|then|also|plus|but)(?:\s+(?:also|then|please))?\s+(?=(?:{_ASKS})\b)"
    rf"|,\s+(?=(?:{_ASKS})\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Part:
    """One question of one specialist (None: the base). `answer` says why there is none where there is none."""

    specialist: str | None
    question: str
    answer: str = ""
    outcome: Literal["answered", "failed", "timed_out"] = "answered"


@dataclass(frozen=True)
class Orchestrated:
    """how: `whole` (one answered all of it), `planned` by the base, or split by `clauses`; why: in words."""

    text: str
    parts: tuple[Part, ...]
    how: Literal["whole", "planned", "clauses"]
    why: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for the record."""
        return asdict(self)


async def orchestrate(
    request: Request,
    plan: Router,
    ask: Ask,
    ask_json: AskJson | None = None,
    *,
    timeout_seconds: float = 120.0,
) -> Orchestrated:
    """Answer the last question of a request, by several specialists where `plan` finds that it belongs to them: it is
    SHARED as a whole, or its clauses are routed to different ones.

    ask_json: where the base can be held to a schema; else it is asked for JSON and may say anything. Parts are asked at
    the same time; one that fails or takes longer than timeout_seconds is told in its place. Raises what the last part
    raised where all of them did, ServingError where nothing is asked.
    """
    question = next((turn.content for turn in reversed(request.messages) if turn.role == "user"), "").strip()
    if not question:
        raise ServingError("expected a question of the user to split; the request has none")
    # Beside the event loop: a decision for every clause, which is slow where the router reads meaning.
    decision = await asyncio.to_thread(plan.route, question)
    candidates = await asyncio.to_thread(_candidates, question, decision, plan)
    if len(candidates) > 1:
        parts, how, why = await _split(question, candidates, plan, ask, ask_json, timeout_seconds)
    else:
        parts, how, why = _whole(decision.specialist, question, decision.why)
    answered = await _ask_all(parts, ask, timeout_seconds)
    return Orchestrated(joined(answered), answered, how, why)


def joined(parts: Sequence[Part]) -> str:
    """The answers in the order of their questions, each with who said it; one alone stands for itself."""
    if len(parts) == 1:
        return parts[0].answer
    return "\n\n".join(f"{part.specialist or GENERAL}: {part.answer.strip()}" for part in parts)


def _candidates(question: str, decision: Decision, router: Router) -> tuple[str, ...]:
    """Whose the question is. A router that is sure of one side of it often sees the other in its clauses alone."""
    found = [decision.specialist, *(decision.others if decision.word is Word.SHARED else ())]
    clauses = [question[start:end] for start, end in _clauses(question)]
    if len(clauses) > 1:
        routed = [router.route(clause) for clause in clauses]
        found += [one.specialist for one in routed if one.word is Word.ROUTED]
    return tuple(dict.fromkeys(name for name in found if name is not None))[:MAX_PARTS]


_How = Literal["whole", "planned", "clauses"]


_Parts = tuple[tuple[Part, ...], _How, str]


def _whole(specialist: str | None, question: str, why: str) -> _Parts:
    return (Part(specialist, question),), "whole", why


async def _split(
    question: str,
    candidates: Sequence[str],
    router: Router,
    ask: Ask,
    ask_json: AskJson | None,
    timeout_seconds: float,
) -> _Parts:
    try:
        async with asyncio.timeout(timeout_seconds):
            prompt = _prompt(question, candidates)
            said = await (ask_json(prompt, _schema(candidates)) if ask_json else ask(None, prompt))
        planned = read_plan(said, question, candidates)
    except TimeoutError:
        planned = f"no plan within {timeout_seconds:g} seconds"
    except LuthierError as error:
        planned = f"the base made no plan: {error}"
    if not isinstance(planned, str):
        return planned, "planned", f"the base's plan for {', '.join(candidates)}"
    parts = await asyncio.to_thread(by_clauses, question, candidates, router)
    if len(parts) > 1:
        return parts, "clauses", planned
    return _whole(candidates[0], question, f"{planned}; and its clauses belong to one")


def _prompt(question: str, candidates: Sequence[str]) -> str:
    return (
        f"Split this question into parts, one for each of these specialists: {', '.join(candidates)}. Use the words of "
        'the question and nothing else. Answer as JSON: {"parts": [{"specialist": "...", "question": "..."}]}\n\n'
        f"Question: {question}"
    )


def _schema(candidates: Sequence[str]) -> dict[str, Any]:
    fields = {"specialist": {"enum": list(candidates)}, "question": {"type": "string", "minLength": 1}}
    part = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    parts = {"type": "array", "items": part, "minItems": 2, "maxItems": MAX_PARTS}
    return {
        "type": "object",
        "properties": {"parts": parts},
        "required": ["parts"],
        "additionalProperties": False,
    }


def read_plan(said: str, question: str, candidates: Sequence[str]) -> tuple[Part, ...] | str:
    """The parts of a plan, or why it cannot be used."""
    from jsonschema import Draft202012Validator

    try:
        value = json.loads(said)
    except (ValueError, RecursionError):
        return "the base's plan is not JSON"
    if not Draft202012Validator(_schema(candidates)).is_valid(value):
        return "the base's plan does not say which of the specialists answers what"
    parts = tuple(Part(part["specialist"], part["question"].strip()) for part in value["parts"])
    if len({part.specialist for part in parts}) < 2:
        return "the base's plan names one specialist alone"
    asked = _meant(question)
    for part in parts:
        own = _meant(part.question)
        if not own or len(own & asked) < _MIN_FROM_QUESTION * len(own):
            return "the base's plan asks what the question does not"
    covered = set().union(*(_meant(part.question) for part in parts))
    if len(asked & covered) < _MIN_COVERED * len(asked):
        return "the base's plan leaves out some of the question"
    return parts


def _meant(text: str) -> set[str]:
    return {term for term in terms(text) if term not in EMPTY_WORDS}


def by_clauses(question: str, candidates: Sequence[str], router: Router) -> tuple[Part, ...]:
    """The clauses, each for who it is routed to; neighbours for the same one are asked together.

    A clause that is none of the candidates' ("Thanks!") stays with the one before it, the first ones with the next.
    """
    clauses = _clauses(question)
    routed = [router.route(question[start:end]).specialist for start, end in clauses]
    owner = next((name for name in routed if name in candidates), candidates[0])
    owners = []
    for name in routed:
        owner = name if name is not None and name in candidates else owner
        owners.append(owner)
    parts = []
    for owner, numbers in groupby(range(len(owners)), key=owners.__getitem__):
        whole = list(numbers)
        parts.append(Part(owner, question[clauses[whole[0]][0] : clauses[whole[-1]][1]].strip()))
    return tuple(parts) if len(parts) <= MAX_PARTS else (Part(candidates[0], question),)


def _clauses(question: str) -> list[tuple[int, int]]:
    """Characters [start, end) of each."""
    found = list(_CLAUSE_END.finditer(question))
    starts = [0, *(match.end() for match in found)]
    return list(zip(starts, [*(match.start() for match in found), len(question)], strict=True))


async def _ask_all(parts: Sequence[Part], ask: Ask, timeout_seconds: float) -> tuple[Part, ...]:
    failures: list[LuthierError] = []

    async def answered(part: Part) -> Part:
        try:
            async with asyncio.timeout(timeout_seconds):
                return Part(part.specialist, part.question, await ask(part.specialist, part.question))
        except TimeoutError:
            failures.append(ServingError(f"no answer within {timeout_seconds:g} seconds"))
            return Part(part.specialist, part.question, f"({failures[-1]})", "timed_out")
        except LuthierError as error:
            failures.append(error)
            return Part(part.specialist, part.question, f"(no answer: {error})", "failed")

    found = tuple(await asyncio.gather(*map(answered, parts)))
    if len(failures) == len(found):
        raise failures[-1]
    return found
