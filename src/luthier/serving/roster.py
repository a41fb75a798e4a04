"""Who is served: names to specialists on one engine, mounted and unmounted while answers run.

A bare NAME means one version at a time; pointing it at another is one step, so that no request sees a half of it.
Knows nothing of where specialists come from.
"""

import difflib

from luthier.errors import ServingError
from luthier.serving.engines.engine import Engine, Mounted
from luthier.serving.protocol import AUTO
from luthier.serving.refusals import UnknownModel
from luthier.serving.served import Served


class Roster:
    """The base and the versions that are mounted on an engine."""

    def __init__(self, base: Served, engine: Engine) -> None:
        self.base = base
        self.engine = engine
        self._by_ref: dict[str, Served] = {}
        self._current: dict[str, str] = {}  # NAME to the NAME@NUMBER that it means

    async def mount(self, one: Served, *, point: bool = True) -> None:
        """Make a version answer; `point`: its bare name means it from then on.

        Raises ServingError where it does not fit the engine, or its name is the base's.
        """
        if one.ref is None or one.name in (self.base.model, AUTO):
            raise ServingError(f"{one.name}: a specialist cannot have this name here: it means something else")
        if one.ref not in self._by_ref:
            await self.engine.mount(Mounted(one.ref, one.adapter, one.shared_prompt_ids()))
            self._by_ref[one.ref] = one
        if point:
            self._current[one.name] = one.ref

    async def unmount(self, ref: str) -> None:
        """Let a version answer no more; what runs of it ends first. Raises UnknownModel."""
        one = self.find(ref)
        if one.ref is None:
            raise ServingError(f"{self.base.model} is the base, which stays")
        del self._by_ref[one.ref]
        if self._current.get(one.name) == one.ref:
            del self._current[one.name]
        await self.engine.unmount(one.ref)

    def point(self, ref: str) -> None:
        """Let a bare name mean this mounted version. Raises UnknownModel."""
        one = self.find(ref)
        if one.ref is not None:
            self._current[one.name] = one.ref

    def find(self, model: str) -> Served:
        """What NAME, NAME@NUMBER or the base's name means. Raises UnknownModel that lists what there is."""
        if model == self.base.model:
            return self.base
        found = self._by_ref.get(self._current.get(model, model))
        if found is not None:
            return found
        near = difflib.get_close_matches(model[:100], [*self._current, self.base.model], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"served are: {', '.join(self.names())}"
        raise UnknownModel(f"no model {model!r:.100} is served; {hint}", "model")

    def names(self) -> list[str]:
        """The base's name, then the specialists'."""
        return [self.base.model, *sorted(self._current)]

    def listed(self) -> list[Served]:
        """The base and every mounted version, by name."""
        return [self.base, *(self._by_ref[ref] for ref in sorted(self._by_ref))]

    def current(self) -> list[Served]:
        """The base and what each bare name means."""
        return [self.find(name) for name in self.names()]
