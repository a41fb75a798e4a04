"""Who can answer: the base and the versions of specialists that are laid over it on one engine.

Versions come and go while answers run. Which version a bare name means is the traffic's matter, not known here.
"""

import asyncio
import difflib
from collections.abc import Callable, Collection

from luthier.errors import ServingError
from luthier.registry.specialist import Specialist
from luthier.serving.engines.engine import Engine, Mounted
from luthier.serving.protocol import AUTO
from luthier.serving.refusals import UnknownModel
from luthier.serving.served import Served


class Roster:
    """The base, and every mounted version by `NAME@NUMBER`."""

    def __init__(self, base: Served, engine: Engine, opened: Callable[[Specialist], Served]) -> None:
        """`opened` makes a version of the store ready to be asked; it reads the disk, off the event loop."""
        self.base = base
        self.engine = engine
        self._opened = opened
        self._by_ref: dict[str, Served] = {}

    def mounted(self) -> Collection[str]:
        """The versions that can answer."""
        return self._by_ref.keys()

    async def mount(self, specialist: Specialist) -> None:
        """Lay a version over the base; nothing happens where it is there.

        Raises ServingError where it does not fit, or its name means something else here.
        """
        if specialist.ref in self._by_ref:
            return
        if specialist.name in (self.base.model, AUTO):
            raise ServingError(
                f"{specialist.ref}: {specialist.name!r} means the base or the router here: commit it under another name"
            )
        one = await asyncio.to_thread(self._opened, specialist)
        await self.engine.mount(Mounted(specialist.ref, one.adapter, one.shared_prompt_ids()))
        self._by_ref[specialist.ref] = one

    async def unmount(self, ref: str) -> None:
        """Let a version answer no more; what runs of it ends first. Raises UnknownModel."""
        self.find(ref)
        del self._by_ref[ref]
        await self.engine.unmount(ref)

    def find(self, ref: str) -> Served:
        """The version NAME@NUMBER. Raises UnknownModel that lists what there is."""
        try:
            return self._by_ref[ref]
        except KeyError:
            raise self.unknown(ref, self._by_ref) from None

    def unknown(self, model: str, names: Collection[str]) -> UnknownModel:
        """The error for a name that nobody has; `names`: those that there are."""
        near = difflib.get_close_matches(model[:100], [*names, self.base.model], n=1)
        served = ", ".join([self.base.model, *sorted(names)][:20])
        hint = f"did you mean {near[0]!r}?" if near else f"served are: {served}"
        return UnknownModel(f"no model {model!r:.100} is served; {hint}", "model")
