"""An engine whose specialists are mounted in a form of its own: a LoRA-GGUF, or the name that an upstream knows.

Whoever mounts hands in PEFT folders; what is made of them is handed in as a function. Knows no engine and no form.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from luthier.serving.engines.engine import Ask, Engine, EngineStatus, Mounted, Piece


class Reformed:
    """`engine`, with `form_of` what it is given to mount; called in a thread, and what it raises is raised."""

    def __init__(self, engine: Engine, form_of: Callable[[Mounted], Path | str | None]) -> None:
        self._engine, self._form_of = engine, form_of

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def context_length(self) -> int:
        return self._engine.context_length

    async def mount(self, specialist: Mounted) -> None:
        form = await asyncio.to_thread(self._form_of, specialist)
        await self._engine.mount(replace(specialist, adapter=form))

    async def unmount(self, name: str) -> None:
        await self._engine.unmount(name)

    def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        return self._engine.answer(ask)

    def status(self) -> EngineStatus:
        return self._engine.status()

    async def close(self) -> None:
        await self._engine.close()
