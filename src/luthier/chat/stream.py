"""An answer taken apart while its tokens come: what it gives, put together, is what `Renderer.parse` gives.

A character whose bytes are not all there, and what may become a mark or a stop text, is held back until it is known.
Each token costs the same: only the last few are decoded, behind those that were shown before them.
"""

from collections.abc import Callable, Collection, Sequence

from luthier.chat.messages import ToolCall
from luthier.chat.parse import AnswerTokens, MarkSplitter, beginning_at_the_end, marks_as_text
from luthier.chat.parts import Markup, Part, Parts

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_LONGEST_WINDOW = 12


class TextStream:
    """Ids to text as they come. `byte_ids`: tokens of a single byte, whose runs are read as a whole."""

    def __init__(self, decode: Callable[[list[int]], str], byte_ids: Collection[int] = ()) -> None:
        self._decode, self._byte_ids = decode, byte_ids
        self._context: list[int] = []  # shown already; some decoders look at what stands before
        self._window: list[int] = []
        self._num_shown = 0  # characters of the window

    def take(self, token_id: int) -> str:
        """The text that is certain now."""
        self._window.append(token_id)
        if token_id in self._byte_ids:
            return ""
        text = self._text(self._window)
        certain = text.removesuffix(_UNKNOWN)
        shown, self._num_shown = certain[self._num_shown :], max(self._num_shown, len(certain))
        if certain == text:
            self._context, self._window, self._num_shown = self._window, [], 0
        elif len(self._window) > _LONGEST_WINDOW:
            self._shorten(text)
        return shown

    def close(self) -> str:
        """End the text: what was held back. Another one may follow."""
        rest = self._text(self._window)[self._num_shown :] if self._window else ""
        self._context, self._window, self._num_shown = [], [], 0
        return rest

    def _text(self, ids: list[int]) -> str:
        if not self._context:
            return self._decode(ids)
        return self._decode(self._context + ids).removeprefix(self._decode(self._context))

    def _shorten(self, text: str) -> None:
        """Bytes that are no text may come without end: cut where both sides read the same apart and together."""
        for cut in range(len(self._window) // 2, len(self._window)):
            before, after = self._text(self._window[:cut]), self._decode(self._window[cut:])
            if after and before + after == text:
                self._context, self._window = [], self._window[cut:]
                self._num_shown -= len(before)
                return


class StopTexts:
    """Ends a text before whichever of some strings is whole first; fragments may be cut anywhere."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._beginnings = {stop[:length] for stop in self._stops for length in range(1, len(stop))}
        self._longest = max(map(len, self._beginnings), default=0)
        self._held = ""
        self.found = False

    @property
    def holds(self) -> bool:
        """Whether something is held back that may become a stop text."""
        return bool(self._held)

    def take(self, text: str) -> str:
        """What may be shown now."""
        if self.found or not self._stops:
            return "" if self.found else text
        text = self._held + text
        found = [(place + len(stop), place) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.found, self._held = True, ""
            return text[: min(found)[1]]
        cut = beginning_at_the_end(text, self._beginnings, self._longest)
        self._held = text[cut:]
        return text[:cut]

    def close(self) -> str:
        """What was held back: it became no stop text."""
        held, self._held = self._held, ""
        return held


class AnswerStream:
    """One answer. Ask `stopped` after each step: then a stop text came, and nothing that follows is shown."""

    def __init__(
        self,
        tokens: AnswerTokens,
        decode: Callable[[list[int]], str],
        *,
        byte_ids: Collection[int] = (),
        stops: Sequence[str] = (),
    ) -> None:
        self._tokens = tokens
        self._text = TextStream(decode, byte_ids)
        self._marks = MarkSplitter(marks_as_text(tokens.markup_ids))
        self._all_marks = MarkSplitter(tuple(Markup))
        self._parts = Parts(in_reasoning=tokens.opens_thinking)
        self._stops = StopTexts(stops)
        self.num_tool_calls = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop text was found."""
        return self._stops.found

    @property
    def holds_text(self) -> bool:
        """Whether text is held back that may become a stop text."""
        return self._stops.holds

    def take(self, token_id: int) -> Part:
        """The next token; a stop id says nothing."""
        if token_id in self._tokens.stop_ids:
            return Part()
        mark = self._tokens.markup_ids.get(token_id)
        if mark is None:
            return self._shown(self._marks.take(self._text.take(token_id)))
        return self._shown([*self._end_of_run(), mark])

    def take_text(self, text: str) -> Part:
        """The next text, from an engine that gives no ids: every mark is recognised by its characters."""
        return self._shown(self._all_marks.take(text))

    def close(self) -> Part:
        """End the answer: all that was held back."""
        last = self._shown([*self._end_of_run(), *self._all_marks.close()])
        rest, _ = self._parts.close()
        text = last.text + self._stops.take(rest.text) + self._stops.close()
        return Part(text, last.reasoning + rest.reasoning, last.tool_calls)

    def _end_of_run(self) -> list[str | Markup]:
        return [*self._marks.take(self._text.close()), *self._marks.close()]

    def _shown(self, pieces: Sequence[str | Markup]) -> Part:
        text, reasoning = "", ""
        calls: list[ToolCall] = []
        for piece in pieces:
            if self._stops.found:
                break
            part = self._parts.mark(piece) if isinstance(piece, Markup) else self._parts.take(piece)
            text += self._stops.take(part.text) if part.text else ""
            reasoning += part.reasoning
            calls += part.tool_calls
        self.num_tool_calls += len(calls)
        return Part(text, reasoning, tuple(calls))


class PlainStream:
    """The same for a text that continues a text: nothing in it is a mark."""

    num_tool_calls = 0

    def __init__(
        self,
        stop_ids: Collection[int],
        decode: Callable[[list[int]], str],
        *,
        byte_ids: Collection[int] = (),
        stops: Sequence[str] = (),
    ) -> None:
        self._stop_ids = stop_ids
        self._text = TextStream(decode, byte_ids)
        self._stops = StopTexts(stops)

    @property
    def stopped(self) -> bool:
        return self._stops.found

    @property
    def holds_text(self) -> bool:
        return self._stops.holds

    def take(self, token_id: int) -> Part:
        return Part() if token_id in self._stop_ids else self.take_text(self._text.take(token_id))

    def take_text(self, text: str) -> Part:
        return Part(self._stops.take(text) if text else "")

    def close(self) -> Part:
        return Part(self._stops.take(self._text.close()) + self._stops.close())
