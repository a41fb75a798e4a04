"""What a model says, taken apart as it comes: text, reasoning and tool calls, from fragments of text and marks.

However an answer is cut into fragments, the parts put together are the same. Line breaks whose fate is open (before a
tool call and at the edges of reasoning they are dropped) are held back until it is known.
Knows nothing of tokens.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

from luthier.chat.messages import ToolCall


class Markup(StrEnum):
    """The strings around the parts of an answer that are not its text."""

    THINK_OPEN = "<think>"
    THINK_CLOSE = "</think>"
    CALL_OPEN = "<tool_call>"
    CALL_CLOSE = "</tool_call>"


@dataclass(frozen=True, slots=True)
class Part:
    """The next of what was said."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.tool_calls)


class Parts:
    """Takes fragments and marks in order. `is_broken`: a mark stood where none may, or a call could not be read."""

    def __init__(self, *, in_reasoning: bool) -> None:
        self.is_broken = False
        self._open: Markup | None = Markup.THINK_OPEN if in_reasoning else None
        self._call = ""
        self._call_unread = False
        self._line_breaks = ""  # the last ones of the text or of the reasoning: shown once something follows
        self._text_breaks = ""  # those of the text, while reasoning is open
        self._has_reasoning = False  # something of it was shown
        self._block_is_empty = True  # nothing of the reasoning that is open was shown
        self._after_reasoning = False  # the first text after reasoning begins without line breaks
        self._in_first_text = False

    def take(self, text: str) -> Part:
        """The next text; it may be cut anywhere."""
        if not text:
            return Part()
        if self._open is Markup.CALL_OPEN:
            self._call += text
            return Part()
        if self._open is Markup.THINK_OPEN:
            return self._reasoning(text)
        if self._after_reasoning:
            self._after_reasoning, self._in_first_text = False, True
        if self._in_first_text:
            text = text.lstrip("\n")
            self._in_first_text = not text
        return self._text(text)

    def mark(self, mark: Markup) -> Part:
        """The next mark."""
        self._in_first_text = False
        if self._open is Markup.CALL_OPEN:
            return self._close_call() if mark is Markup.CALL_CLOSE else self._add_to_call(mark)
        if self._open is Markup.THINK_OPEN:
            if mark is not Markup.THINK_CLOSE:
                return self._reasoning(mark)
            self._open, self._line_breaks, self._after_reasoning = None, self._text_breaks, True
            return Part()
        if mark is Markup.CALL_OPEN:
            self._line_breaks = self._line_breaks.removesuffix("\n")
            self._open, self._call = mark, ""
            return Part()
        if mark is Markup.THINK_OPEN:
            self._open, self._text_breaks, self._line_breaks = mark, self._line_breaks, ""
            self._block_is_empty = True
            return Part()
        self.is_broken, self._after_reasoning = True, False
        return self._text(mark)

    def close(self) -> tuple[Part, bool]:
        """End the answer: what was held back, and whether reasoning or a call was left open."""
        if self._open is Markup.THINK_OPEN:
            return Part(text=self._text_breaks), True
        if self._open is Markup.CALL_OPEN:
            self.is_broken = self.is_broken or self._call_unread
            return Part(text=self._line_breaks + Markup.CALL_OPEN + self._call), True
        return Part(text=self._line_breaks), False

    def _text(self, text: str) -> Part:
        return Part(text=self._hold_breaks(text))

    def _reasoning(self, text: str) -> Part:
        if self._block_is_empty:
            text = text.lstrip("\n")
            if not text:
                return Part()
            if self._has_reasoning:
                text = "\n" + text
            self._block_is_empty, self._has_reasoning = False, True
        return Part(reasoning=self._hold_breaks(text))

    def _hold_breaks(self, text: str) -> str:
        """What may be shown of this text behind what was held; its last line breaks are held in turn."""
        body = text.rstrip("\n")
        if not body:
            self._line_breaks += text
            return ""
        shown, self._line_breaks = self._line_breaks + body, text[len(body) :]
        return shown

    def _add_to_call(self, text: str) -> Part:
        self._call += text
        return Part()

    def _close_call(self) -> Part:
        call = read_call(self._call)
        if call is None:
            # The closing string may stand inside the JSON, where it is plain text: read on to the next one.
            self._call_unread = True
            return self._add_to_call(Markup.CALL_CLOSE)
        self._open, self._call, self._call_unread = None, "", False
        return Part(tool_calls=(call,))


def read_call(text: str) -> ToolCall | None:
    """A tool call from the JSON between its marks; None where it is none."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", {})
    return ToolCall(value["name"], arguments) if isinstance(arguments, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
