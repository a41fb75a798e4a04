"""Which version answers under a name: shares by weight, shadows, a canary that rolls itself back, the way back.

A caller stays with its version: the place of its key in [0, 1) is a hash, and each version has a part of that line as
long as its weight. A canary's part lies first, so that who is on it stays on it when its weight grows. The plans lie in
a small JSON file, written beside and renamed, which survives a restart; one server writes it. All methods are called
from one event loop. Knows nothing of engines and of what a version is beyond `NAME@NUMBER`.
"""

import hashlib
import json
import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.chat.messages import Message
from luthier.errors import ServingError
from luthier.files import write_json_atomic
from luthier.registry.specialist import check_name, parse_ref
from luthier.serving.canary import Alarm, Outcome, Rule, Watch, look_number
from luthier.serving.limits import Clock, TokenBucket

FORMAT = 1
LIVE, SHADOW = "live", "shadow"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Placement:
    """One version that is to answer. role: `live`, or `shadow`: its answer is recorded and never shown."""

    specialist: str
    role: str = LIVE


@dataclass(frozen=True, slots=True)
class Share:
    """A version, and its part of the requests; the weights of a plan sum to 1."""

    specialist: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that answers a share of the requests too, at most so many a minute."""

    specialist: str
    share: float
    answers_per_minute: int


@dataclass(frozen=True)
class Plan:
    """Who answers under one name. `canary`: the version of `shares` that is watched. `previous`: what a rollback goes
    back to, kept mounted. `told`: the last thing that happened."""

    shares: tuple[Share, ...]
    previous: tuple[Share, ...] = ()
    shadow: Shadow | None = None
    canary: str | None = None
    watch: Watch = field(default_factory=Watch)
    told: str = ""

    @property
    def specialists(self) -> frozenset[str]:
        """Everything that must be mounted for it."""
        shadow = {self.shadow.specialist} if self.shadow else set()
        return frozenset({share.specialist for share in (*self.shares, *self.previous)} | shadow)


@dataclass(frozen=True, slots=True)
class Rollback:
    """A canary was taken out. It is done: what is left is to say so, and to unmount `specialist` once it is idle."""

    name: str
    specialist: str
    back_to: tuple[str, ...]
    alarm: Alarm


class Traffic:
    """The plans of all names. Without a path they are forgotten at the end."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        clock: Clock = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        """`dice`: numbers in [0, 1), for what a shadow sees. Raises ServingError where the file cannot be read."""
        self.path = path
        self._clock, self._dice = clock, dice
        self._plans = _read(path) if path is not None and path.exists() else {}
        self._budgets: dict[str, tuple[Shadow, TokenBucket]] = {}

    # ---- at every request

    def choose(self, name: str, key: str) -> list[Placement]:
        """Who answers under a name, the live one first; empty: no plan says so. `key`: who asks, or which
        conversation: the same one gets the same version."""
        plan = self._plans.get(name)
        if plan is None:
            return []
        place = _place(name, key)
        chosen = plan.shares[-1].specialist
        for share in plan.shares:
            if place < share.weight:
                chosen = share.specialist
                break
            place -= share.weight
        found = [Placement(chosen)]
        if plan.shadow and plan.shadow.specialist != chosen and self._may_shadow(name, plan.shadow):
            found.append(Placement(plan.shadow.specialist, SHADOW))
        return found

    def observe(self, specialist: str, outcome: Outcome) -> Rollback | None:
        """What became of a live answer that `choose` placed; a Rollback where that was one too many."""
        return self._count(specialist, lambda watch, yes: watch.count(outcome, is_candidate=yes))

    def observe_thumb(self, specialist: str, thumb: int) -> Rollback | None:
        """What a person said of a live answer, 1 or -1."""
        return self._count(specialist, lambda watch, yes: watch.count_thumb(thumb, is_candidate=yes))

    # ---- what a person changes; each is on the disk when it returns

    def switch(self, name: str, specialist: str) -> Plan:
        """One version answers from the next request on; what answered until now stays for a rollback."""
        before = self._plans.get(name)
        previous = before.shares if before else ()
        if before and previous == (Share(specialist),):
            previous = before.previous
        shadow = (
            before.shadow if before and before.shadow and before.shadow.specialist != specialist else None
        )
        return self._set(name, Plan((Share(specialist),), previous, shadow, told=f"switched to {specialist}"))

    def rollback(self, name: str) -> Plan:
        """What answered before the last change answers again. Raises ServingError where there is none."""
        plan = self.plan(name)
        if not plan.previous:
            raise ServingError(f"{name}: nothing answered before {_named(plan.shares)}: there is no way back")
        told = f"rolled back from {_named(plan.shares)}"
        return self._set(name, Plan(plan.previous, plan.shares, plan.shadow, told=told))

    def split(self, name: str, weights: Mapping[str, float]) -> Plan:
        """A/B: versions by weight, such as {"sql@3": 9, "sql@4": 1}."""
        whole = sum(weights.values())
        if not weights or not all(0 < one < math.inf for one in weights.values()) or not whole < math.inf:
            raise ServingError(f"{name}: expected versions with weights above 0, got {dict(weights)!r:.200}")
        shares = tuple(Share(one, weight / whole) for one, weight in weights.items())
        before = self._plans.get(name)
        previous, shadow = (before.shares, before.shadow) if before else ((), None)
        return self._set(name, Plan(shares, previous, shadow, told=f"split: {_named(shares)}"))

    def canary(self, name: str, specialist: str, weight: float, rule: Rule | None = None) -> Plan:
        """A candidate gets a share of the requests and is watched. Its weight may be changed: the counts go on."""
        plan = self.plan(name)
        if not 0 < weight < 1:
            raise ServingError(
                f"{name}: a canary's weight: expected more than 0 and less than 1, got {weight}"
            )
        baseline = [share for share in plan.shares if share.specialist != plan.canary]
        if any(share.specialist == specialist for share in baseline):
            raise ServingError(f"{name}: {specialist} answers already and cannot be its own canary")
        goes_on = plan.canary == specialist
        watch = plan.watch if goes_on else Watch()
        watch.rule = rule or watch.rule
        rest = sum(share.weight for share in baseline)
        shares = tuple(Share(one.specialist, (1 - weight) * one.weight / rest) for one in baseline)
        previous = plan.previous if plan.canary else plan.shares
        told = f"canary {specialist} at {weight:.0%}"
        plan = Plan((Share(specialist, weight), *shares), previous, plan.shadow, specialist, watch, told)
        return self._set(name, plan)

    def shadow(self, name: str, specialist: str, share: float, answers_per_minute: int) -> Plan:
        """A candidate answers a share of the requests beside the live one, unseen, at most so many a minute."""
        if not (0 < share <= 1 and answers_per_minute >= 1):
            raise ServingError(
                f"{name}: a shadow: expected a share of 0 to 1 and at least 1 answer a minute, got {share} and "
                f"{answers_per_minute}"
            )
        shadow, told = Shadow(specialist, share, answers_per_minute), f"{specialist} answers unseen"
        return self._set(name, replace(self.plan(name), shadow=shadow, told=told))

    def end_shadow(self, name: str) -> Plan:
        """No more answers beside the live ones."""
        return self._set(name, replace(self.plan(name), shadow=None, told="the shadow ended"))

    def remove(self, name: str) -> None:
        """Forget a name."""
        self.plan(name)
        del self._plans[name]
        self.save()

    # ---- what there is

    def plan(self, name: str) -> Plan:
        """Raises ServingError where there is none."""
        try:
            return self._plans[name]
        except KeyError:
            there = ", ".join(sorted(self._plans)) or "none"
            raise ServingError(f"{name!r:.80} is not served; there are: {there}") from None

    def names(self) -> list[str]:
        return sorted(self._plans)

    def specialists(self) -> frozenset[str]:
        """Every version that a plan needs mounted."""
        return frozenset().union(*(plan.specialists for plan in self._plans.values()))

    def save(self) -> None:
        """Write the plans with their counts; done by itself at every change, and as a canary's counts grow."""
        if self.path is not None:
            plans = {name: _plan_dict(plan) for name, plan in self._plans.items()}
            write_json_atomic(self.path, {"format": FORMAT, "plans": plans})

    def _set(self, name: str, plan: Plan) -> Plan:
        check_name("specialist", name)
        for ref in plan.specialists:
            if parse_ref(ref).number is None:
                raise ServingError(f"{ref}: a plan names versions by their number, such as {name}@3")
        self._plans[name] = plan
        self.save()
        return plan

    def _may_shadow(self, name: str, shadow: Shadow) -> bool:
        kept = self._budgets.get(name)
        if kept is None or kept[0] != shadow:
            kept = self._budgets[name] = (shadow, TokenBucket(shadow.answers_per_minute, self._clock))
        if self._dice() >= shadow.share or kept[1].wait_seconds(1) > 0:
            return False
        kept[1].take(1)
        return True

    def _count(self, specialist: str, count: Callable[[Watch, bool], Alarm | None]) -> Rollback | None:
        for name, plan in self._plans.items():
            if plan.canary is None or all(share.specialist != specialist for share in plan.shares):
                continue
            alarm = count(plan.watch, specialist == plan.canary)
            if alarm is not None:
                return self._roll_back(name, plan, alarm)
            if specialist == plan.canary and look_number(plan.watch.candidate["failed"].of):
                self.save()  # so a restart loses a fifth of the counts at most, for few writes
        return None

    def _roll_back(self, name: str, plan: Plan, alarm: Alarm) -> Rollback:
        assert plan.canary is not None
        baseline = [share for share in plan.shares if share.specialist != plan.canary]
        rest = sum(share.weight for share in baseline)
        shares = tuple(Share(share.specialist, share.weight / rest) for share in baseline)
        previous = () if plan.previous == shares else plan.previous
        told = f"canary {plan.canary} was rolled back: {alarm.why}"
        _log.error("%s: %s", name, told)
        self._plans[name] = Plan(shares, previous, plan.shadow, told=told)
        self.save()
        return Rollback(name, plan.canary, tuple(share.specialist for share in shares), alarm)


def conversation_key(messages: Sequence[Message]) -> str:
    """The same for every request of one conversation: the hash of its turns up to the first question."""
    asked = next((i for i, message in enumerate(messages) if message.role == "user"), len(messages) - 1)
    turns = [[message.role, message.content] for message in messages[: asked + 1]]
    return hashlib.sha256(json.dumps(turns).encode()).hexdigest()


def _place(name: str, key: str) -> float:
    """In [0, 1), evenly over keys, another one for each name."""
    digest = hashlib.sha256(json.dumps([name, key]).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _named(shares: Sequence[Share]) -> str:
    return ", ".join(f"{share.specialist} {share.weight:.0%}" for share in shares)


def _plan_dict(plan: Plan) -> dict[str, Any]:
    return asdict(replace(plan, watch=Watch())) | {"watch": plan.watch.to_dict() if plan.canary else None}


def _read(path: Path) -> dict[str, Plan]:
    try:
        value = json.loads(path.read_bytes())
        if value["format"] != FORMAT:
            raise ValueError(f"it has form {value['format']!r}, this Luthier reads {FORMAT}")
        return {name: _plan(one) for name, one in value["plans"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ServingError) as error:
        raise ServingError(f"{path}: cannot be used as the state of the traffic: {error!r:.300}") from error


def _plan(value: Mapping[str, Any]) -> Plan:
    return Plan(
        tuple(Share(**one) for one in value["shares"]),
        tuple(Share(**one) for one in value["previous"]),
        Shadow(**value["shadow"]) if value["shadow"] else None,
        value["canary"],
        Watch.from_dict(value["watch"]) if value["watch"] else Watch(),
        value["told"],
    )
