"""Criteria that hold the candidate against another model on the same items: better, and not worse.

Both are shown or not shown at the policy's confidence; where they are not, it is said how many items would do.
Knows nothing of what models are.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from luthier.errors import EvaluationError
from luthier.evaluation.compare import graded_pairs, source_of
from luthier.evaluation.gate.evidence import AskedSet, Outcome, Reason, Word
from luthier.evaluation.stats import (
    bootstrap_difference,
    equivalence_of_pairs,
    items_needed,
    mcnemar_exact,
    permutation_test,
)

MAX_ITEMS = 100_000
_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Counts:
    """Items that only the candidate has right (wins), only the other one (losses), and all that both were graded on.

    sources: what each pair's item shares with others, where items share; then whole sources are drawn, for items of one
    source are no independent evidence. scores: the other one's and the candidate's, aligned with them.
    """

    wins: int
    losses: int
    num_pairs: int
    scores: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    sources: tuple[Hashable, ...] | None = None

    @property
    def difference(self) -> float:
        return (self.wins - self.losses) / self.num_pairs if self.num_pairs else 0.0

    @property
    def discordance(self) -> float:
        return (self.wins + self.losses) / self.num_pairs if self.num_pairs else 0.0

    @property
    def p_value(self) -> float:
        """McNemar's exact test, or its like over whole sources."""
        if self.sources is None:
            return mcnemar_exact(self.wins, self.losses)
        return permutation_test(*self.scores, clusters=self.sources).p_value

    def interval(self, alpha: float) -> tuple[float, float]:
        """Of the difference, of confidence 1 - 2 alpha: Tango's, or the bootstrap's over whole sources."""
        if self.sources is None:  # the margin does not enter the interval
            found = equivalence_of_pairs(self.wins, self.losses, self.num_pairs, 0.5, alpha).interval
        else:
            found = bootstrap_difference(*self.scores, confidence=1 - 2 * alpha, clusters=self.sources)
        return found.low, found.high

    def is_not_worse(self, margin: float, alpha: float) -> bool:
        """Whether "worse by the margin or more" is refused at alpha, one-sided."""
        num_independent = self.num_pairs
        if self.sources is not None:
            if self.interval(alpha)[0] <= -margin:
                return False
            if self.wins + self.losses == 0:  # the bootstrap sees no spread where nothing changed
                num_independent = len(set(self.sources))
        return (
            equivalence_of_pairs(self.wins, self.losses, num_independent, margin, alpha).p_not_worse < alpha
        )

    def scaled(self, num_pairs: int) -> "Counts":
        """The same shares on another number of items."""
        share = num_pairs / self.num_pairs
        return Counts(int(self.wins * share), round(self.losses * share), num_pairs)

    def __str__(self) -> str:
        over = f" from {len(set(self.sources))} sources" if self.sources is not None else ""
        return f"{self.wins} won, {self.losses} lost of {self.num_pairs}{over}, {self.difference:+.1%}"


def count(sets: Iterable[AskedSet]) -> Counts:
    """The pairs of all sets together."""
    pairs = [
        (one.path, item, passed)
        for one in sets
        if one.against is not None
        for item, passed in graded_pairs(one.against.items, one.candidate.items)
    ]
    before = tuple(float(passed[0]) for *_, passed in pairs)
    after = tuple(float(passed[1]) for *_, passed in pairs)
    wins = sum(then < now for then, now in zip(before, after, strict=True))
    losses = sum(then > now for then, now in zip(before, after, strict=True))
    sources = tuple((path if item.source is None else "", source_of(item)) for path, item, _ in pairs)
    is_shared = len(set(sources)) < len(sources)
    return Counts(wins, losses, len(pairs), (before, after), sources if is_shared else None)


def better(counts: Counts, margin: float, confidence: float, *, criterion: str, same: bool = False) -> Reason:
    """Better by more than `margin`: by McNemar's exact test, and where there is a margin, by Tango's interval.

    Worse, where that is shown, is a reason to reject; a gain that is shown to be below the margin one to hold.
    `same`: the two models are one and the same.
    """
    alpha = 1 - confidence

    def say(outcome: Outcome, text: str, asks_for: Word | None = None) -> Reason:
        return Reason(criterion, outcome, f"{text}: {said}", counts.difference, margin, asks_for)

    if not counts.num_pairs:
        said = "no item could be graded on both sides"
        return say(Outcome.NOT_MEASURED, "not measured", Word.HOLD)
    p_value = counts.p_value
    interval = counts.interval(alpha / 2)
    said = f"{counts} ({confidence:.0%} interval {interval[0]:+.1%} to {interval[1]:+.1%}), p = {p_value:.2g}"
    if p_value < alpha and counts.losses > counts.wins:
        return say(Outcome.MISSED, "worse than the champion", Word.REJECT)
    if same:
        text = "candidate and champion are the same weights with the same prompt, there is nothing to gain"
        return say(Outcome.NOT_ENOUGH, text, Word.NOT_ENOUGH)
    if p_value < alpha and interval[0] >= margin:
        return say(Outcome.MET, "better than the champion" + (f" by over {margin:.1%}" if margin else ""))
    if p_value < alpha and interval[1] < margin:
        return say(Outcome.MISSED, f"better, but by less than the {margin:.1%} asked for", Word.HOLD)
    text = f"not shown to be better; {_items_for_gain(counts, margin, alpha)}"
    return say(Outcome.NOT_ENOUGH, text, Word.NOT_ENOUGH)


def not_worse(counts: Counts, margin: float, confidence: float, *, criterion: str) -> Reason:
    """Not worse by `margin` or more, by Tango's score test (one-sided; non-inferiority).

    Worse by more than the margin, where that is shown, is a reason to reject; worse, by how much is open, one to hold.
    """
    alpha = 1 - confidence
    if not counts.num_pairs:
        text = "no item could be graded on both sides"
        return Reason(criterion, Outcome.NOT_MEASURED, text, None, -margin, Word.HOLD)
    low, high = counts.interval(alpha)
    said = f"{counts} ({1 - 2 * alpha:.0%} interval {low:+.1%} to {high:+.1%})"

    def say(outcome: Outcome, text: str, asks_for: Word | None = None) -> Reason:
        return Reason(criterion, outcome, f"{text}: {said}", counts.difference, -margin, asks_for)

    if counts.is_not_worse(margin, alpha):
        return say(Outcome.MET, f"not worse by {margin:.1%}")
    if high <= -margin:
        return say(Outcome.MISSED, f"worse by more than {margin:.1%}", Word.REJECT)
    if high < 0:
        return say(Outcome.MISSED, f"worse, and {margin:.1%} cannot be ruled out", Word.HOLD)
    needed = None
    if counts.sources is None:
        needed = fewest(lambda n: counts.scaled(n).is_not_worse(margin, alpha), above=counts.num_pairs)
    more = f"with the same shares {needed:,} items would show it" if needed else "more items may show either"
    return say(Outcome.NOT_ENOUGH, f"{margin:.1%} worse cannot be ruled out; {more}", Word.NOT_ENOUGH)


def fewest(suffices: Callable[[int], bool], *, above: int) -> int | None:
    """The fewest items over `above` that suffice, for what rises with their number; None where 100,000 would not do."""
    low, high = above, max(8, 2 * above)
    while not suffices(high):
        low, high = high, 2 * high
        if high > MAX_ITEMS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _items_for_gain(counts: Counts, margin: float, alpha: float) -> str:
    if counts.wins + counts.losses == 0:
        return f"none of {counts.num_pairs} answers changed sides"
    if counts.sources is not None:
        return "use items of more sources"
    if counts.difference <= margin:
        return "no gain was seen" if counts.difference <= 0 else f"the gain seen is not over {margin:.1%}"
    try:
        if margin:
            needed = fewest(
                lambda n: counts.scaled(n).interval(alpha / 2)[0] >= margin, above=counts.num_pairs
            )
            return f"with the same shares {needed:,} items would show it" if needed else "use more items"
        needed = items_needed(counts.difference, counts.discordance, _POWER, alpha)
    except EvaluationError:
        return "use more items"
    return f"a gap as seen needs {needed:,} items to be found with a chance of {_POWER:.0%}"
