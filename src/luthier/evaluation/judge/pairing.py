"""Which of two answers is better, asked in both orders: a verdict that follows the order is a tie.

This file knows nothing of files and of where the answers came from.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.evaluation.judge.asking import Judge, Outcome, Prompt, Told, entropy_bits
from luthier.evaluation.judge.degenerate import degenerate_reason
from luthier.evaluation.judge.framing import pairing_messages
from luthier.evaluation.judge.replies import Choice, Preference, choice_schema, read_choice
from luthier.evaluation.judge.rubric import Rubric

_OTHER = {
    Preference.FIRST: Preference.SECOND,
    Preference.SECOND: Preference.FIRST,
    Preference.TIE: Preference.TIE,
}


@dataclass(frozen=True, slots=True)
class PairCase:
    """Two answers to one question."""

    id: str
    question: str
    first: str
    second: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Paired:
    """Which is better. `orders` holds, per repeat that could be read, the words said with the first answer shown first
    and with the second one shown first: the words name the places, so (first, first) followed the order.

    `better` is TIE without a verdict, and means nothing then. entropy_bits: of the repeats' verdicts.
    """

    id: str
    outcome: Outcome
    better: Preference
    orders: tuple[tuple[Preference, Preference], ...]
    reason: str
    num_repeats: int
    entropy_bits: float

    @property
    def num_follow_order(self) -> int:
        """How many repeats chose one place both times."""
        return sum(one is other and one is not Preference.TIE for one, other in self.orders)

    @property
    def follows_order(self) -> bool:
        """Whether at least half of the repeats did."""
        return bool(self.orders) and 2 * self.num_follow_order >= len(self.orders)


def pair(judge: Judge, cases: Sequence[PairCase], rubric: Rubric) -> list[Paired]:
    """Every pair judged, in order. Raises ModelError where the judge cannot be asked."""
    repeats = judge.settings.repeats
    without = [_without_judge(case) for case in cases]
    asked = [case for case, decided in zip(cases, without, strict=True) if decided is None]
    prompts = [
        prompt for case in asked for repeat in range(repeats) for prompt in _both_orders(case, rubric, repeat)
    ]
    told = judge.ask(prompts)
    step = 2 * repeats
    replies = iter(told[start : start + step] for start in range(0, len(told), step))
    return [
        decided if decided is not None else _paired(case, next(replies))
        for case, decided in zip(cases, without, strict=True)
    ]


def _without_judge(case: PairCase) -> Paired | None:
    """An answer that is none loses against one that may be one; two of them are even."""
    first = degenerate_reason(case.first, case.reference)
    second = degenerate_reason(case.second, case.reference)
    if first is None and second is None:
        return None
    better = Preference.TIE
    if first is None or second is None:
        better = Preference.FIRST if first is None else Preference.SECOND
    shown = [f"{name}: {reason}" for name, reason in (("first", first), ("second", second)) if reason]
    return Paired(case.id, Outcome.DEGENERATE, better, (), "; ".join(shown), 0, 0.0)


def _both_orders(case: PairCase, rubric: Rubric, repeat: int) -> list[Prompt[Choice]]:
    judged = [text for text in (case.question, case.first, case.second, case.reference) if text is not None]
    return [
        Prompt(
            messages=pairing_messages(rubric, case.question, one, other, case.reference),
            response_format=choice_schema(),
            read=lambda text: read_choice(text, judged),
            repeat=repeat,
        )
        for one, other in ((case.first, case.second), (case.second, case.first))
    ]


def _paired(case: PairCase, told: Sequence[Told[Choice]]) -> Paired:
    both = [
        (one.values[0], other.values[0])
        for one, other in zip(told[::2], told[1::2], strict=True)
        if one.values and other.values
    ]
    num_repeats = len(told) // 2
    if 2 * len(both) <= num_repeats:
        unread = next(one for one in told if not one.values)
        return Paired(case.id, unread.outcome, Preference.TIE, (), unread.problem, num_repeats, 0.0)
    orders = tuple((one.better, other.better) for one, other in both)
    verdicts = [one if _OTHER[other] is one else Preference.TIE for one, other in orders]
    return Paired(
        id=case.id,
        outcome=Outcome.JUDGED,
        better=_most(verdicts),
        orders=orders,
        reason=both[0][0].reason,
        num_repeats=num_repeats,
        entropy_bits=entropy_bits(verdicts),
    )


def _most(verdicts: Sequence[Preference]) -> Preference:
    counts = Counter(verdicts)
    net = counts[Preference.FIRST] - counts[Preference.SECOND]
    if net == 0 or 2 * counts[Preference.TIE] > len(verdicts):
        return Preference.TIE
    return Preference.FIRST if net > 0 else Preference.SECOND
