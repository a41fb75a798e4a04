"""What is asked of the service and what it answers, in the words of this house: no HTTP, no JSON, no engine.

The OpenAI and the Ollama side of the gateway both read their bodies into a `Request` and write `Event`s back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from luthier.chat.messages import Message, ToolCall

AUTO = "auto"  # the model name that lets the router choose


@dataclass(frozen=True)
class Settings:
    """What a request may set. None: the specialist's own value. `stop`: texts that end an answer, never shown."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    num_answers: int = 1
    num_top_logprobs: int | None = None
    json_schema: Mapping[str, Any] | None = None  # {}: any JSON object


@dataclass(frozen=True)
class Request:
    """One request. `model`: a specialist (`NAME` or `NAME@3`), the base's name, or AUTO.

    Either `messages`, or `prompt`: a raw text that is continued without any template. `key_id`: who asks, where keys
    are on. `orchestrate`: a question that belongs to several specialists may be split.
    """

    id: str
    model: str
    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    prompt: str | None = None
    settings: Settings = field(default_factory=Settings)
    key_id: str | None = None
    orchestrate: bool = False


@dataclass(frozen=True)
class Chosen:
    """Who answers, and why: the first event of every answer. `word`: `named`, or the router's word."""

    specialist: str | None  # NAME@NUMBER; None: the base
    model: str  # the model id as `/v1/models` shows it
    word: str
    why: str
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Logprob:
    """Of one token of the answer, with the likeliest ones at its place."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Delta:
    """The next part of answer number `index`."""

    index: int
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[Logprob, ...] = ()


@dataclass(frozen=True)
class Usage:
    """Tokens. `num_prompt_cached`: of the prompt, how many were not computed again."""

    num_prompt: int
    num_generated: int
    num_prompt_cached: int = 0


@dataclass(frozen=True)
class Finished:
    """The end of answer number `index`. reason: stop, length, tool_calls, content_filter (a guard refused)."""

    index: int
    reason: str
    usage: Usage
    from_cache: bool = False
    sources: tuple[Mapping[str, Any], ...] = ()  # the documents that stood in the prompt
    flags: tuple[str, ...] = ()  # what guards noted


Event = Chosen | Delta | Finished


@dataclass(frozen=True)
class Interaction:
    """A request and its answer as they are recorded, after the answer's last event or its cancellation.

    Times in seconds since the request came; None: it did not come so far. outcome: answered, cancelled, refused or
    failed.
    """

    id: str
    created: str  # ISO 8601, UTC
    key_id: str | None
    model: str
    specialist: str | None
    decision: Mapping[str, Any] | None  # the router's
    messages: tuple[Message, ...]
    prompt: str | None
    answers: tuple[str, ...]
    outcome: str
    finish_reasons: tuple[str, ...]
    usage: Usage
    first_token_seconds: float | None
    total_seconds: float
    shadow_of: str | None = None  # the interaction that a shadow answer belongs to
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Feedback:
    """What a person said of an answer. At least one of thumb (1 or -1), rating (1 to 5), correction."""

    interaction_id: str
    created: str
    thumb: int | None = None
    rating: int | None = None
    correction: str | None = None
    comment: str | None = None
    key_id: str | None = None


class Recorder(Protocol):
    """Keeps what was asked and answered. It is called from the event loop and must not block it."""

    def record(self, interaction: Interaction) -> None:
        """Keep one; it is on the disk soon, and at the latest when `close` returns."""
        ...

    def feedback(self, feedback: Feedback) -> bool:
        """Keep what a person said; False where no such interaction is known."""
        ...

    def specialist_of(self, interaction_id: str) -> str | None:
        """Who answered it, `NAME@NUMBER`; None where the base did, nobody saw it, or it is not known."""
        ...

    def close(self) -> None:
        """Write what waits."""
        ...
