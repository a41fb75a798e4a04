"""The typed verdict in a judge's reply, or why there is none.

A verdict is one JSON object: alone, in a fence, behind reasoning, or among words. Of several objects that differ, none
is chosen, and one that stands in the judged texts was quoted, not said. Prose is never read for a score.
This file knows nothing of models and retries.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from luthier.evaluation.judge.rubric import HIGHEST, LOWEST, Rubric

_REASONING = re.compile(r"^\s*<think>.*?</think>", re.S)
_FENCE = re.compile(r"^\s*```(?:json)?\s*\n(.*)\n\s*```\s*$", re.S)
_SHOWN_CHARACTERS = 80


class Unreadable(ValueError):
    """The reply holds no verdict; says why. It never leaves the judge: it becomes the outcome `malformed`."""


class Preference(StrEnum):
    """Which of two is better."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"


@dataclass(frozen=True, slots=True)
class Scores:
    """A verdict by rubric: 1 to 5 per criterion, whether something was made up, and why."""

    by_criterion: Mapping[str, int]
    hallucination: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A verdict about two answers, in the order in which they were shown."""

    better: Preference
    reason: str


def scores_schema(rubric: Rubric) -> dict[str, Any]:
    """The `response_format` of a verdict by rubric. Scores come last: a judge that writes reasons first reasons."""
    score = {"type": "integer", "enum": list(range(LOWEST, HIGHEST + 1))}
    scores = _object({criterion.name: score for criterion in rubric.criteria})
    fields = {"reason": {"type": "string"}, "hallucination": {"type": "boolean"}, "scores": scores}
    return _response_format("scores", fields)


def choice_schema() -> dict[str, Any]:
    """The `response_format` of a verdict about two answers."""
    better = {"type": "string", "enum": [word.value for word in Preference]}
    return _response_format("choice", {"reason": {"type": "string"}, "better": better})


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _response_format(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"name": name, "strict": True, "schema": _object(fields)}
    return {"type": "json_schema", "json_schema": schema}


def read_scores(text: str, rubric: Rubric, judged: Sequence[str]) -> Scores:
    """The scores in a reply about the texts `judged`. Raises Unreadable."""
    value = _verdict(text, judged)
    scores = value.get("scores", value)  # some judges leave the inner object out
    if not isinstance(scores, dict):
        raise Unreadable("'scores' is not an object")
    by_criterion = {one.name: _score(one.name, scores.get(one.name)) for one in rubric.criteria}
    return Scores(by_criterion, _flag(value.get("hallucination")), str(value.get("reason") or ""))


def read_choice(text: str, judged: Sequence[str]) -> Choice:
    """The choice in a reply about the texts `judged`. Raises Unreadable."""
    value = _verdict(text, judged)
    word = str(value.get("better")).strip().lower()
    if word not in {one.value for one in Preference}:
        raise Unreadable(f"'better' is {word[:_SHOWN_CHARACTERS]!r}, not first, second or tie")
    return Choice(Preference(word), str(value.get("reason") or ""))


def _score(name: str, value: Any) -> int:
    """A whole number on the scale: 4, 4.0 or "4". Nothing is rounded."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d\s*", value):
        value = int(value)
    is_whole = value.is_integer() if isinstance(value, float) else type(value) is int
    if not is_whole or not LOWEST <= value <= HIGHEST:
        found = "missing" if value is None else json.dumps(value)[:_SHOWN_CHARACTERS]
        raise Unreadable(f"the score of '{name}' is {found}, not a whole number from {LOWEST} to {HIGHEST}")
    return int(value)


def _flag(value: Any) -> bool:
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    if not isinstance(value, bool):
        raise Unreadable("'hallucination' is not true or false")
    return value


def _verdict(text: str, judged: Sequence[str]) -> dict[str, Any]:
    said = _REASONING.sub("", text)
    fenced = _FENCE.match(said)
    said = (fenced.group(1) if fenced else said).strip()
    if not said:
        raise Unreadable("the reply is empty")
    try:
        whole = json.loads(said)
    except (ValueError, RecursionError):
        return _only_object(said, judged)
    if not isinstance(whole, dict):
        raise Unreadable(f"the reply is no JSON object: {said[:_SHOWN_CHARACTERS]!r}")
    return whole


def _only_object(said: str, judged: Sequence[str]) -> dict[str, Any]:
    quoted = ["".join(text.split()) for text in judged]
    found = [
        value for raw, value in _objects(said) if not any("".join(raw.split()) in text for text in quoted)
    ]
    if not found:
        raise Unreadable(f"the reply holds no JSON object: {said[:_SHOWN_CHARACTERS]!r}")
    if any(value != found[0] for value in found[1:]):
        raise Unreadable(f"the reply holds {len(found)} JSON objects that differ")
    return found[0]


def _objects(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(text, value) of every JSON object that is not inside another one."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            yield text[place:end], value
        place = text.find("{", end)
