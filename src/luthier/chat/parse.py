"""What a model said, taken apart: text, reasoning, tool calls, and the word for how it ended.

Markup that is a token of the vocabulary (`<think>` in Qwen3) is recognised by its id, so the same
characters written as plain text stay text. Where the vocabulary has no such token, the characters count.
Knows nothing of templates and tokenizers: decoding and the ids are handed in.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from luthier.chat.messages import ToolCall
from luthier.chat.parts import Markup, Parts


class Termination(StrEnum):
    """How an answer ended."""

    CLEAN = "clean"
    """by the template's own end of turn"""
    EOS = "eos"
    """by another stop token, such as the tokenizer's end of sequence"""
    LENGTH = "length"
    """by no stop token: it was cut"""
    MALFORMED = "malformed"
    """with a control token inside, reasoning left open, or a tool call that cannot be read"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `token_ids` holds everything up to and including its stop token, where one came."""

    text: str
    reasoning: str | None
    tool_calls: tuple[ToolCall, ...]
    termination: Termination
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """The ids that mean something in an answer.

    `stop_ids` begins with the end of turn. `opens_thinking` says that the prompt already wrote `<think>`.
    """

    stop_ids: tuple[int, ...]
    special_ids: Collection[int]
    markup_ids: Mapping[int, Markup]
    opens_thinking: bool = False


def parse_answer(
    token_ids: Sequence[int], tokens: AnswerTokens, decode: Callable[[list[int]], str]
) -> Answer:
    """Take apart the ids that a model generated. Whatever follows the first stop id (padding) is ignored."""
    stop_at = next((i for i, token in enumerate(token_ids) if token in tokens.stop_ids), None)
    body = list(token_ids[:stop_at])
    parts = Parts(in_reasoning=tokens.opens_thinking)
    said = [
        parts.mark(piece) if isinstance(piece, Markup) else parts.take(piece)
        for piece in _pieces(body, tokens.markup_ids, decode)
    ]
    rest, is_open = parts.close()
    said.append(rest)
    stray = any(token in tokens.special_ids and token not in tokens.markup_ids for token in body)
    if stray or parts.is_broken or (is_open and stop_at is not None):
        termination = Termination.MALFORMED
    elif stop_at is None:
        termination = Termination.LENGTH
    else:
        termination = Termination.CLEAN if token_ids[stop_at] == tokens.stop_ids[0] else Termination.EOS
    kept = token_ids if stop_at is None else token_ids[: stop_at + 1]
    return Answer(
        text="".join(part.text for part in said),
        reasoning="".join(part.reasoning for part in said) or None,
        tool_calls=tuple(call for part in said for call in part.tool_calls),
        termination=termination,
        token_ids=tuple(kept),
    )


def _pieces(
    body: list[int], markup_ids: Mapping[int, Markup], decode: Callable[[list[int]], str]
) -> list[str | Markup]:
    """The ids as texts and marks in turn."""
    splitter = MarkSplitter(marks_as_text(markup_ids))
    pieces: list[str | Markup] = []
    start = 0
    for i, token in enumerate([*body, None]):
        if token is None or token in markup_ids:
            text = decode(body[start:i]) if i > start else ""
            pieces += [*splitter.take(text), *splitter.close()]
            pieces += [] if token is None else [markup_ids[token]]
            start = i + 1
    return pieces


def marks_as_text(markup_ids: Mapping[int, Markup]) -> tuple[Markup, ...]:
    """The marks that are no tokens of the vocabulary: in an answer, their characters count."""
    in_vocabulary = set(markup_ids.values())
    return tuple(mark for mark in Markup if mark not in in_vocabulary)


class MarkSplitter:
    """Finds marks in a text that comes in fragments; what may become a mark is held back."""

    def __init__(self, marks: Sequence[Markup]) -> None:
        self._pattern = re.compile("(" + "|".join(map(re.escape, marks)) + ")") if marks else None
        self._beginnings = {mark[:length] for mark in marks for length in range(1, len(mark))}
        self._longest = max(map(len, self._beginnings), default=0)
        self._held = ""

    def take(self, text: str) -> list[str | Markup]:
        """Texts and marks in turn, as far as they are certain."""
        if self._pattern is None:
            return [text] if text else []
        *found, rest = self._pattern.split(self._held + text)
        cut = beginning_at_the_end(rest, self._beginnings, self._longest)
        self._held = rest[cut:]
        pieces = [*found, rest[:cut]]
        return [Markup(piece) if number % 2 else piece for number, piece in enumerate(pieces) if piece]

    def close(self) -> list[str | Markup]:
        """What was held back: it became no mark."""
        held, self._held = self._held, ""
        return [held] if held else []


def beginning_at_the_end(text: str, beginnings: Collection[str], longest: int) -> int:
    """Where the longest of these beginnings starts with which the text ends; its length where there is none."""
    for start in range(max(0, len(text) - longest), len(text)):
        if text[start:] in beginnings:
            return start
    return len(text)
