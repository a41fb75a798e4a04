"""The seam between the gateway and what computes: tokens in, tokens out, one base with specialists laid over it.

An engine is asked in the ids of the one token path and knows nothing of messages, templates, HTTP or who asks. All
methods are called from one event loop; an engine that computes in a thread of its own hands its pieces over to it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ServingError
from luthier.models.generate import Sampling


class Overloaded(ServingError):
    """The queue is full: ask again later."""

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(ServingError):
    """What should compute the answer cannot be reached, or broke down over it."""


class TokenMask(Protocol):
    """Which tokens may come next, for one answer; it follows the answer as it grows."""

    def allowed(self) -> NDArray[np.bool_]:
        """(vocabulary,): the tokens that may come next; stop ids are among them where the answer may end."""
        ...

    def accept(self, token_id: int) -> None:
        """A token was chosen."""
        ...


@dataclass(frozen=True)
class Mounted:
    """A specialist as an engine needs it. `adapter`: what is laid over the base (a PEFT folder, or a LoRA-GGUF where
    the engine runs GGUF files, or the upstream's name for it); `shared_prompt_ids`: the ids that its prompts begin with
    (its system prompt), worth keeping computed."""

    name: str
    adapter: Path | str | None
    shared_prompt_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ask:
    """One answer that is wanted.

    specialist: the name under which it was mounted; None: the base. stop_ids: the answer ends with the first of them.
    num_top_logprobs: None asks for no log-probabilities; 0 for those of the chosen tokens. They are of the
    unfiltered distribution at temperature 1. mask: what may be said at all.
    """

    specialist: str | None
    prompt_ids: tuple[int, ...]
    sampling: Sampling
    stop_ids: frozenset[int]
    num_top_logprobs: int | None = None
    mask: TokenMask | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's natural log-probability, and the likeliest ones at its place, best first."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """The next part of an answer, in order. `token_ids` ends with the stop id where the answer ended with one.

    text: None, or what an engine that sees no ids got (an upstream over HTTP); then `token_ids` is empty.
    finish_reason: on the last piece alone: "stop" or "length". num_prompt_cached: of the prompt, how many tokens were
    computed before, as far as the engine knows; the same on every piece.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    text: str | None = None
    finish_reason: str | None = None
    num_prompt_cached: int = 0


@dataclass(frozen=True)
class EngineStatus:
    """What runs at this moment, and what happened since the start. `counters`: named totals, such as adapter_swaps,
    prompt_tokens, prompt_tokens_cached, generated_tokens, cancelled."""

    active: int
    queued: int
    max_queue: int
    counters: dict[str, int] = field(default_factory=dict)


class Engine(Protocol):
    """One base, and the specialists that are mounted on it."""

    @property
    def name(self) -> str:
        """`torch`, `llamacpp` or `openai`."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together."""
        ...

    async def mount(self, specialist: Mounted) -> None:
        """Lay a specialist over the base; answers that run go on. Raises ServingError where it does not fit."""
        ...

    async def unmount(self, name: str) -> None:
        """Forget a specialist once nothing that was asked of it runs any more."""
        ...

    def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        """The answer as it grows. Closing the iterator (`aclose`) cancels it, also while it waits in the queue.

        Raises Overloaded at the first step where the queue is full, ServingError where the prompt leaves no room,
        Unavailable where the engine broke.
        """
        ...

    def status(self) -> EngineStatus:
        """Cheap: asked at every scrape of the metrics."""
        ...

    async def close(self) -> None:
        """End what runs and give everything back."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """What an engine offers besides, where it sees what its base makes of a text."""

    async def embed(self, specialist: str | None, token_ids: tuple[int, ...]) -> NDArray[np.float32]:
        """(channels,): the mean over the tokens of the last layer's hidden states, after its norm.

        Raises Overloaded where the queue is full, ServingError for ids that do not fit and for a model whose hidden
        states cannot be had, Unavailable where the engine broke.
        """
        ...
