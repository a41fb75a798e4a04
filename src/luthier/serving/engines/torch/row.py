"""One answer on its way: what was asked, how far its prompt is read, what it said so far.

This file knows nothing of threads, readers, models or how a token is computed.
"""

from dataclasses import dataclass

from luthier.serving.engines.engine import Ask
from luthier.serving.engines.torch.cache import RowCache
from luthier.serving.engines.torch.prefixes import Ids, as_ids
from luthier.serving.engines.torch.sampling import Chooser
from luthier.serving.engines.torch.sites import Laid


@dataclass(eq=False)
class Specialist:
    """What is mounted under a name. num_asks: answers of it that wait or run. laid: None for the bare base."""

    name: str | None
    laid: Laid | None
    shared_ids: Ids
    num_asks: int = 0

    @property
    def num_virtual(self) -> int:
        return self.laid.overlay.num_virtual if self.laid is not None else 0


VIRTUAL_ID = -1  # stands for a virtual token where ids are compared


@dataclass(eq=False)
class Row:
    """An answer that is computed. ids: virtual tokens, prompt and answer; the cache holds the first `length`.

    While `cache` is there, the row reads its prompt; then it lies in `slot` of a pool.
    """

    ask: Ask
    specialist: Specialist
    chooser: Chooser
    ids: list[int]
    num_prompt: int  # with virtual tokens
    max_new_tokens: int
    length: int = 0
    slot: int = 0
    num_cached: int = 0
    cache: RowCache | None = None
    finish_reason: str | None = None

    @property
    def num_generated(self) -> int:
        return len(self.ids) - self.num_prompt

    def accept(self, token_id: int) -> None:
        """A token was chosen; sets `finish_reason` where it is the last one."""
        self.ids.append(token_id)
        self.chooser.chosen(token_id)
        if token_id in self.ask.stop_ids:
            self.finish_reason = "stop"
        elif self.num_generated >= self.max_new_tokens:
            self.finish_reason = "length"


def new_row(ask: Ask, specialist: Specialist, context_length: int) -> Row:
    """A row that has read nothing. Virtual tokens take places of the context."""
    num_virtual = specialist.num_virtual
    room = context_length - num_virtual - len(ask.prompt_ids)
    seen = set(ask.prompt_ids) if ask.sampling.repetition_penalty != 1.0 else set()
    return Row(
        ask,
        specialist,
        Chooser(ask.sampling, seen, ask.mask, ask.num_top_logprobs),
        [VIRTUAL_ID] * num_virtual + list(ask.prompt_ids),
        num_virtual + len(ask.prompt_ids),
        min(ask.sampling.max_new_tokens, room),
    )


def beginning(row: Row, length: int) -> Ids:
    return as_ids(row.ids[:length])
