"""Criteria on the candidate's own answers: how they end, what they forget, what they refuse, how long they take.

A share decides as it was measured, and its interval is told; where a policy names a confidence, the interval's end has
to clear the limit too. Knows nothing of what models are.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.chat.parse import Termination
from luthier.evaluation.gate.evidence import AskedSet, Outcome, Reason, Word
from luthier.evaluation.gate.pairs import fewest
from luthier.evaluation.gate.policy import AtLeast, AtMost
from luthier.evaluation.graders import VerdictWord, fold
from luthier.evaluation.stats import Interval, clopper_pearson_interval

_ENDED = (Termination.CLEAN, Termination.EOS)
_FEW_ANSWERS = 10


def compliance(sets: Sequence[AskedSet], policy: AtLeast, confidence: float) -> Reason:
    """Answers that end by themselves and are well-formed: not cut, no control tokens, no broken tool call.

    A choice that was scored is no answer that was written.
    """
    written = [one.candidate for one in sets if one.candidate.settings.decoding != "likelihood"]
    items = [item for one in written for item in one.items]
    if not items:
        text = "no answer was written: the choices of these sets are scored"
        asks_for = Word.HOLD if policy.required else None
        return Reason("format", Outcome.NOT_MEASURED, text, None, policy.at_least, asks_for)
    counts = Counter(item.termination for item in items)
    good = sum(counts[word] for word in _ENDED)
    at_most = round(1 - policy.at_least, 12)
    found = _judge(len(items) - good, len(items), at_most, policy.confidence, policy.min_items, confidence)
    others = ", ".join(
        f"{counts[word]} {word.value}" for word in Termination if word not in _ENDED and counts[word]
    )
    low, high = 1 - found.interval.high, 1 - found.interval.low
    text = f"{good} of {len(items)} answers end properly" + (f" ({others})" if others else "")
    text += f": {good / len(items):.1%} ({found.interval.confidence:.0%} interval {low:.1%} to {high:.1%})"
    text += f", at least {policy.at_least:.1%}{found.more}"
    return Reason("format", found.outcome, text, good / len(items), policy.at_least, found.asks_for)


def forgetting(sets: Sequence[AskedSet], policy: AtMost, confidence: float) -> Reason:
    """Of the general questions that the base passes, those that the candidate does not."""
    base = {item.id: item for one in sets if one.against for item in one.against.items}
    kept = [
        item
        for one in sets
        for item in one.candidate.items
        if item.id in base and base[item.id].verdict is VerdictWord.PASSED
    ]
    lost = sum(item.verdict is not VerdictWord.PASSED for item in kept)
    if len(kept) < policy.min_items:
        text = (
            f"the base passes {len(kept)} of {len(base)} general questions, too few to measure a loss "
            f"(min_items: {policy.min_items}); the candidate fails {lost} of them"
        )
        asks_for = Word.HOLD if policy.required else None
        return Reason("forgetting", Outcome.NOT_MEASURED, text, None, policy.at_most, asks_for)
    what = f"{lost} of {len(kept)} general questions that the base passes are lost"
    return _at_most("forgetting", what, lost, len(kept), policy, confidence)


def over_refusal(sets: Sequence[AskedSet], policy: AtMost, confidence: float) -> Reason:
    """Ordinary questions that are refused, or not answered at all."""
    items = [item for one in sets for item in one.candidate.items]
    refused = sum(item.verdict is not VerdictWord.PASSED for item in items)
    what = f"{refused} of {len(items)} ordinary questions are refused or left without a word"
    return _at_most("over_refusal", what, refused, len(items), policy, confidence)


def _at_most(
    criterion: str, what: str, bad: int, num_items: int, policy: AtMost, confidence: float
) -> Reason:
    found = _judge(bad, num_items, policy.at_most, policy.confidence, policy.min_items, confidence)
    low, high, wide = found.interval.low, found.interval.high, found.interval.confidence
    rate = bad / num_items
    text = f"{what}: {rate:.1%} ({wide:.0%} interval {low:.1%} to {high:.1%}), at most {policy.at_most:.1%}{found.more}"
    return Reason(criterion, found.outcome, text, rate, policy.at_most, found.asks_for)


@dataclass(frozen=True, slots=True)
class _Found:
    outcome: Outcome
    interval: Interval
    asks_for: Word | None = None
    more: str = ""


def _judge(
    bad: int, num_items: int, at_most: float, strict: float | None, min_items: int, confidence: float
) -> _Found:
    """A share of bad answers: over the limit beyond doubt, over it, not shown to be under it, under it.

    The interval is Clopper and Pearson's; each of its ends is a one-sided bound at `confidence`. `strict`: the
    confidence at which the share has to be shown to be under the limit.
    """
    interval = clopper_pearson_interval(bad, num_items, 2 * confidence - 1)
    if num_items < min_items:
        return _Found(Outcome.NOT_ENOUGH, interval, Word.NOT_ENOUGH, f"; {min_items} items are asked for")
    if bad / num_items > at_most:
        return _Found(Outcome.MISSED, interval, Word.REJECT if interval.low > at_most else Word.HOLD)

    def shown(count: int) -> bool:
        found = clopper_pearson_interval(
            round(bad / num_items * count), count, 2 * (strict or confidence) - 1
        )
        return found.high <= at_most

    if strict is None or shown(num_items):
        return _Found(Outcome.MET, interval)
    needed = fewest(shown, above=num_items)
    more = f"; not shown at {strict:.0%}" + (
        f", {needed:,} items with the same share would do" if needed else ""
    )
    return _Found(Outcome.NOT_ENOUGH, interval, Word.NOT_ENOUGH, more)


def varied(sets: Sequence[AskedSet], at_most: float) -> Reason:
    """The domain's answers are not one and the same: a constant answer can beat a champion on lopsided items."""
    answers = Counter(fold(item.answer) for one in sets for item in one.candidate.items)
    num_items = answers.total()
    most, times = answers.most_common(1)[0]
    number = times / num_items
    text = f"the most frequent answer stands {times} of {num_items} times ({number:.0%}): {most[:60]!r}"
    if num_items < _FEW_ANSWERS or number <= at_most:
        return Reason("same_answer", Outcome.MET, text, number, at_most)
    return Reason("same_answer", Outcome.MISSED, text, number, at_most, Word.REJECT)


def latency(seconds: Sequence[float], p95_seconds: float) -> Reason:
    """The 95th percentile (nearest rank) of the seconds of an answer, where one question was asked at a time."""
    if not seconds:
        return Reason("latency", Outcome.NOT_MEASURED, "no answer was timed", None, p95_seconds, Word.HOLD)
    found = sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]
    text = (
        f"95% of {len(seconds)} answers, one question at a time, take at most {found:.3g} s; "
        f"the budget is {p95_seconds:.3g} s"
    )
    if found <= p95_seconds:
        return Reason("latency", Outcome.MET, text, found, p95_seconds)
    return Reason("latency", Outcome.MISSED, text, found, p95_seconds, Word.HOLD)
