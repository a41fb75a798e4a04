"""Tool tags in an answer that comes in deltas: the answer is shown once it is whole, with their results in their place.

Knows nothing of single tools.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from luthier.serving.protocol import Delta, Finished
from luthier.serving.tools import Tool, expand_tool_tags


async def with_results(
    answers: AsyncGenerator[Delta | Finished, None], tools: Sequence[Tool]
) -> AsyncGenerator[Delta | Finished, None]:
    """The same answers, each with its tags replaced. Tools run in a thread: others are answered meanwhile."""
    said: dict[int, list[Delta]] = {}
    async with aclosing(answers) as events:
        async for event in events:
            if isinstance(event, Delta):
                said.setdefault(event.index, []).append(event)
                continue
            deltas = said.pop(event.index, [])
            text = "".join(one.text for one in deltas)
            expanded = await asyncio.to_thread(expand_tool_tags, text, tools)
            if deltas:
                yield Delta(
                    event.index,
                    expanded,
                    "".join(one.reasoning for one in deltas),
                    tuple(call for one in deltas for call in one.tool_calls),
                    tuple(logprob for one in deltas for logprob in one.logprobs) if expanded == text else (),
                )
            yield event
