"""One answer on its way: what was asked, how far it is computed, what it said so far, and who hears of it.

Knows nothing of llama.cpp, threads or what else is computed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ServingError
from luthier.serving.engines.engine import Ask, Piece
from luthier.serving.engines.sampling import Sampler, token_logprob


@dataclass(eq=False)
class Specialist:
    """What is mounted under a name. adapter: llama.cpp's address of it, 0 for the bare base. ready: it is loaded.

    num_asks: answers of it that wait or run. beginning: computes its system prompt, for those who come.
    """

    name: str | None
    adapter: int
    shared_prompt_ids: tuple[int, ...] = ()
    ready: bool = False
    num_asks: int = 0
    beginning: "Row | None" = None


@dataclass(eq=False)
class Row:
    """An answer that waits or is computed. ids: prompt and answer; the first `num_computed` are in the context.
    num_cached: how many of the prompt were there before.

    hear: takes the answer's pieces, or the error that ends it. sequence: where it is computed; None while it waits.
    """

    ask: Ask
    specialist: Specialist
    num_new: int  # at most so many tokens; 0: the prompt is computed, and kept for those who begin alike
    hear: Callable[[Piece | ServingError], None]
    ids: list[int] = field(init=False)
    sampler: Sampler = field(init=False)
    sequence: int | None = None
    num_computed: int = 0
    num_cached: int = 0
    finish_reason: str | None = None
    asked_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.ids = list(self.ask.prompt_ids)
        self.sampler = Sampler(self.ask.sampling, self.ask.prompt_ids, self.ask.mask)

    @property
    def num_positions(self) -> int:
        """That it will need, up to its end."""
        return len(self.ask.prompt_ids) + self.num_new

    @property
    def num_missing(self) -> int:
        """Tokens that have to be computed before the next one can be chosen."""
        return len(self.ids) - self.num_computed

    def choose(self, logits_V: NDArray[np.float32]) -> Piece:
        """The next token; sets `finish_reason` where it is the last one. Raises what the mask raises."""
        token = self.sampler.choose(logits_V)
        self.ids.append(token)
        if token in self.ask.stop_ids:
            self.finish_reason = "stop"
        elif len(self.ids) >= self.num_positions:
            self.finish_reason = "length"
        num_top = self.ask.num_top_logprobs
        logprobs = () if num_top is None else (token_logprob(logits_V, token, num_top),)
        return Piece((token,), logprobs, finish_reason=self.finish_reason, num_prompt_cached=self.num_cached)
