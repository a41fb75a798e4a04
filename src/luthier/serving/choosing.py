"""Which version answers a request: by name, by the traffic's plan for a name, or by the router. Knows no engine."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from luthier.hashing import hash_text
from luthier.serving.protocol import AUTO, Chosen, Request
from luthier.serving.refusals import BadRequest
from luthier.serving.roster import Roster
from luthier.serving.router import Decision, Router
from luthier.serving.served import Served
from luthier.serving.traffic import SHADOW, Traffic, conversation_key

NAMED = "named"


@dataclass(frozen=True)
class Choice:
    """Who answers. `decision`: the router's, as JSON values; `shadows`: who answers too, unseen."""

    chosen: Chosen
    served: Served
    decision: Mapping[str, Any] | None = None
    shadows: tuple[Served, ...] = ()


class Chooser:
    """Names and questions to versions."""

    def __init__(self, roster: Roster, traffic: Traffic, router: Router | None = None) -> None:
        self.roster, self.traffic, self.router = roster, traffic, router

    async def choose(self, request: Request) -> Choice:
        """Raises UnknownModel, and BadRequest where `auto` is asked for and there is no router."""
        if request.model == AUTO:
            return self._placed(request, await self._decided(_question(request)))
        served, shadows = self._named(request.model, request)
        return Choice(Chosen(served.ref, served.model, NAMED, "asked for by name"), served, None, shadows)

    def names(self) -> list[str]:
        """What may be asked for without a version: the base, the specialists, `auto` where there is a router."""
        return [self.roster.base.model, *self.traffic.names(), *([AUTO] if self.router else [])]

    def find(self, model: str) -> Served:
        """What a name means, for who asks about it and not it. Raises UnknownModel."""
        return self._named(model, Request("", model))[0]

    async def _decided(self, question: str) -> Decision:
        router = self.router
        if router is None:
            raise BadRequest("model 'auto' needs a router: luthier serve --router FOLDER", "model")
        if router.embed is None:
            return router.route(question)
        return await asyncio.to_thread(router.route, question)  # tens of milliseconds: others go on meanwhile

    def _named(self, model: str, request: Request) -> tuple[Served, tuple[Served, ...]]:
        if model == self.roster.base.model:
            return self.roster.base, ()
        placements = self.traffic.choose(model, _place_key(request))
        if not placements:
            if model in self.roster.mounted():
                return self.roster.find(model), ()
            raise self.roster.unknown(model, self.traffic.names())
        live, *others = placements
        mounted = self.roster.mounted()
        shadows = [one.specialist for one in others if one.role == SHADOW and one.specialist in mounted]
        return self.roster.find(live.specialist), tuple(map(self.roster.find, shadows))

    def _placed(self, request: Request, decision: Decision) -> Choice:
        told = asdict(decision) | {"word": decision.word.value}
        name = (decision.specialist or "").partition("@")[0]
        served, why = self.roster.base, decision.why
        shadows: tuple[Served, ...] = ()
        if name in self.traffic.names():
            served, shadows = self._named(name, request)
        elif name:
            why = f"{why}; {name} is not served here, so the base answers"
        chosen = Chosen(served.ref, served.model, decision.word.value, why, decision.probability)
        return Choice(chosen, served, told, shadows)


def _question(request: Request) -> str:
    """What the router reads: the last thing that a person said."""
    said = [message.content for message in request.messages if message.role == "user"]
    return said[-1] if said else request.prompt or ""


def _place_key(request: Request) -> str:
    if request.key_id is not None:
        return request.key_id
    return conversation_key(request.messages) if request.messages else hash_text(request.prompt or "")
