"""Guards over an answer that comes in deltas. Knows nothing of single guards.

Where a guard may redact or refuse, nothing is shown before the answer is whole; else it is shown as it comes, and what
was found is noted at its end.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from luthier.chat.messages import Message
from luthier.serving.guards import Action, GuardSet
from luthier.serving.protocol import Delta, Finished

REFUSED = "content_filter"


async def guarded(
    answers: AsyncGenerator[Delta | Finished, None],
    guards: GuardSet,
    messages: Sequence[Message],
    context: str | None = None,
) -> AsyncGenerator[Delta | Finished, None]:
    """The same answers as the guards let them through. `context`: what they have to rest on."""
    said: dict[int, list[Delta]] = {}
    async with aclosing(answers) as events:
        async for event in events:
            if isinstance(event, Delta):
                said.setdefault(event.index, []).append(event)
                if not guards.holds_answers:
                    yield event
                continue
            deltas = said.pop(event.index, [])
            text, reasoning = "".join(one.text for one in deltas), "".join(one.reasoning for one in deltas)
            verdict = guards.check_output(text, messages, context)
            thought = guards.check_output(reasoning, messages) if reasoning else None
            reasons = (*verdict.reasons, *(thought.reasons if thought else ()))
            refused = Action.REFUSE in (verdict.action, thought.action if thought else None)
            if refused:
                yield Delta(event.index, guards.refusal)
            elif guards.holds_answers and deltas:
                unchanged = verdict.text == text
                yield Delta(
                    event.index,
                    verdict.text,
                    thought.text if thought else "",
                    tuple(call for one in deltas for call in one.tool_calls),
                    tuple(logprob for one in deltas for logprob in one.logprobs) if unchanged else (),
                )
            reason = REFUSED if refused else event.reason
            yield replace(event, reason=reason, flags=(*event.flags, *reasons))
