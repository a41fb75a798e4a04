"""What a guard is: a function from one text, seen in its place, to what it found. Knows nothing of single guards."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from luthier.chat.messages import Message, Role

Side = Literal["input", "output"]


class Action(StrEnum):
    """What follows where a guard finds something, from the mildest on."""

    ALLOW = "allow"  # nothing: the guard does not even look
    FLAG = "flag"  # it is noted
    REDACT = "redact"  # what was found is replaced by a word for it, and noted
    REFUSE = "refuse"  # there is no answer but the policy's refusal


SEVERITY = {action: number for number, action in enumerate(Action)}


@dataclass(frozen=True, slots=True)
class Seen:
    """One turn of a request, or the answer to it.

    `is_last`: the request's last turn, or the answer. messages: the whole request. context: the passages that the
    answer has to rest on, where there are any.
    """

    text: str
    role: Role
    side: Side
    is_last: bool = True
    messages: tuple[Message, ...] = ()
    context: str | None = None

    @property
    def question(self) -> str:
        """What the last turn of the user asks."""
        return next((turn.content for turn in reversed(self.messages) if turn.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Hit:
    """`what` was found, in words that may be shown: never the private text itself. start, end: where, in characters,
    which is what can be redacted; None where it is the text as a whole."""

    what: str
    start: int | None = None
    end: int | None = None


Look = Callable[[Seen], Iterator[Hit]]


@dataclass(frozen=True)
class Guard:
    """A function with what follows on each side."""

    name: str
    look: Look
    input: Action
    output: Action

    def action(self, side: Side) -> Action:
        return self.input if side == "input" else self.output
