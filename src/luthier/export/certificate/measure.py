"""Numbers: two sets of logits compared, and two answers.

Knows nothing of forms or words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

_TIE_MOVES = 4.0
"""A tie is a margin of at most this many root-mean-square moves: the difference of two logits that moved by chance
has a standard deviation of 1.4 of them."""


@dataclass(frozen=True, slots=True)
class Distance:
    """How far logits are from the reference's, over all positions.

    relative: root mean square difference over the standard deviation of the reference's logits; max_relative: the
    greatest difference over it. kl: mean Kullback-Leibler divergence from the reference, nats. top1, top5: shares of
    positions with the same best token, and mean overlap of the five best; `top1_or_tie` excuses positions at which
    the reference's two best are as near as logits moved.
    """

    num_positions: int
    relative: float
    max_relative: float
    kl: float
    top1: float
    top1_or_tie: float
    top5: float

    def numbers(self) -> dict[str, float]:
        return {name: float(getattr(self, name)) for name in self.__slots__}


def distance(pairs: Iterable[tuple[Tensor, Tensor]]) -> Distance:
    """`pairs`: (reference, candidate) logits, each of shape (T, vocabulary)."""
    squares = spreads = worst = kl = overlap = 0.0
    numbers = count = same = excused = 0
    for want_TV, have_TV in pairs:
        want_TV, have_TV = want_TV.double(), have_TV.double()
        moved_TV = want_TV - have_TV
        squares += float(moved_TV.square().sum())
        spreads += float((want_TV - want_TV.mean(dim=1, keepdim=True)).square().sum())
        worst = max(worst, float(moved_TV.abs().max())) if moved_TV.numel() else worst
        logs_TV = want_TV.log_softmax(1)
        kl += float((logs_TV.exp() * (logs_TV - have_TV.log_softmax(1))).sum())
        want_T, have_T = want_TV.argmax(1), have_TV.argmax(1)
        margin_T = want_TV.gather(1, want_T[:, None]) - want_TV.gather(1, have_T[:, None])
        tie_T = margin_T[:, 0] <= _TIE_MOVES * moved_TV.square().mean(1).sqrt()
        same += int((want_T == have_T).sum())
        excused += int(((want_T == have_T) | tie_T).sum())
        five = min(5, want_TV.shape[1])
        best, other = (logits.topk(five, dim=1).indices for logits in (want_TV, have_TV))
        overlap += float((best[:, :, None] == other[:, None, :]).any(2).double().mean(1).sum())
        numbers += want_TV.numel()
        count += len(want_TV)
    spread = (spreads / numbers) ** 0.5 if numbers else 0.0
    shares = [value / max(1, count) for value in (kl, same, excused, overlap)]
    if not spread:
        return Distance(count, 0.0, 0.0, *shares)
    return Distance(count, (squares / spreads) ** 0.5, worst / spread, *shares)


AnswerWord = Literal["same", "tie", "different"]


def coin_toss(want_V: Tensor, one: int, other: int, typical_move: float) -> AnswerWord:
    """Two greedy answers part where the reference says `one` and the form `other`, after the same text.

    `want_V`: the reference's logits there; `typical_move`: root mean square of how far logits moved, over the whole
    vocabulary, because how far these two moved says nothing: they had to cross. A margin within that is a tie.
    """
    margin = float(want_V[one] - want_V[other])
    return "tie" if margin <= _TIE_MOVES * typical_move else "different"


def first_difference(want: Sequence[int], have: Sequence[int]) -> int | None:
    """The first place at which both have a token and not the same."""
    return next((at for at, (one, other) in enumerate(zip(want, have, strict=False)) if one != other), None)


def positions(num_tokens: int, most: int) -> list[int]:
    """At most `most` places of an answer, evenly spread, the first one always."""
    if num_tokens <= most:
        return list(range(num_tokens))
    return sorted({int(place) for place in torch.linspace(0, num_tokens - 1, most).tolist()})
