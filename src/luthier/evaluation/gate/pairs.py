"""Criteria that hold the candidate against another model on the same items: better, and not worse.

Both are shown or not shown at the policy's confidence; where they are not, it is said how many items would do.
Knows nothing of what models are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from luthier.errors import EvaluationError
from luthier.evaluation.compare import _passed_pairs as passed_pairs
from luthier.evaluation.gate.evidence import AskedSet, Outcome, Reason, Word
from luthier.evaluation.stats import equivalence_of_pairs, items_needed, mcnemar_exact

MAX_ITEMS = 100_000
_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Counts:
    """Items that only the candidate has right (wins), only the other one (losses), and all that both were graded on."""

    wins: int
    losses: int
    num_pairs: int

    @property
    def difference(self) -> float:
        return (self.wins - self.losses) / self.num_pairs if self.num_pairs else 0.0

    @property
    def discordance(self) -> float:
        return (self.wins + self.losses) / self.num_pairs if self.num_pairs else 0.0

    def scaled(self, num_pairs: int) -> "Counts":
        """The same shares on another number of items."""
        share = num_pairs / self.num_pairs
        return Counts(int(self.wins * share), round(self.losses * share), num_pairs)

    def __str__(self) -> str:
        return f"{self.wins} won, {self.losses} lost of {self.num_pairs}, {self.difference:+.1%}"


def count(sets: Iterable[AskedSet]) -> Counts:
    """The pairs of all sets together."""
    pairs = [
        pair
        for one in sets
        if one.against is not None
        for pair in passed_pairs(one.against.items, one.candidate.items)
    ]
    wins = sum(after and not before for before, after in pairs)
    losses = sum(before and not after for before, after in pairs)
    return Counts(wins, losses, len(pairs))


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
    p_value = mcnemar_exact(counts.wins, counts.losses)
    interval = _interval(counts, alpha / 2)
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
    low, high = _interval(counts, alpha)
    said = f"{counts} ({1 - 2 * alpha:.0%} interval {low:+.1%} to {high:+.1%})"

    def say(outcome: Outcome, text: str, asks_for: Word | None = None) -> Reason:
        return Reason(criterion, outcome, f"{text}: {said}", counts.difference, -margin, asks_for)

    if _is_not_worse(counts, margin, alpha):
        return say(Outcome.MET, f"not worse by {margin:.1%}")
    if high <= -margin:
        return say(Outcome.MISSED, f"worse by more than {margin:.1%}", Word.REJECT)
    if high < 0:
        return say(Outcome.MISSED, f"worse, and {margin:.1%} cannot be ruled out", Word.HOLD)
    needed = fewest(lambda n: _is_not_worse(counts.scaled(n), margin, alpha), above=counts.num_pairs)
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


def _interval(counts: Counts, alpha: float) -> tuple[float, float]:
    """Tango's interval of the difference, of confidence 1 - 2 alpha. The margin does not enter it."""
    found = equivalence_of_pairs(counts.wins, counts.losses, counts.num_pairs, 0.5, alpha).interval
    return found.low, found.high


def _is_not_worse(counts: Counts, margin: float, alpha: float) -> bool:
    return (
        equivalence_of_pairs(counts.wins, counts.losses, counts.num_pairs, margin, alpha).p_not_worse < alpha
    )


def _items_for_gain(counts: Counts, margin: float, alpha: float) -> str:
    if counts.wins + counts.losses == 0:
        return f"none of {counts.num_pairs} answers changed sides"
    if counts.difference <= margin:
        return "no gain was seen" if counts.difference <= 0 else f"the gain seen is not over {margin:.1%}"
    try:
        if margin:
            needed = fewest(
                lambda n: _interval(counts.scaled(n), alpha / 2)[0] >= margin, above=counts.num_pairs
            )
            return f"with the same shares {needed:,} items would show it" if needed else "use more items"
        needed = items_needed(counts.difference, counts.discordance, _POWER, alpha)
    except EvaluationError:
        return "use more items"
    return f"a gap as seen needs {needed:,} items to be found with a chance of {_POWER:.0%}"
