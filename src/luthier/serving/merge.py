"""Several streams as one, in the order in which their items come. Knows nothing of what they hold."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")
_MOST_WAITING = 8


async def in_order(items: Iterable[T]) -> AsyncGenerator[T, None]:
    """What is there already, as a stream."""
    for item in items:
        yield item


async def merged(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """Every item of every stream. A stream is read no further than the reader follows. Closing it closes them all.

    The first error of a stream ends all the others and is raised.
    """
    if len(streams) == 1:
        async with aclosing(streams[0]) as only:
            async for item in only:
                yield item
        return
    items: asyncio.Queue[T | BaseException | None] = asyncio.Queue(_MOST_WAITING)

    async def read(stream: AsyncGenerator[T, None]) -> None:
        end: BaseException | None = None
        try:
            async with aclosing(stream):
                async for item in stream:
                    await items.put(item)
        except Exception as error:  # handed to the reader, who raises it
            end = error
        await items.put(end)

    tasks = [asyncio.create_task(read(stream)) for stream in streams]
    try:
        running = len(tasks)
        while running:
            found = await items.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                running -= 1
            else:
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
