"""Prompts to typed verdicts: the cache first, then the model, again where the reply holds no verdict.

This file knows nothing of rubrics and of what a verdict says: a prompt brings the function that reads its reply.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Generic, TypeVar

from luthier.chat.messages import Message
from luthier.errors import ConfigError
from luthier.evaluation.judge.cache import Cache
from luthier.evaluation.judge.framing import FRAMING_HASH, with_reminder
from luthier.evaluation.judge.model import NO_ROOM, JudgeModel, Request
from luthier.evaluation.judge.replies import Unreadable
from luthier.evaluation.judge.rubric import Rubric
from luthier.hashing import hash_json
from luthier.models.endpoint import Reply

T = TypeVar("T")


class Outcome(StrEnum):
    """What became of a case."""

    JUDGED = "judged"
    DEGENERATE = "degenerate"
    """an answer is none: the judge was not asked"""
    MALFORMED = "malformed"
    """the judge gave no verdict that can be read, in all its attempts"""
    TOO_LONG = "too long"
    """the case does not fit into the judge's context"""


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How a judge is asked.

    repeats: how often each case; with a temperature of 0 they differ only where the server itself is not exact.
    max_attempts: how often until the reply can be read. max_tokens: of a reply. seed: of the first repeat.
    """

    temperature: float = 0.0
    repeats: int = 1
    max_tokens: int = 1024
    max_attempts: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if not 0 <= self.temperature <= 2:
            raise ConfigError(f"temperature: expected 0 to 2, found {self.temperature}")
        for name in ("repeats", "max_tokens", "max_attempts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, found {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a million tokens, in whatever currency the user thinks in."""

    per_million_in: float = 0.0
    per_million_out: float = 0.0


@dataclass(slots=True)
class Usage:
    """What was asked so far. Tokens are those of the new replies; `num_uncounted` of these came without numbers."""

    num_asked: int = 0
    num_cached: int = 0
    num_malformed: int = 0
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    num_uncounted: int = 0
    seconds: float = 0.0

    def add(self, reply: Reply) -> None:
        """Count one new reply."""
        self.num_asked += 1
        self.seconds += reply.seconds
        self.num_prompt_tokens += reply.num_prompt_tokens or 0
        self.num_tokens += reply.num_tokens or 0
        self.num_uncounted += reply.num_prompt_tokens is None or reply.num_tokens is None

    def cost(self, prices: Prices) -> float:
        """Of the new replies whose tokens are known; retries of the connection are not in it."""
        spent = self.num_prompt_tokens * prices.per_million_in + self.num_tokens * prices.per_million_out
        return spent / 1e6

    def to_dict(self, prices: Prices | None = None) -> dict[str, Any]:
        """All of it as JSON values, with the cost where prices are stated."""
        stated = {"prices": asdict(prices), "cost": self.cost(prices)} if prices is not None else {}
        return {**asdict(self), **stated}


@dataclass(frozen=True, slots=True)
class Prompt(Generic[T]):
    """One thing to ask, and how to read the reply: `read` raises Unreadable where it holds no verdict."""

    messages: tuple[Message, ...]
    response_format: Mapping[str, Any]
    read: Callable[[str], T]
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """What came of a prompt. `values` holds the verdict, or nothing; `problem` then says why."""

    outcome: Outcome
    values: tuple[T, ...]
    problem: str = ""


class Judge:
    """A model with its settings, its cache and its bill. `on_reply` hears the usage after every reply."""

    def __init__(
        self,
        model: JudgeModel,
        settings: JudgeSettings | None = None,
        cache: Cache | None = None,
        on_reply: Callable[[Usage], None] | None = None,
    ) -> None:
        self.model = model
        self.settings = settings or JudgeSettings()
        self.usage = Usage()
        self._cache = cache
        self._on_reply = on_reply

    @property
    def name(self) -> str:
        """Of its model."""
        return self.model.name

    def description(self, rubric: Rubric) -> dict[str, Any]:
        """What makes it this judge: model, settings, framing, rubric. JSON values."""
        return {
            "model": dict(self.model.identity),
            "settings": asdict(self.settings),
            "framing": FRAMING_HASH,
            "rubric": rubric.hash,
        }

    def identity(self, rubric: Rubric) -> str:
        """The hash of its description: a test of one judge says nothing about another."""
        return hash_json(self.description(rubric))

    def ask(self, prompts: Sequence[Prompt[T]]) -> list[Told[T]]:
        """One outcome per prompt, in order. Raises ModelError; replies that came before are in the cache."""
        told: dict[int, Told[T]] = {}
        problems: dict[int, str] = {}
        for _ in range(self.settings.max_attempts):
            places = [place for place in range(len(prompts)) if place not in told]
            replies = self._replies([self._request(prompts[i], problems.get(i)) for i in places])
            for place, reply in zip(places, replies, strict=True):
                if reply.finish_reason == NO_ROOM:
                    told[place] = _too_long(reply)
                    continue
                try:
                    told[place] = Told(Outcome.JUDGED, (prompts[place].read(reply.text),))
                except Unreadable as error:
                    cut = f" (cut at {self.settings.max_tokens} tokens)" * (reply.finish_reason == "length")
                    problems[place] = f"{error}{cut}"
                    self.usage.num_malformed += 1
        attempts = self.settings.max_attempts
        times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        return [
            told.get(i) or Told(Outcome.MALFORMED, (), f"no verdict in {times}: {problems[i]}")
            for i in range(len(prompts))
        ]

    def write(self, conversations: Sequence[tuple[Message, ...]]) -> list[str]:
        """The model's own words to each conversation, greedily; empty where it does not fit into the context."""
        limit = self.settings.max_tokens
        replies = self._replies([Request(messages, limit, 0.0, None, None) for messages in conversations])
        return [reply.text for reply in replies]

    def _request(self, prompt: Prompt[T], problem: str | None) -> Request:
        settings = self.settings
        messages = prompt.messages if problem is None else with_reminder(prompt.messages, problem)
        # Where nothing is drawn a seed would do nothing, and the repeats of one case are told apart by it.
        is_drawn = settings.temperature > 0 or settings.repeats > 1
        seed = settings.seed + prompt.repeat if is_drawn else None
        return Request(messages, settings.max_tokens, settings.temperature, seed, prompt.response_format)

    def _replies(self, requests: Sequence[Request]) -> list[Reply]:
        keys = [{"model": dict(self.model.identity), **request.to_dict()} for request in requests]
        ids = [hash_json(key) for key in keys]
        found: dict[str, Reply] = {}
        new: list[int] = []
        for place, key in enumerate(keys):
            cached = self._cache.get(key) if self._cache is not None else None
            if cached is not None:
                found[ids[place]] = cached
                self.usage.num_cached += 1
            elif ids[place] not in {ids[other] for other in new}:
                new.append(place)

        def heard(which: int, reply: Reply) -> None:
            place = new[which]
            found[ids[place]] = reply
            if self._cache is not None:
                self._cache.put(keys[place], reply)
            self.usage.add(reply)
            if self._on_reply is not None:
                self._on_reply(replace(self.usage))

        self.model.ask_many([requests[place] for place in new], heard)
        return [found[one] for one in ids]


def _too_long(reply: Reply) -> Told[Any]:
    return Told(
        Outcome.TOO_LONG,
        (),
        f"the case with the rubric is {reply.num_prompt_tokens} tokens, which leaves no room for a verdict in the "
        "judge's context",
    )


def entropy_bits(values: Sequence[Hashable]) -> float:
    """Shannon's entropy of the values' shares: 0 where all agree, log2(k) where k values all differ.

    Over repeats of one case it is the judge's self-consistency. Source: Shannon, Bell System Technical Journal 27
    (1948) 379-423.
    """
    shares = [count / len(values) for count in Counter(values).values()]
    return sum(share * math.log2(1 / share) for share in shares)
