"""One answer of an engine, from its pieces to the deltas that a client sees.

Stop texts end it, however an engine cuts its pieces; a limit in seconds ends it too. Knows nothing of who answers.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import cast

from luthier.chat.parts import Part
from luthier.chat.stream import AnswerStream, PlainStream
from luthier.serving.engines.engine import Ask, Engine, Overloaded, Piece, TokenLogprob
from luthier.serving.protocol import Delta, Finished, Logprob, Usage

TOO_SLOW = "generation_time"  # the flag of an answer that was cut by the clock


async def answer(
    engine: Engine,
    ask: Ask,
    stream: AnswerStream | PlainStream,
    decode: Callable[[Sequence[int]], str],
    *,
    index: int,
    timeout_seconds: float,
) -> AsyncGenerator[Delta | Finished, None]:
    """The deltas of answer number `index`, then how it finished. Closing it cancels the engine's work.

    Raises what the engine raises, and Overloaded where nothing came in time.
    """
    logprobs = _Logprobs(decode, ask.stop_ids)
    num_generated, num_cached, reason = 0, 0, "length"
    flags: tuple[str, ...] = ()
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    async with aclosing(cast(AsyncGenerator[Piece, None], engine.answer(ask))) as pieces:
        while not stream.stopped:
            try:
                async with asyncio.timeout_at(deadline):
                    piece = await anext(pieces, None)
            except TimeoutError:
                if num_generated == 0:
                    raise Overloaded(f"no answer began within {timeout_seconds:g} seconds") from None
                flags = (TOO_SLOW,)
                break
            if piece is None:
                break
            num_generated += len(piece.token_ids) or bool(piece.text)
            part = _part(stream, piece)
            delta = Delta(index, part.text, part.reasoning, part.tool_calls, logprobs.take(piece, stream))
            if part or delta.logprobs:
                yield delta
            num_cached, reason = piece.num_prompt_cached, piece.finish_reason or reason
    if stream.stopped:
        reason = "stop"
    else:
        part = stream.close()
        if part or logprobs.pending:
            yield Delta(index, part.text, part.reasoning, part.tool_calls, logprobs.close())
    if stream.num_tool_calls and reason == "stop":
        reason = "tool_calls"
    yield Finished(index, reason, Usage(len(ask.prompt_ids), num_generated, num_cached), flags=flags)


def _part(stream: AnswerStream | PlainStream, piece: Piece) -> Part:
    said = [stream.take(token) for token in piece.token_ids]
    said += [stream.take_text(piece.text)] if piece.text else []
    if len(said) == 1:
        return said[0]
    calls = tuple(call for part in said for call in part.tool_calls)
    return Part("".join(part.text for part in said), "".join(part.reasoning for part in said), calls)


class _Logprobs:
    """Held back as long as text is: of tokens that a stop text touches, none is shown."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop_ids: frozenset[int]) -> None:
        self._decode, self._stop_ids = decode, stop_ids
        self.pending: list[Logprob] = []

    def take(self, piece: Piece, stream: AnswerStream | PlainStream) -> tuple[Logprob, ...]:
        self.pending += [self._shown(one) for one in piece.logprobs if one.token_id not in self._stop_ids]
        if stream.stopped:
            self.pending = []
        return () if stream.holds_text else self.close()

    def close(self) -> tuple[Logprob, ...]:
        found, self.pending = tuple(self.pending), []
        return found

    def _shown(self, one: TokenLogprob) -> Logprob:
        top = tuple((self._decode([token]), logprob) for token, logprob in one.top)
        return Logprob(self._decode([one.token_id]), one.logprob, top)
