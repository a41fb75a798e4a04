"""A small honest engine: transformers' own `generate`, one thread for each answer, PEFT's adapters, a queue.

It computes what a model says and nothing else: what the gateway's tests need, on a toy.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from luthier.errors import ServingError
from luthier.models.generate import stream
from luthier.models.load import LoadedModel, attach_adapter, load_model
from luthier.serving.engines.engine import Ask, EngineStatus, Mounted, Overloaded, Piece


class PlainEngine:
    """One model for each adapter (they are tiny), `slots` answers at a time. `delay_seconds`: before each token."""

    name = "plain"

    def __init__(self, base: str, *, slots: int = 4, max_queue: int = 8, delay_seconds: float = 0.0) -> None:
        self._base = base
        self._models: dict[str | None, LoadedModel] = {None: load_model(base, dtype="float32", device="cpu")}
        self._running: dict[str | None, int] = {}
        self._slots = asyncio.Semaphore(slots)
        self._dice = asyncio.Lock()  # torch has one state of chance for all threads
        self.max_queue, self.delay_seconds = max_queue, delay_seconds
        self.active = self.queued = 0
        self.counters = {"adapter_swaps": 0, "generated_tokens": 0, "cancelled": 0}

    @property
    def context_length(self) -> int:
        return self._models[None].context_length

    async def mount(self, specialist: Mounted) -> None:
        loaded = load_model(self._base, dtype="float32", device="cpu")
        if specialist.adapter is not None:
            loaded.model = attach_adapter(loaded.model, specialist.adapter).eval()
        self._models[specialist.name] = loaded

    async def unmount(self, name: str) -> None:
        while self._running.get(name):
            await asyncio.sleep(0.01)
        del self._models[name]

    async def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        if self._slots.locked() and self.queued >= self.max_queue:
            raise Overloaded(f"{self.queued} requests wait already", retry_after_seconds=2.0)
        loaded = self._models.get(ask.specialist)
        if loaded is None:
            raise ServingError(f"{ask.specialist} is not mounted")
        self.queued += 1
        try:
            await self._slots.acquire()
        finally:
            self.queued -= 1
        self.active += 1
        self._running[ask.specialist] = self._running.get(ask.specialist, 0) + 1
        finished = False
        try:
            alone = self._dice if ask.sampling.temperature > 0 else contextlib.nullcontext()
            async with alone, aclosing(self._generated(loaded, ask)) as pieces:
                async for piece in pieces:
                    finished = piece.finish_reason is not None
                    yield piece
        finally:
            self.active -= 1
            self._running[ask.specialist] -= 1
            self.counters["cancelled"] += not finished
            self._slots.release()

    async def _generated(self, loaded: LoadedModel, ask: Ask) -> Any:
        tokens = stream(loaded, ask.prompt_ids, ask.sampling)
        waiting: list[int] = []
        try:
            count = 0
            while (token := await asyncio.to_thread(next, tokens, None)) is not None:
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                count += 1
                self.counters["generated_tokens"] += 1
                if waiting:
                    yield Piece((waiting.pop(),))
                waiting.append(token)
                if token in ask.stop_ids:
                    break
            reason = "stop" if waiting and waiting[-1] in ask.stop_ids else "length"
            yield Piece(tuple(waiting), finish_reason=reason)
        finally:
            await asyncio.to_thread(tokens.close)

    def status(self) -> EngineStatus:
        return EngineStatus(self.active, self.queued, self.max_queue, dict(self.counters))

    async def close(self) -> None:
        while self.active:
            await asyncio.sleep(0.01)
