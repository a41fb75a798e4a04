"""What a model said, taken apart: text, reasoning, tool calls, and the word for how it ended.

Markup that is a token of the vocabulary (`<think>` in Qwen3) is recognised by its id, so the same
characters written as plain text stay text. Where the vocabulary has no such token, the characters count.
Knows nothing of templates and tokenizers: decoding and the ids are handed in.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from luthier.chat.messages import ToolCall


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


class Markup(StrEnum):
    """The strings around the parts of an answer that are not its text."""

    THINK_OPEN = "<think>"
    THINK_CLOSE = "</think>"
    CALL_OPEN = "<tool_call>"
    CALL_CLOSE = "</tool_call>"


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
    parts = _Parts(in_reasoning=tokens.opens_thinking)
    for piece in _pieces(body, tokens.markup_ids, decode):
        parts.take(piece)
    is_open = parts.close()
    stray = any(token in tokens.special_ids and token not in tokens.markup_ids for token in body)
    if stray or parts.is_broken or (is_open and stop_at is not None):
        termination = Termination.MALFORMED
    elif stop_at is None:
        termination = Termination.LENGTH
    else:
        termination = Termination.CLEAN if token_ids[stop_at] == tokens.stop_ids[0] else Termination.EOS
    kept = token_ids if stop_at is None else token_ids[: stop_at + 1]
    return Answer(parts.text, parts.reasoning, tuple(parts.tool_calls), termination, tuple(kept))


def _pieces(
    body: list[int], markup_ids: Mapping[int, Markup], decode: Callable[[list[int]], str]
) -> list[str | Markup]:
    """The ids as texts and markup in turn."""
    in_vocabulary = set(markup_ids.values())
    as_text = {str(mark): mark for mark in Markup if mark not in in_vocabulary}
    splitter = re.compile("(" + "|".join(map(re.escape, as_text)) + ")") if as_text else None
    pieces: list[str | Markup] = []

    def add(run: list[int]) -> None:
        text = decode(run) if run else ""
        for piece in splitter.split(text) if splitter else [text]:
            if piece:
                pieces.append(as_text.get(piece, piece))

    start = 0
    for i, token in enumerate(body):
        if token in markup_ids:
            add(body[start:i])
            pieces.append(markup_ids[token])
            start = i + 1
    add(body[start:])
    return pieces


class _Parts:
    """Collects pieces: text, the reasoning while it is open, and the tool call while one is open."""

    def __init__(self, in_reasoning: bool) -> None:
        self.text = ""
        self.reasoning: str | None = None
        self.tool_calls: list[ToolCall] = []
        self.is_broken = False
        self._open: Markup | None = Markup.THINK_OPEN if in_reasoning else None
        self._buffer = ""
        self._unread = False
        self._after_reasoning = False

    def take(self, piece: str | Markup) -> None:
        if self._open is None:
            self._take_text(piece)
        elif self._open is Markup.THINK_OPEN and piece is Markup.THINK_CLOSE:
            self._close_reasoning()
        elif self._open is Markup.CALL_OPEN and piece is Markup.CALL_CLOSE:
            self._close_call()
        else:
            self._buffer += piece

    def close(self) -> bool:
        """End the answer; say whether something was left open."""
        left_open = self._open
        if left_open is Markup.THINK_OPEN:
            self._close_reasoning()
        elif left_open is Markup.CALL_OPEN:
            self.text += Markup.CALL_OPEN + self._buffer
            self.is_broken = self.is_broken or self._unread
        return left_open is not None

    def _take_text(self, piece: str | Markup) -> None:
        if piece is Markup.THINK_OPEN or piece is Markup.CALL_OPEN:
            if piece is Markup.CALL_OPEN:
                self.text = self.text.removesuffix("\n")
            self._open, self._buffer = piece, ""
            return
        if isinstance(piece, Markup):
            self.is_broken = True
        elif self._after_reasoning:
            piece = piece.lstrip("\n")
        self._after_reasoning = False
        self.text += piece

    def _close_reasoning(self) -> None:
        reasoning = "\n".join(filter(None, (self.reasoning, self._buffer.strip("\n"))))
        self.reasoning = reasoning or None
        self._open, self._buffer, self._after_reasoning = None, "", True

    def _close_call(self) -> None:
        call = _read_call(self._buffer)
        if call is None:
            # The closing string may stand inside the JSON, where it is plain text: read on to the next one.
            self._buffer += Markup.CALL_CLOSE
            self._unread = True
            return
        self.tool_calls.append(call)
        self._open, self._buffer, self._unread = None, "", False


def _read_call(text: str) -> ToolCall | None:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", {})
    return ToolCall(value["name"], arguments) if isinstance(arguments, dict) else None
