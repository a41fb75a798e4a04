"""How many tokens a step computes: padded, packed, and as a prefix tree that holds each shared token once.

    count_nodes      the nodes of the prefix tree of some rows
    padded_tokens    what batches padded to their longest row hold, expected over random batches
    packed_tokens    what rows fill when they are packed into bins, best fit first

Lengths come as (length, number of rows) pairs, so that a million rows cost what their different lengths cost.
Knows nothing of tokenizers, checks and training.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Lengths = Sequence[tuple[int, int]]


def count_nodes(rows: Iterable[NDArray[np.int32]]) -> int:
    """The distinct prefixes of the rows, the empty one not counted: the nodes of their prefix tree.

    In the sorted rows a row shares with all earlier ones what it shares with its neighbour, so the nodes are the
    tokens less the common prefixes of neighbours.
    """
    # Big-endian bytes sort as the numbers do, and token ids are not negative.
    ordered = sorted(rows, key=lambda row: row.astype(">u4").tobytes())
    shared = sum(common_prefix(first, second) for first, second in pairwise(ordered))
    return sum(map(len, ordered)) - shared


def common_prefix(first: NDArray[np.int32], second: NDArray[np.int32]) -> int:
    """How many tokens two rows begin with in common."""
    size = min(len(first), len(second))
    differ = first[:size] != second[:size]
    return int(differ.argmax()) if differ.any() else size


def padded_tokens(lengths: Lengths, batch_size: int) -> float:
    """What all rows fill, expected, in random batches that are padded to their longest row.

    The longest of B random rows is at most x with the probability F(x)^B, F being the share of rows up to x.
    """
    num_rows = sum(count for _, count in lengths)
    expected, so_far, below = 0.0, 0, 0.0
    for length, count in sorted(lengths):
        so_far += count
        up_to = (so_far / num_rows) ** batch_size
        expected += length * (up_to - below)
        below = up_to
    return expected * num_rows


def packed_tokens(lengths: Lengths, bin_size: int) -> int:
    """What the bins hold, filled or not, when rows (none longer than a bin) are packed: longest first, best fit.

    The outcome of best-fit decreasing, computed for all rows of a length at once (Krell et al. 2021, "Efficient
    Sequence Packing without Cross-contamination", histogram packing).
    """
    free: Counter[int] = Counter()  # space left -> bins that have it
    spaces: list[int] = []  # the same spaces, sorted
    num_bins = 0

    def open_up(space: int, bins: int) -> None:
        if bins and space not in free:
            insort(spaces, space)
        if bins:
            free[space] += bins

    for length, count in sorted(lengths, reverse=True):
        while count:
            at = bisect_left(spaces, length)
            if at == len(spaces):
                fresh = -(-count // (bin_size // length))
                num_bins += fresh
                open_up(bin_size, fresh)
                continue
            space = spaces.pop(at)
            bins = free.pop(space)
            each = space // length
            full, rest = divmod(count, each)
            if full >= bins:
                full, rest = bins, 0
            count -= full * each + rest
            open_up(space - each * length, full)
            if rest:
                open_up(space - rest * length, 1)
            left = bins - full - (rest > 0)
            if left:
                open_up(space, left)
    return num_bins * bin_size
