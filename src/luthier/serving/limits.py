"""How much one key may ask: requests a minute, tokens a minute, answers at a time.

Rates are token buckets: a bucket holds a minute's worth and fills evenly, so that a burst after a pause is welcome and
the long-run rate holds. A request that is larger than the bucket itself goes when the bucket is full and leaves a debt,
which the next ones wait for: else it could never be answered. Time is a clock that is handed in (monotonic seconds).
Knows nothing of keys, files or HTTP.
"""

from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be asked. None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request may go on. `word`: `allowed`, or the limit that it meets: `requests`, `tokens` or `concurrent`.
    `retry_after_seconds`: when it may, as far as can be told."""

    word: str
    retry_after_seconds: float = 0.0

    @property
    def allowed(self) -> bool:
        return self.word == ALLOWED


ALLOWED = "allowed"
_CONCURRENT_RETRY_SECONDS = 1.0  # when an answer ends cannot be known


class TokenBucket:
    """A minute's worth of something, filled evenly."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._filled_at = clock()

    def wait_seconds(self, amount: float) -> float:
        """How long until `amount` may be taken; 0: now."""
        self._fill()
        missing = min(amount, self.per_minute) - self._level
        return max(0.0, missing * 60 / self.per_minute) if missing > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        """Take it. Below zero is a debt."""
        self._fill()
        self._level -= amount

    def give_back(self, amount: float) -> None:
        """What was taken and not used."""
        self._fill()
        self._level = min(self.per_minute, self._level + amount)

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._filled_at) * self.per_minute / 60)
        self._filled_at = now


class Meter:
    """What one key has asked."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.limits = limits
        self.active = 0
        self._requests = _bucket(limits.requests_per_minute, clock)
        self._tokens = _bucket(limits.tokens_per_minute, clock)

    def admit(self, num_tokens: int) -> Admission:
        """Whether a request of at most so many tokens, prompt and answer, may go on; it is counted if so."""
        if self.limits.concurrent is not None and self.active >= self.limits.concurrent:
            return Admission("concurrent", _CONCURRENT_RETRY_SECONDS)
        asked = (("requests", self._requests, 1), ("tokens", self._tokens, num_tokens))
        waits = [(bucket.wait_seconds(amount), word) for word, bucket, amount in asked if bucket is not None]
        wait, word = max(waits, default=(0.0, ALLOWED))
        if wait > 0:
            return Admission(word, wait)
        for _, bucket, amount in asked:
            if bucket is not None:
                bucket.take(amount)
        self.active += 1
        return Admission(ALLOWED)

    def release(self, unused_tokens: int = 0) -> None:
        """An admitted request has ended; `unused_tokens` of those that it was admitted for were not needed."""
        self.active = max(0, self.active - 1)
        if self._tokens is not None and unused_tokens > 0:
            self._tokens.give_back(unused_tokens)


def _bucket(per_minute: int | None, clock: Clock) -> TokenBucket | None:
    return None if per_minute is None else TokenBucket(per_minute, clock)
