"""Is a candidate worse than what it would replace? Counted while both answer, and told early without crying wolf.

Every signal is a yes or no of one answer: it failed, it was refused, it was cut at the token limit, it was slow (longer
than `latency_ratio` times the baseline's median, which is fixed after the baseline's first answers), it got a thumb
down. For each signal, at looks after 8, 10, 13, 17, ... of the candidate's answers (each a quarter further), the
one-sided exact test of Fisher holds candidate against baseline. Alarm at look k: p is at most alpha / signals / (k (k +
1)), and the candidate's share lies at least `margin` above the baseline's. The bounds of all looks and signals sum to
alpha, so a candidate that is no worse is rolled back with at most that probability however long it is watched, where
answers are independent of each other. Knows nothing of specialists, files or HTTP.
"""

import math
import statistics
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from luthier.errors import ServingError

SIGNALS = ("failed", "refused", "cut", "slow", "disliked")
FIRST_LOOK, LOOK_STEP = 8, 1.25
NUM_REFERENCE = 50  # answers of the baseline that say what slow is


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an answer. word: as in `protocol.Interaction`; was_cut: it ended at the token limit;
    seconds: from the request to its last token."""

    word: str = "answered"
    was_cut: bool = False
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """alpha: the most false alarms, over all signals and looks. margin: by how much a share must be worse to matter."""

    alpha: float = 0.01
    margin: float = 0.02
    latency_ratio: float = 2.0
    signals: tuple[str, ...] = SIGNALS

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and 0 <= self.margin < 1 and 1 <= self.latency_ratio < math.inf):
            raise ServingError(
                f"a canary's rule: expected 0 < alpha < 1, 0 <= margin < 1, latency_ratio >= 1; got {self.alpha}, "
                f"{self.margin}, {self.latency_ratio}"
            )
        if not self.signals or not set(self.signals) <= set(SIGNALS):
            raise ServingError(f"signals: expected some of {', '.join(SIGNALS)}, got {self.signals!r:.80}")


@dataclass(slots=True)
class Tally:
    """How many of so many."""

    yes: int = 0
    of: int = 0

    def count(self, yes: bool) -> None:
        self.yes += yes
        self.of += 1

    @property
    def share(self) -> float:
        return self.yes / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """A candidate that is worse. p: of the exact test, below `bound`."""

    signal: str
    candidate: Tally
    baseline: Tally
    p: float
    bound: float

    @property
    def why(self) -> str:
        one, other = self.candidate, self.baseline
        return (
            f"{self.signal}: {one.yes} of {one.of} ({one.share:.1%}), before {other.yes} of {other.of} "
            f"({other.share:.1%}); exact p = {self.p:.2g}, bound {self.bound:.2g}"
        )


def _tallies() -> dict[str, Tally]:
    return {signal: Tally() for signal in SIGNALS}


@dataclass(slots=True)
class Watch:
    """The counts of a candidate and its baseline. slow_seconds: None until the baseline has shown what is usual."""

    rule: Rule = field(default_factory=Rule)
    candidate: dict[str, Tally] = field(default_factory=_tallies)
    baseline: dict[str, Tally] = field(default_factory=_tallies)
    slow_seconds: float | None = None
    reference_seconds: list[float] = field(default_factory=list)

    def count(self, outcome: Outcome, *, is_candidate: bool) -> Alarm | None:
        """Count an answer; an alarm where the candidate is worse. Cancelled ones say nothing of either."""
        if outcome.word == "cancelled":
            return None
        side = self.candidate if is_candidate else self.baseline
        side["failed"].count(outcome.word == "failed")
        side["refused"].count(outcome.word == "refused")
        said = {"failed", "refused"}
        if outcome.word == "answered":
            side["cut"].count(outcome.was_cut)
            said.add("cut")
            if outcome.seconds is not None and self._counts_seconds(side, outcome.seconds, is_candidate):
                said.add("slow")
        return self._alarm(said) if is_candidate else None

    def count_thumb(self, thumb: int, *, is_candidate: bool) -> Alarm | None:
        """Count what a person said of an answer, 1 or -1."""
        (self.candidate if is_candidate else self.baseline)["disliked"].count(thumb < 0)
        return self._alarm({"disliked"}) if is_candidate else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        rule = Rule(**{**value["rule"], "signals": tuple(value["rule"]["signals"])})
        sides = {
            side: {signal: Tally(**value[side][signal]) for signal in SIGNALS}
            for side in ("candidate", "baseline")
        }
        return cls(
            rule, **sides, slow_seconds=value["slow_seconds"], reference_seconds=value["reference_seconds"]
        )

    def _counts_seconds(self, side: dict[str, Tally], seconds: float, is_candidate: bool) -> bool:
        """Whether it was counted: the baseline's first answers only say what is usual, and are not held against it."""
        if self.slow_seconds is not None:
            side["slow"].count(seconds > self.slow_seconds)
            return True
        if not is_candidate:
            self.reference_seconds.append(seconds)
            if len(self.reference_seconds) >= NUM_REFERENCE:
                self.slow_seconds = self.rule.latency_ratio * statistics.median(self.reference_seconds)
                self.reference_seconds = []
        return False

    def _alarm(self, changed: set[str]) -> Alarm | None:
        for signal in self.rule.signals:
            one, other = self.candidate[signal], self.baseline[signal]
            look = look_number(one.of)
            if signal not in changed or look is None or one.share < other.share + self.rule.margin:
                continue
            bound = self.rule.alpha / len(self.rule.signals) / (look * (look + 1))
            if (p := fisher_p(one, other)) <= bound:
                return Alarm(signal, Tally(one.yes, one.of), Tally(other.yes, other.of), p, bound)
        return None


def fisher_p(candidate: Tally, baseline: Tally) -> float:
    """P(at least so many of the yes fall on the candidate) where both have the same share (hypergeometric tail)."""
    yes, of = candidate.yes + baseline.yes, candidate.of + baseline.of
    whole = _log_choose(of, candidate.of)
    most = min(yes, candidate.of)
    return math.fsum(
        math.exp(_log_choose(yes, k) + _log_choose(of - yes, candidate.of - k) - whole)
        for k in range(candidate.yes, most + 1)
        if candidate.of - k <= of - yes
    )


def look_number(num_answers: int) -> int | None:
    """Which look, from 1, falls on this many answers; None: none does."""
    place = bisect_left(_LOOKS, num_answers)
    return place + 1 if place < len(_LOOKS) and _LOOKS[place] == num_answers else None


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _looks() -> list[int]:
    found = [FIRST_LOOK]
    while found[-1] < 10**9:
        found.append(math.ceil(found[-1] * LOOK_STEP))
    return found


_LOOKS = _looks()
