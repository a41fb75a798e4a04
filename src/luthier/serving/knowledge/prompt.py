"""Passages laid into a prompt as contexts lie in training rows. Knows nothing of where passages come from."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from luthier.chat.context import context_turn, join_passages
from luthier.chat.messages import Message
from luthier.serving.knowledge.base import Passage

Layout = Callable[[str, str], str]
"""(context, question) -> what the user's turn says."""


def prompt_with(
    messages: Sequence[Message], passages: Sequence[Passage], layout: Layout = context_turn
) -> tuple[Message, ...]:
    """The messages, the user's last turn being asked on the passages; as they are where there is neither."""
    turns = list(messages)
    last = max((number for number, turn in enumerate(turns) if turn.role == "user"), default=None)
    if last is not None and passages:
        asked = layout(context_of(passages), turns[last].content)
        turns[last] = replace(turns[last], content=asked)
    return tuple(turns)


def context_of(passages: Sequence[Passage]) -> str:
    """The passages as one context: what a guard holds an answer against."""
    return join_passages([passage.text for passage in passages])
