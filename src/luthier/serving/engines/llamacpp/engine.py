"""The engine of GGUF files: what the gateway calls, on the event loop. Computing is the worker's (see worker).

This file knows nothing of sequences, turns and steps.
"""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

from luthier.errors import ConfigError, ServingError
from luthier.models.generate import Sampling
from luthier.serving.engines.checks import check_ask, check_open, check_queue, not_mounted
from luthier.serving.engines.engine import Ask, Engine, EngineStatus, Mounted, Piece
from luthier.serving.engines.llamacpp.context import SharedContext
from luthier.serving.engines.llamacpp.places import Places
from luthier.serving.engines.llamacpp.row import Row, Specialist
from luthier.serving.engines.llamacpp.worker import Heard, Worker

MAX_SEQUENCES = 256
"""llama.cpp's own limit."""
_BLOCK = 256  # tokens of one step: longer prompts are read in parts, and answers that run go on between them
_TURN_STEPS = 4
T = TypeVar("T")


async def open_llamacpp_engine(
    gguf: str | Path,
    *,
    context_length: int = 0,
    max_batch: int = 16,
    num_threads: int | None = None,
    max_queue: int = 256,
    max_kept: int = 8,
) -> Engine:
    """Load a GGUF file and make it ready for LoRA-GGUFs.

    context_length: tokens of one prompt and its answer; 0, or more than the model was made for: what the file says.
    max_batch: answers that run at once. num_threads: see GgufContext. max_kept: system prompts and conversations that
    stay computed beside them. Memory is taken at once for the keys and values, in float32, of context_length tokens for
    each of max_batch + max_kept. Raises ModelError where llama.cpp is missing, cannot load the file or has no memory,
    ConfigError for numbers out of range.
    """
    fits = max_batch + max_kept <= MAX_SEQUENCES
    if max_batch < 1 or min(max_queue, context_length, max_kept) < 0 or not fits:
        raise ConfigError(
            f"expected max_batch of at least 1, max_queue, context_length and max_kept of at least 0, max_batch and "
            f"max_kept of at most {MAX_SEQUENCES} together; got {max_batch}, {max_queue}, {context_length}, {max_kept}"
        )
    context = await asyncio.to_thread(
        SharedContext,
        gguf,
        context_length=context_length,
        num_sequences=max_batch + max_kept,
        block=max(_BLOCK, max_batch),
        num_threads=num_threads,
    )
    return LlamaCppEngine(context, max_batch=max_batch, max_queue=max_queue)


class LlamaCppEngine:
    """One GGUF file in this process, with LoRA-GGUFs that are laid over it in turns."""

    name = "llamacpp"

    def __init__(self, context: SharedContext, *, max_batch: int, max_queue: int) -> None:
        self._context = context
        self._max_batch, self._max_queue = max_batch, max_queue
        self._loop = asyncio.get_running_loop()
        self._base = Specialist(None, 0)
        self._mounted: dict[str, Specialist] = {}
        self._leaving: dict[Specialist, asyncio.Event] = {}
        self._num_asks = 0
        self._closed = False
        self._places = Places(context)
        self._worker = Worker(
            context, self._places, max_batch=max_batch, turn_steps=_TURN_STEPS, hand_over=self._hand_over
        )

    @property
    def context_length(self) -> int:
        return self._context.context_length

    async def mount(self, specialist: Mounted) -> None:
        """See Engine.mount. The file is read between two steps. Raises ModelError where it does not fit."""
        check_open(self._closed, self._worker.broken)
        name = specialist.name
        if name in self._mounted:
            raise ServingError(f"{name} is mounted already; unmount it first")
        self._mounted[name] = found = Specialist(name, 0, specialist.shared_prompt_ids)
        try:
            if specialist.adapter is not None:
                path = Path(specialist.adapter)
                found.adapter = await self._in_worker(lambda: self._context.read_adapter(path))
        except BaseException:
            del self._mounted[name]
            raise
        found.ready = True
        self._keep_beginning(found)

    async def unmount(self, name: str) -> None:
        """See Engine.unmount. No new answer begins from now on. Raises ServingError for an unknown name."""
        specialist = self._mounted.pop(name, None)
        if specialist is None:
            raise not_mounted(name, self._mounted)
        if specialist.num_asks:
            self._leaving[specialist] = asyncio.Event()
            await self._leaving[specialist].wait()
            del self._leaving[specialist]
        if specialist.beginning is not None:
            self._worker.cancel(specialist.beginning)
        if specialist.adapter and not self._closed and self._worker.broken is None:
            await self._in_worker(lambda: self._take_off(specialist.adapter))

    def _take_off(self, adapter: int) -> None:
        self._places.forget(adapter)
        self._context.drop_adapter(adapter)

    async def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        """See Engine.answer."""
        specialist = self._specialist(ask)
        check_ask(ask, self.context_length, self._context.num_tokens)
        check_queue(self._num_asks, self._max_batch, self._max_queue, self._worker.seconds_per_answer)
        pieces: asyncio.Queue[Piece | ServingError] = asyncio.Queue()
        num_new = min(ask.sampling.max_new_tokens, self.context_length - len(ask.prompt_ids))
        row = Row(ask, specialist, num_new, pieces.put_nowait)
        specialist.num_asks += 1
        self._num_asks += 1
        ended = False
        try:
            self._worker.submit(row)
            while not ended:
                piece = await pieces.get()
                ended = isinstance(piece, ServingError) or piece.finish_reason is not None
                if isinstance(piece, ServingError):
                    raise piece
                yield piece
        finally:
            if not ended:
                self._worker.cancel(row)
            self._num_asks -= 1
            specialist.num_asks -= 1
            if not specialist.num_asks and specialist in self._leaving:
                self._leaving[specialist].set()

    def status(self) -> EngineStatus:
        """See Engine.status."""
        active = min(self._worker.num_active, self._num_asks)
        return EngineStatus(active, self._num_asks - active, self._max_queue, dict(self._worker.counters))

    async def close(self) -> None:
        """End what runs and give everything back."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._worker.close)
            self._context.close()

    def _keep_beginning(self, specialist: Specialist) -> None:
        """Have the system prompt computed, by an answer of no tokens that nobody hears."""
        ids = specialist.shared_prompt_ids
        if ids and len(ids) < self.context_length and self._context.forgets_partly:
            ask = Ask(specialist.name, ids, Sampling(max_new_tokens=0), frozenset())
            specialist.beginning = Row(ask, specialist, 0, lambda _: None)
            self._worker.submit(specialist.beginning)

    def _hand_over(self, heard: Heard) -> None:
        """From the worker's thread into the event loop, once a step."""
        if not self._loop.is_closed():  # its readers are gone with it
            self._loop.call_soon_threadsafe(_deliver, heard)

    def _specialist(self, ask: Ask) -> Specialist:
        check_open(self._closed, self._worker.broken)
        if ask.specialist is None:
            return self._base
        found = self._mounted.get(ask.specialist)
        if found is None or not found.ready:
            raise not_mounted(ask.specialist, self._mounted)
        return found

    async def _in_worker(self, work: Callable[[], T]) -> T:
        """The result of `work`, done between two steps."""
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def command() -> None:
            try:
                done.set_result(work())
            except Exception as error:  # it is the caller's, and answers that run go on
                done.set_exception(error)

        self._worker.call(command)
        return await asyncio.wrap_future(done)


def _deliver(heard: Heard) -> None:
    for row, piece in heard:
        row.hear(piece)
