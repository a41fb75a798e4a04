"""How long answers took, and what their tokens cost at a stated price.

Latency is how long one waits for an answer: of a local model the whole batch, of an endpoint the request with its
retries. Tokens per second are over all answers together. This file knows nothing of models, items and verdicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from luthier.errors import ConfigError


class Timed(Protocol):
    """What is known about the time of one answer. None: not known."""

    @property
    def num_tokens(self) -> int | None: ...

    @property
    def num_prompt_tokens(self) -> int | None: ...

    @property
    def seconds(self) -> float: ...

    @property
    def latency_seconds(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Price:
    """Money per million tokens, read and written, in whatever currency."""

    per_million_prompt_tokens: float
    per_million_tokens: float

    def __post_init__(self) -> None:
        if min(self.per_million_prompt_tokens, self.per_million_tokens) < 0:
            raise ConfigError("a price per million tokens is 0 or more")


@dataclass(frozen=True, slots=True)
class Speed:
    """Of a set of answers. None where an answer has no latency or no count of tokens."""

    p50_latency_seconds: float | None
    p95_latency_seconds: float | None
    tokens_per_second: float | None
    num_prompt_tokens: int | None
    num_tokens: int | None

    def cost(self, price: Price) -> float | None:
        """What these answers cost; None where the tokens were not counted."""
        if self.num_prompt_tokens is None or self.num_tokens is None:
            return None
        read = self.num_prompt_tokens * price.per_million_prompt_tokens
        return (read + self.num_tokens * price.per_million_tokens) / 1e6


def speed_of(answers: Sequence[Timed]) -> Speed:
    """Percentiles are interpolated linearly between answers (numpy's default)."""
    latencies = _all([one.latency_seconds for one in answers])
    written = _all([one.num_tokens for one in answers])
    read = _all([one.num_prompt_tokens for one in answers])
    seconds = sum(one.seconds for one in answers)
    p50, p95 = np.percentile(latencies, [50, 95]).tolist() if latencies else (None, None)
    return Speed(
        p50_latency_seconds=p50,
        p95_latency_seconds=p95,
        tokens_per_second=sum(written) / seconds if written and seconds > 0 else None,
        num_prompt_tokens=int(sum(read)) if read else None,
        num_tokens=int(sum(written)) if written else None,
    )


def _all(values: Sequence[float | None]) -> list[float]:
    """The values where every answer has one, else nothing: a part of them would be no figure of the whole."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []
