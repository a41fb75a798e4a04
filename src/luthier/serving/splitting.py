"""A question of several specialists as one answer: its parts are asked like requests of their own, and joined.

Knows neither how questions are split (orchestrate) nor how a version is asked.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from luthier.chat.messages import Message
from luthier.serving.choosing import Choice, Chooser
from luthier.serving.orchestrate import Orchestrated, orchestrate
from luthier.serving.protocol import AUTO, Chosen, Delta, Finished, Request, Usage
from luthier.serving.refusals import BadRequest
from luthier.serving.served import Served

AskVersion = Callable[[Served, Request], Awaitable[list[Delta | Finished]]]


async def split(
    request: Request, chooser: Chooser, ask_version: AskVersion
) -> tuple[Choice, list[Delta | Finished]]:
    """(who answered and how it was split, the joined answer).

    Raises BadRequest where a request cannot be split, and what the parts raise where all of them fail.
    """
    if request.model != AUTO or chooser.router is None:
        raise BadRequest("orchestrate needs the model 'auto' and a router", "orchestrate")
    if request.settings.num_answers != 1 or request.settings.json_schema is not None or request.tools:
        raise BadRequest(
            "orchestrate: expected one free answer: no n, no response_format, no tools", "orchestrate"
        )
    ends: list[Finished] = []

    async def ask(specialist: str | None, question: str, schema: Mapping[str, Any] | None = None) -> str:
        name = chooser.roster.base.model if specialist is None else specialist.partition("@")[0]
        part = replace(
            request,
            model=name,
            messages=(Message("user", question),),
            settings=replace(request.settings, json_schema=schema),
            orchestrate=False,
        )
        events = await ask_version(chooser.find(name), part)
        ends.extend(event for event in events if isinstance(event, Finished))
        return "".join(event.text for event in events if isinstance(event, Delta))

    async def ask_json(prompt: str, schema: Mapping[str, Any]) -> str:
        return await ask(None, prompt, schema)

    found = await orchestrate(request, chooser.router, ask, ask_json)
    told = found.to_dict() | {"word": found.how}
    choice = Choice(Chosen(None, AUTO, found.how, found.why), chooser.roster.base, told)
    return choice, _events(found, ends)


def _events(found: Orchestrated, ends: list[Finished]) -> list[Delta | Finished]:
    usage = Usage(sum(end.usage.num_prompt for end in ends), sum(end.usage.num_generated for end in ends))
    flags = [flag for end in ends for flag in end.flags]
    flags += [f"part_{part.outcome}" for part in found.parts if part.outcome != "answered"]
    reason = "length" if any(end.reason == "length" for end in ends) else "stop"
    return [Delta(0, found.text), Finished(0, reason, usage, flags=tuple(dict.fromkeys(flags)))]
