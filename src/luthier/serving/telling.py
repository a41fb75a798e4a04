"""What a request came to, gathered from its events as they pass: what is recorded and counted."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from luthier.chat.messages import Message
from luthier.serving.choosing import Choice
from luthier.serving.guarding import REFUSED
from luthier.serving.protocol import Delta, Event, Finished, Interaction, Request, Usage
from luthier.serving.served import Prompt


class Telling:
    """Of one request. `outcome` is `cancelled` until it is known better: that is how an answer ends that is left.

    `shadow_of`: the request that an unseen answer belongs to.
    """

    def __init__(self, request: Request, shadow_of: str | None = None) -> None:
        self.request = request
        self.choice: Choice | None = None
        self.outcome = "cancelled"
        self.flags: list[str] = []
        self._error: str | None = None
        self.shadow_of = shadow_of
        self._messages: Sequence[Message] = request.messages
        self._created = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._started = time.perf_counter()
        self._first_token: float | None = None
        self._answers: dict[int, list[str]] = {}
        self._ends: dict[int, Finished] = {}
        self._num_deltas = 0
        self._num_prompt = 0

    def asked(self, messages: Sequence[Message]) -> None:
        """The messages as they were asked, after what guards and knowledge made of them."""
        self._messages = messages

    def prompted(self, prompt: Prompt) -> None:
        """What goes to the engine."""
        self._num_prompt = len(prompt.token_ids)
        self.flags += prompt.flags

    def note(self, event: Event) -> None:
        """One more event."""
        if isinstance(event, Delta):
            if self._first_token is None:
                self._first_token = time.perf_counter() - self._started
            self._answers.setdefault(event.index, []).append(event.text)
            self._num_deltas += 1
        elif isinstance(event, Finished):
            self._ends[event.index] = event
            self._answers.setdefault(event.index, [])
            self.flags += [flag for flag in event.flags if flag not in self.flags]

    @property
    def usage(self) -> Usage:
        """The prompt once, the answers all. Of answers that were left, each delta counts as a token."""
        ends = [end.usage for end in self._ends.values()]
        generated = sum(one.num_generated for one in ends) if ends else self._num_deltas
        cached = max((one.num_prompt_cached for one in ends), default=0)
        return Usage(self._num_prompt, generated, cached)

    def end(self) -> None:
        """All events came."""
        refused = any(end.reason == REFUSED for end in self._ends.values())
        self.outcome = "refused" if refused else "answered"

    def fail(self, outcome: str, error: Exception) -> None:
        """An error ended it."""
        self.outcome, self._error = outcome, str(error)

    def interaction(self) -> Interaction:
        """The whole as it is recorded."""
        request, choice = self.request, self.choice
        details: dict[str, Any] = {}
        if choice is not None:
            details |= {"word": choice.chosen.word, "why": choice.chosen.why}
        if self.flags:
            details["flags"] = self.flags
        if self._error is not None:
            details["error"] = self._error
        if sources := next((end.sources for end in self._ends.values() if end.sources), ()):
            details["sources"] = [dict(source) for source in sources]
        if any(end.from_cache for end in self._ends.values()):
            details["from_cache"] = True
        return Interaction(
            id=request.id,
            created=self._created,
            key_id=request.key_id,
            model=request.model,
            specialist=choice.chosen.specialist if choice else None,
            decision=choice.decision if choice else None,
            messages=tuple(self._messages),
            prompt=request.prompt,
            answers=tuple("".join(self._answers[index]) for index in sorted(self._answers)),
            outcome=self.outcome,
            finish_reasons=tuple(self._ends[index].reason for index in sorted(self._ends)),
            usage=self.usage,
            first_token_seconds=self._first_token,
            total_seconds=time.perf_counter() - self._started,
            shadow_of=self.shadow_of,
            details=details,
        )
