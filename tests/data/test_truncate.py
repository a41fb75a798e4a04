"""The policies for long rows: never longer, never out of order, nothing learnt twice."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.truncate import SHORTENINGS, Piece, Shortening, shorten_row

BOS = 1


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[int], list[float], int, int]:
    """(ids, weights, max_length, overlap); every id stands once, so that a token can be told by its id."""
    length = draw(st.integers(1, 60))
    ids = list(range(100, 100 + length))
    if draw(st.booleans()):
        ids[0] = BOS
    weights = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=length, max_size=length))
    max_length = draw(st.integers(2, 20))
    return ids, weights, max_length, draw(st.integers(0, max_length - 1))


def learnt(pieces: list[Piece]) -> list[tuple[int, float]]:
    """(id, weight) of all that is learnt, piece by piece."""
    told = [one for piece in pieces for one in list(zip(piece.token_ids, piece.weights, strict=True))[1:]]
    return [(token_id, weight) for token_id, weight in told if weight > 0]


@given(rows(), st.sampled_from(SHORTENINGS))
def test_a_piece_is_never_too_long_nor_out_of_order(
    row: tuple[list[int], list[float], int, int], policy: Shortening
) -> None:
    ids, weights, max_length, overlap = row
    pieces = shorten_row(ids, weights, max_length, policy, overlap=overlap, bos_id=BOS)
    known = dict(zip(ids, weights, strict=True))
    for piece in pieces:
        assert 0 < len(piece.token_ids) == len(piece.weights) <= max_length
        places = [ids.index(token_id) for token_id in piece.token_ids]
        assert places == sorted(set(places))
        assert all(weight in (0.0, known[one]) for one, weight in zip(*piece, strict=True))
        assert piece.num_supervised == len(learnt([piece]))
        for before, after in pairwise(range(len(places))):
            if places[after] != places[before] + 1:
                assert piece.weights[after] == 0  # behind a seam
    assert len(set(learnt(pieces))) == len(learnt(pieces))
    if len(ids) <= max_length:
        assert pieces == [Piece(ids, weights)]
    elif policy in ("head", "tail", "middle"):
        assert [len(piece.token_ids) for piece in pieces] == [max_length]


@given(rows())
def test_sliding_shows_every_token_and_learns_each_once(row: tuple[list[int], list[float], int, int]) -> None:
    ids, weights, max_length, overlap = row
    pieces = shorten_row(ids, weights, max_length, "sliding", overlap=overlap)
    assert {token_id for piece in pieces for token_id in piece.token_ids} == set(ids)
    assert learnt(pieces) == [(one, w) for one, w in zip(ids[1:], weights[1:], strict=True) if w > 0]
    for before, after in pairwise(pieces):
        shared = set(before.token_ids) & set(after.token_ids)
        assert len(shared) == max(overlap, 1)


@given(rows())
def test_each_policy_keeps_the_end_it_is_named_after(row: tuple[list[int], list[float], int, int]) -> None:
    ids, weights, max_length, _ = row
    if len(ids) <= max_length:
        return
    head, tail, middle = (
        list(shorten_row(ids, weights, max_length, policy, bos_id=BOS)[0].token_ids)
        for policy in ("head", "tail", "middle")
    )
    assert head == ids[:max_length]
    assert tail == ([BOS, *ids[-max_length + 1 :]] if ids[0] == BOS else ids[-max_length:])
    assert middle[0] == ids[0] and middle[-1] == ids[-1]
    assert shorten_row(ids, weights, max_length, "drop") == []


def test_a_token_that_opens_every_turn_is_not_kept_as_the_beginning() -> None:
    ids = [BOS, 5, 6, BOS, 7, 8]
    assert list(shorten_row(ids, [0.0] * 6, 3, "tail", bos_id=BOS)[0].token_ids) == [BOS, 7, 8]
    assert list(shorten_row(ids, [0.0] * 6, 2, "tail", bos_id=BOS)[0].token_ids) == [7, 8]


@pytest.mark.parametrize(("policy", "expected"), [("tail", [0.0, 0.0, 1.0]), ("middle", [0.0, 1.0, 0.0])])
def test_what_stands_behind_a_seam_is_not_learnt(policy: Shortening, expected: list[float]) -> None:
    piece = shorten_row([BOS, 2, 3, 4, 5], [1.0] * 5, 3, policy, bos_id=BOS)[0]
    assert list(piece.weights) == expected
