"""The embedded engine: what the gateway calls, on the event loop. Computing is the worker's (see worker).

This file knows nothing of layers, caches and steps.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.errors import ServingError
from luthier.models.generate import Sampling
from luthier.models.load import LoadedModel, load_model
from luthier.serving.engines.checks import check_ask, check_open, check_queue, not_mounted
from luthier.serving.engines.engine import Ask, Engine, EngineStatus, Mounted, Piece
from luthier.serving.engines.torch.batched import Limits
from luthier.serving.engines.torch.build import Built, build, default_limits
from luthier.serving.engines.torch.overlay import Overlay, read_overlay
from luthier.serving.engines.torch.prefixes import as_ids
from luthier.serving.engines.torch.row import Specialist
from luthier.serving.engines.torch.threads import fastest_num_threads
from luthier.serving.engines.torch.worker import Ticket, Worker

_log = logging.getLogger(__name__)
T = TypeVar("T")


async def open_torch_engine(
    base: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    max_batch: int = 16,
    max_queue: int = 256,
    kv_bytes: int | None = None,
    prefix_bytes: int | None = None,
    num_threads: int | None = None,
) -> Engine:
    """Load a base model and make it ready for specialists.

    kv_bytes: for what answers that run remember; prefix_bytes: for beginnings that are kept computed. None: a part of
    the memory that is free. num_threads: None takes the fastest number, which is tried.

    Raises ModelError, ConfigError, and ServingError for a base that is an adapter.
    """
    loaded = await asyncio.to_thread(load_model, base, dtype=dtype, device=device)
    limits = default_limits(loaded.device, max_batch, max_queue, kv_bytes, prefix_bytes)
    return await asyncio.to_thread(TorchEngine, loaded, limits, num_threads)


class TorchEngine:
    """One base in this process, with adapters over it."""

    name = "torch"

    def __init__(self, loaded: LoadedModel, limits: Limits, num_threads: int | None = None) -> None:
        self._loaded, self._limits = loaded, limits
        self._built: Built = build(loaded, limits)
        if self._built.why_alone is not None:
            _log.warning("%s answers one row at a time: %s", loaded.name, self._built.why_alone)
        self._base = Specialist(None, None, as_ids(()))
        self._mounted: dict[str, Specialist] = {}
        self._mounting: set[str] = set()
        self._leaving: dict[Specialist, asyncio.Future[None]] = {}
        self._num_asks = 0
        self._closed = False
        threads = num_threads or fastest_num_threads(self._built.model, loaded.device)
        _log.info("%s answers with %d of %d threads", loaded.name, threads, torch.get_num_threads())
        self._worker = Worker(
            self._built.computation, self.context_length, limits.max_batch, limits.kv_bytes, threads
        )

    @property
    def context_length(self) -> int:
        """What the base says; where it says nothing, what fits into the memory for one answer."""
        return self._built.context_length

    async def mount(self, specialist: Mounted) -> None:
        """See Engine.mount. Files are read beside the answers that run; laying takes the time between two steps."""
        check_open(self._closed, self._worker.broken)
        name, adapter = specialist.name, specialist.adapter
        if name in self._mounted or name in self._mounting:
            raise ServingError(f"{name} is mounted already; unmount it first")
        self._mounting.add(name)
        try:
            laid = None
            if adapter is not None:
                overlay = await asyncio.to_thread(self._read, Path(adapter))
                check_open(self._closed, self._worker.broken)
                laid = await self._in_worker(lambda: self._built.lay(overlay))
            self._mounted[name] = Specialist(name, laid, as_ids(specialist.shared_prompt_ids))
        finally:
            self._mounting.discard(name)

    def _read(self, folder: Path) -> Overlay:
        loaded = self._loaded
        return read_overlay(loaded.model, folder, self._built.adapter_dtype, loaded.device)

    async def unmount(self, name: str) -> None:
        """See Engine.unmount. No new answer begins from now on. Raises ServingError for an unknown name."""
        specialist = self._mounted.pop(name, None)
        if specialist is None:
            raise not_mounted(name, self._mounted)
        if specialist.num_asks:
            self._leaving[specialist] = asyncio.get_running_loop().create_future()
            try:
                await self._leaving[specialist]
            finally:
                del self._leaving[specialist]
        laid = specialist.laid
        if laid is not None and self._worker.broken is None and not self._closed:
            await self._in_worker(lambda: self._built.take_off(laid))

    async def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        """See Engine.answer."""
        with self._asked(ask) as specialist:
            ticket = Ticket(ask, specialist, asyncio.get_running_loop())
            finished = False
            try:
                self._worker.submit(ticket)
                while not finished:
                    piece = await ticket.pieces.get()
                    finished = isinstance(piece, Exception) or piece.finish_reason is not None
                    if isinstance(piece, Exception):
                        raise piece
                    yield piece
            finally:
                ticket.cancelled = not finished
                if not finished:
                    self._worker.call(_nothing)  # wakes it

    async def embed(self, specialist: str | None, token_ids: tuple[int, ...]) -> NDArray[np.float32]:
        """See Embeds.embed. It is computed between two steps of the answers that run."""
        with self._asked(Ask(specialist, token_ids, Sampling(max_new_tokens=1), frozenset())) as found:
            return await self._in_worker(lambda: self._built.embed(found, token_ids))

    @contextmanager
    def _asked(self, ask: Ask) -> Iterator[Specialist]:
        """Its specialist, which stays as long as it is asked. Raises ServingError, Overloaded, Unavailable."""
        specialist, limits = self._specialist(ask), self._limits
        check_ask(ask, self.context_length - specialist.num_virtual, self._built.vocabulary)
        check_queue(self._num_asks, limits.max_batch, limits.max_queue, self._worker.seconds_per_answer)
        specialist.num_asks += 1
        self._num_asks += 1
        try:
            yield specialist
        finally:
            self._num_asks -= 1
            specialist.num_asks -= 1
            leaving = self._leaving.get(specialist)
            if leaving is not None and not specialist.num_asks and not leaving.done():
                leaving.set_result(None)

    def status(self) -> EngineStatus:
        """See Engine.status."""
        active = self._worker.num_active
        queued = max(0, self._num_asks - active)
        return EngineStatus(active, queued, self._limits.max_queue, dict(self._worker.counters))

    async def close(self) -> None:
        """End what runs and give everything back."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._worker.close)

    def _specialist(self, ask: Ask) -> Specialist:
        check_open(self._closed, self._worker.broken)
        if ask.specialist is None:
            return self._base
        if ask.specialist not in self._mounted:
            raise not_mounted(ask.specialist, self._mounted)
        return self._mounted[ask.specialist]

    async def _in_worker(self, work: Callable[[], T]) -> T:
        """The result of `work`, done between two steps."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: Exception | None) -> None:
            if future.done():  # nobody waits any more
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast(T, result))

        def command() -> None:
            try:
                result = work()
            except Exception as error:  # it is the caller's, and answers that run go on
                loop.call_soon_threadsafe(settle, None, error)
            else:
                loop.call_soon_threadsafe(settle, result, None)

        self._worker.call(command)
        return await future


def _nothing() -> None:
    """Left with the worker so that it looks around."""
