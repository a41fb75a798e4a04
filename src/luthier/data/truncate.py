"""What becomes of a row that is longer than a model may read: the policies that a recipe chooses from.

    drop      nothing
    head      its first tokens
    tail      its last tokens
    middle    its first and its last tokens, the middle cut out
    sliding   all of it, in windows that overlap

A policy is a function from a row to pieces of at most `max_length` tokens. What no longer stands behind the tokens
that it stood behind is not learnt there: the first token of a piece, and the token behind a seam, have weight 0.
Knows nothing of tokenizers, datasets and recipes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

TooLong = Literal["error", "drop", "head", "tail", "middle", "sliding"]
Shortening = Literal["drop", "head", "tail", "middle", "sliding"]
SHORTENINGS: tuple[Shortening, ...] = get_args(Shortening)


class Piece(NamedTuple):
    """Token ids and a weight for each: how much the prediction of that token counts."""

    token_ids: Sequence[int]
    weights: Sequence[float]

    @property
    def num_supervised(self) -> int:
        """How many tokens are learnt; the first of a row is predicted from nothing, so never."""
        return sum(weight > 0 for weight in self.weights[1:])


def shorten_row(
    token_ids: Sequence[int],
    weights: Sequence[float],
    max_length: int,
    policy: Shortening,
    *,
    overlap: int = 0,
    bos_id: int | None = None,
) -> list[Piece]:
    """The pieces of a row that is longer than `max_length` (at least 2), in its order; a shorter row as it is.

    `overlap` is for `sliding`: how many tokens a window gives again of the one before it, at most max_length - 1.
    `bos_id` is the token that opens every row, if the model has one: `tail` keeps it, as `head` and `middle` do.
    """
    row = Piece(token_ids, weights)
    if len(token_ids) <= max_length:
        return [row]
    return _POLICIES[policy](row, max_length, overlap, _opens(token_ids, bos_id))


def _opens(token_ids: Sequence[int], bos_id: int | None) -> bool:
    """Does the row begin with a token that only opens rows? Some models call the one that opens each turn so."""
    return bos_id is not None and token_ids[0] == bos_id and bos_id not in token_ids[1:]


def _drop(row: Piece, max_length: int, overlap: int, opened: bool) -> list[Piece]:
    return []


def _head(row: Piece, max_length: int, overlap: int, opened: bool) -> list[Piece]:
    return [Piece(row.token_ids[:max_length], _unlearn_first(row.weights[:max_length]))]


def _tail(row: Piece, max_length: int, overlap: int, opened: bool) -> list[Piece]:
    return [_joined(row, 1 if opened else 0, max_length)]


def _middle(row: Piece, max_length: int, overlap: int, opened: bool) -> list[Piece]:
    return [_joined(row, (max_length + 1) // 2, max_length)]


def _sliding(row: Piece, max_length: int, overlap: int, opened: bool) -> list[Piece]:
    shared = max(
        overlap, 1
    )  # a token is predicted from the one before it, so that one stands in its window too
    pieces = []
    for start in range(0, len(row.token_ids) - shared, max_length - shared):
        span = slice(start, start + max_length)
        known = shared if start else 1
        weights = [0.0] * known + list(row.weights[span][known:])
        pieces.append(Piece(row.token_ids[span], weights))
    return pieces


def _joined(row: Piece, num_first: int, max_length: int) -> Piece:
    """The first `num_first` tokens and, behind a seam, the last ones: `max_length` in all."""
    at = len(row.token_ids) - (max_length - num_first)
    ids = [*row.token_ids[:num_first], *row.token_ids[at:]]
    weights = _unlearn_first(row.weights[:num_first]) + _unlearn_first(row.weights[at:])
    return Piece(ids, weights)


def _unlearn_first(weights: Sequence[float]) -> list[float]:
    return [0.0, *weights[1:]] if len(weights) else []


_POLICIES: Mapping[Shortening, Callable[[Piece, int, int, bool], list[Piece]]] = {
    "drop": _drop,
    "head": _head,
    "tail": _tail,
    "middle": _middle,
    "sliding": _sliding,
}
