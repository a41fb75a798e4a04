"""What an admin may do while the server runs: load, unload, switch, roll back, split, shadow, canary; and promotions.

A specialist is named by its reference in the store, never by a path: what is no `NAME[@VERSION]` is refused before
anything is looked up. The order is always the same: mount what is new, change the plan, unmount what no plan needs any
more; where the first step fails, nothing has changed. Knows nothing of HTTP and of engines.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol

from luthier.errors import LuthierError, ServingError
from luthier.registry.specialist import Specialist, check_name, parse_ref
from luthier.registry.specialists import PRODUCTION, SpecialistStore
from luthier.serving.canary import Rule
from luthier.serving.traffic import Plan, Traffic

POLL_SECONDS = 2.0
_LONGEST_REF = 130
_log = logging.getLogger(__name__)


class Mounts(Protocol):
    """What is laid over the base now, by `NAME@NUMBER`."""

    def mounted(self) -> Collection[str]:
        """The versions that can answer."""
        ...

    async def mount(self, specialist: Specialist) -> None:
        """Lay one over the base; nothing happens where it is there. Raises LuthierError where it does not fit."""
        ...

    async def unmount(self, ref: str) -> None:
        """Take one away once nothing that was asked of it runs any more."""
        ...


class Admin:
    """Changes what is served, one change at a time."""

    def __init__(self, store: SpecialistStore, traffic: Traffic, mounts: Mounts) -> None:
        self._store, self._traffic, self._mounts = store, traffic, mounts
        self._one_at_a_time = asyncio.Lock()
        self._actions: dict[str, Callable[..., Awaitable[Plan | None]]] = {
            "load": self.load,
            "unload": self.unload,
            "switch": self.switch,
            "rollback": self.rollback,
            "split": self.split,
            "canary": self.canary,
            "shadow": self.shadow,
            "end_shadow": self.end_shadow,
        }

    async def act(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of `POST /admin/specialists`: an `action` and its fields; the state afterwards as JSON values.

        Raises ServingError where the body is wrong or it cannot be done, RegistryError where there is no such
        specialist.
        """
        action, fields = body.get("action"), {key: value for key, value in body.items() if key != "action"}
        if not isinstance(action, str) or action not in self._actions:
            raise ServingError(f"action: expected one of {', '.join(self._actions)}, got {action!r:.80}")
        expected = FIELDS[action]
        for name in fields:
            if name not in expected:
                raise ServingError(f"{action}: unknown field {name!r:.80}; expected {', '.join(expected)}")
        for name, (kind, is_needed) in expected.items():
            if (is_needed and name not in fields) or (name in fields and not _is(fields[name], kind)):
                raise ServingError(f"{action}: {name}: expected {kind}, got {fields.get(name)!r:.80}")
        await self._actions[action](**fields)
        return self.state()

    def state(self) -> dict[str, Any]:
        """What is mounted, and the plan of each name, as JSON values."""
        plans = {name: _shown(self._traffic.plan(name)) for name in self._traffic.names()}
        return {"mounted": sorted(self._mounts.mounted()), "plans": plans}

    async def restore(self) -> None:
        """At the start: mount what the plans of the last time need.

        Raises LuthierError where a version that answers cannot be mounted; of others it is logged.
        """
        async with self._one_at_a_time:
            answering = {
                share.specialist
                for name in self._traffic.names()
                for share in self._traffic.plan(name).shares
            }
            for ref in sorted(self._traffic.specialists()):
                try:
                    await self._mounted(ref)
                except LuthierError as error:
                    if ref in answering:
                        raise
                    _log.warning(
                        "%s is kept for a rollback or a shadow and cannot be mounted: %s", ref, error
                    )

    async def load(self, specialist: str) -> Plan | None:
        """Mount a version. It answers under its name where that is new, else only when it is asked for by number."""
        async with self._one_at_a_time:
            found = await self._mounted(specialist)
            if found.name not in self._traffic.names():
                return self._traffic.switch(found.name, found.ref)
            return self._traffic.plan(found.name)

    async def unload(self, specialist: str) -> None:
        """`NAME`: the name and all its versions; `NAME@3`: a version that no plan needs."""
        async with self._one_at_a_time:
            ref = _ref(specialist)
            if "@" not in ref:
                return await self._unload_name(ref)
            if ref not in self._mounts.mounted():
                loaded = ", ".join(sorted(self._mounts.mounted())) or "nothing"
                raise ServingError(f"{ref} is not loaded; loaded: {loaded}")
            if ref in self._traffic.specialists():
                name = parse_ref(ref).name
                raise ServingError(
                    f"{ref} is in use; switch {name} to another version first, or unload {name}"
                )
            await self._mounts.unmount(ref)

    async def switch(self, specialist: str) -> Plan:
        """Blue/green: mount the new version, switch to it, keep the old one for a rollback."""
        async with self._one_at_a_time:
            found = await self._mounted(specialist)
            return await self._change(lambda: self._traffic.switch(found.name, found.ref))

    async def rollback(self, name: str) -> Plan:
        """What answered before the last change answers again."""
        async with self._one_at_a_time:
            for share in self._traffic.plan(_name(name)).previous:
                await self._mounted(share.specialist)
            return await self._change(lambda: self._traffic.rollback(name))

    async def split(self, name: str, weights: Mapping[str, float]) -> Plan:
        """A/B: versions of a name by weight."""
        async with self._one_at_a_time:
            found = {(await self._version_of(name, ref)).ref: weight for ref, weight in weights.items()}
            return await self._change(lambda: self._traffic.split(name, found))

    async def canary(self, specialist: str, weight: float, rule: Mapping[str, Any] | None = None) -> Plan:
        """A candidate gets a share of the requests, and is rolled back where it is worse."""
        async with self._one_at_a_time:
            found, checked = await self._mounted(specialist), _rule(rule)
            return await self._change(lambda: self._traffic.canary(found.name, found.ref, weight, checked))

    async def shadow(self, specialist: str, share: float = 1.0, answers_per_minute: int = 10) -> Plan:
        """A candidate answers beside the live version, recorded and never shown."""
        async with self._one_at_a_time:
            found = await self._mounted(specialist)
            return await self._change(
                lambda: self._traffic.shadow(found.name, found.ref, share, answers_per_minute)
            )

    async def end_shadow(self, name: str) -> Plan:
        """No more answers beside the live ones."""
        async with self._one_at_a_time:
            return await self._change(lambda: self._traffic.end_shadow(_name(name)))

    async def _mounted(self, specialist: str) -> Specialist:
        found = await asyncio.to_thread(self._store.find, _ref(specialist))
        await self._mounts.mount(found)
        return found

    async def _version_of(self, name: str, specialist: str) -> Specialist:
        if parse_ref(_ref(specialist)).name != _name(name):
            raise ServingError(f"{specialist} is no version of {name}")
        return await self._mounted(specialist)

    async def _change(self, change: Callable[[], Plan]) -> Plan:
        before = self._traffic.specialists()
        plan = change()
        for ref in sorted((before - self._traffic.specialists()) & set(self._mounts.mounted())):
            await self._mounts.unmount(ref)
        return plan

    async def _unload_name(self, name: str) -> None:
        if name in self._traffic.names():
            self._traffic.remove(name)
        elif not any(parse_ref(ref).name == name for ref in self._mounts.mounted()):
            raise ServingError(
                f"{name} is not loaded; loaded: {', '.join(self._traffic.names()) or 'nothing'}"
            )
        for ref in sorted(self._mounts.mounted()):
            if parse_ref(ref).name == name and ref not in self._traffic.specialists():
                await self._mounts.unmount(ref)


async def follow_promotions(
    admin: Admin,
    store: SpecialistStore,
    traffic: Traffic,
    *,
    alias: str = PRODUCTION,
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Switch each served name to the version that `alias` comes to mean; runs until it is cancelled.

    What cannot be switched to is logged, and what answers goes on answering.
    """
    last, _ = await asyncio.to_thread(store.news)
    while True:
        await asyncio.sleep(poll_seconds)
        try:
            last, news = await asyncio.to_thread(store.news, last)
        except LuthierError as error:
            _log.error("cannot see promotions: %s", error)
            continue
        moved = {event.name for event in news if event.alias == alias}
        for name in sorted(moved & set(traffic.names())):
            await _follow(admin, store, traffic, name, alias)


async def _follow(admin: Admin, store: SpecialistStore, traffic: Traffic, name: str, alias: str) -> None:
    try:
        number = (await asyncio.to_thread(store.aliases, name)).get(alias)
        ref = f"{name}@{number}"
        if number is None or [share.specialist for share in traffic.plan(name).shares] == [ref]:
            return
        await admin.switch(ref)
        _log.info("%s is %s now: switched to it", ref, alias)
    except LuthierError as error:
        _log.error("%s: cannot follow %s: %s", name, alias, error)


FIELDS: dict[str, dict[str, tuple[str, bool]]] = {
    "load": {"specialist": ("text", True)},
    "unload": {"specialist": ("text", True)},
    "switch": {"specialist": ("text", True)},
    "rollback": {"name": ("text", True)},
    "split": {"name": ("text", True), "weights": ("numbers by specialist", True)},
    "canary": {"specialist": ("text", True), "weight": ("number", True), "rule": ("object", False)},
    "shadow": {
        "specialist": ("text", True),
        "share": ("number", False),
        "answers_per_minute": ("whole number", False),
    },
    "end_shadow": {"name": ("text", True)},
}
"""Of each action: its fields, what each is, and whether it is needed."""


def _is(value: Any, kind: str) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if kind == "object":
        return isinstance(value, Mapping)
    if kind == "numbers by specialist":
        return isinstance(value, Mapping) and all(_is(one, "number") for one in value.values())
    return isinstance(value, int if kind == "whole number" else int | float) and not isinstance(value, bool)


def _ref(specialist: str) -> str:
    """A reference that may be looked up. Raises RegistryError."""
    if len(specialist) > _LONGEST_REF:
        raise ServingError(f"{specialist[:60]!r}... names no specialist: {len(specialist)} characters")
    parse_ref(specialist)
    return specialist


def _name(name: str) -> str:
    check_name("specialist", name[:_LONGEST_REF])
    return name


def _rule(value: Mapping[str, Any] | None) -> Rule | None:
    if value is None:
        return None
    try:
        return Rule(**{**value, **({"signals": tuple(value["signals"])} if "signals" in value else {})})
    except (TypeError, ValueError) as error:
        raise ServingError(f"rule: expected alpha, margin, latency_ratio, signals: {error}") from error


def _shown(plan: Plan) -> dict[str, Any]:
    watch = plan.watch
    return {
        "shares": {share.specialist: share.weight for share in plan.shares},
        "previous": [share.specialist for share in plan.previous],
        "shadow": plan.shadow.specialist if plan.shadow else None,
        "canary": plan.canary,
        "counts": None
        if plan.canary is None
        else {
            signal: {
                "candidate": [watch.candidate[signal].yes, watch.candidate[signal].of],
                "baseline": [watch.baseline[signal].yes, watch.baseline[signal].of],
            }
            for signal in watch.rule.signals
        },
        "told": plan.told,
    }
