"""What a format that is less than `messages` cannot say of an example, in words. Knows nothing of single formats."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from luthier.chat.messages import Message
from luthier.data.example import Example
from luthier.errors import DataError

TOOLS = "tools"
CALLS = "tool calls"
CALL_IDS = "ids of tool calls"
REASONING = "reasoning"
WEIGHTS = "per-message weights"
NAMES = "names of speakers"
IMAGES = "images"
REJECTED = "the rejected answer"
DESIRABLE = "the label (good or bad)"
SYSTEM = "the system prompt"


def feature_losses(
    example: Example, messages: Iterable[Message], holds: frozenset[str] = frozenset()
) -> list[str]:
    """What the example has beside plain turns and the format does not hold. Everything is named once."""
    found = set()
    for m in messages:
        if m.reasoning is not None:
            found.add(REASONING)
        if m.tool_calls:
            found.add(CALLS)
        if m.tool_call_id is not None or any(call.id is not None for call in m.tool_calls):
            found.add(CALL_IDS)
        if m.role == "assistant" and m.token_weight != 1.0:
            found.add(WEIGHTS)
        if m.name is not None:
            found.add(NAMES)
    if example.conversation.tools:
        found.add(TOOLS)
    if example.images:
        found.add(IMAGES)
    if example.rejected:
        found.add(REJECTED)
    if example.desirable is not None:
        found.add(DESIRABLE)
    order = (TOOLS, CALLS, CALL_IDS, REASONING, WEIGHTS, NAMES, IMAGES, REJECTED, DESIRABLE)
    return [word for word in order if word in found and word not in holds]


class Pair(NamedTuple):
    """One question and one answer of a conversation. `losses` names the turns that stand beside them."""

    system: str | None
    asked: str
    answered: str
    losses: list[str]


def pair_of(messages: Sequence[Message]) -> Pair:
    """The first question that is answered, and its answer. Raises DataError where there is none, or it is empty."""
    answers = [i for i, m in enumerate(messages) if m.role == "assistant" and m.content.strip()]
    found = next(((i, asked) for i in answers if (asked := _asked_before(messages, i)) is not None), None)
    if found is None:
        raise DataError("there is no question with an answer, both with a text")
    answer, asked = found
    system = messages[0].content if messages[0].role == "system" else None
    losses = []
    if asked != (0 if system is None else 1) or answer != asked + 1:
        losses.append("turns before the first answer")
    if answer != len(messages) - 1:
        losses.append("turns after the first answer")
    return Pair(system, messages[asked].content, messages[answer].content, losses)


def _asked_before(messages: Sequence[Message], answer: int) -> int | None:
    asks = (
        i for i in range(answer - 1, -1, -1) if messages[i].role == "user" and messages[i].content.strip()
    )
    return next(asks, None)


def pair_losses(example: Example, holds: frozenset[str] = frozenset()) -> list[str]:
    """What a row of one question and one answer loses of an example."""
    try:
        pair = pair_of(example.messages)
    except DataError:
        return ["a conversation without a question and its answer"]
    losses = [*pair.losses, *feature_losses(example, example.messages, holds)]
    if pair.system is not None and SYSTEM not in holds:
        losses.insert(0, SYSTEM)
    return losses
