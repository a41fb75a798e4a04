"""Which rows say the same: repeated inside a split, or shared between two splits.

Asked of the ledger, partition by partition, so the answer never has to fit into memory as a whole. Knows nothing of
what the identities stand for, and of what is to be done about the rows.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from luthier.data.checks.finding import SPLITS, SplitName
from luthier.data.checks.ledger import Column, Ledger, Records, run_lengths, starts

Keep = Literal["first", "last"]


def repeats(
    ledger: Ledger, column: Column, splits: Sequence[SplitName] = SPLITS, *, keep: Keep = "first"
) -> Iterator[tuple[Records, Records]]:
    """(rows that repeat another, the row that each repeats), aligned, where rows of `splits` share a value.

    In the order of the rows, the first row of each value is the one that stays, or the last with `keep="last"`.
    """
    for records in ledger.sorted_by(column, splits):
        first = starts(records[column])
        lengths = run_lengths(first, len(records))
        stays = first if keep == "first" else first + lengths - 1
        stays_for_each = np.repeat(stays, lengths)
        later = np.flatnonzero(stays_for_each != np.arange(len(records)))
        if len(later):
            yield records[later], records[stays_for_each[later]]


def shared_pairs(
    ledger: Ledger, column: Column, earlier: SplitName, later: SplitName
) -> Iterator[tuple[Records, Records]]:
    """(rows of `later` whose value occurs in `earlier`, the first row of `earlier` that has it), aligned."""
    wanted = SPLITS.index(earlier)
    for records in ledger.sorted_by(column, (earlier, later)):
        first = starts(records[column])
        lengths = run_lengths(first, len(records))
        places = np.where(records["split"] == wanted, np.arange(len(records)), len(records))
        found = np.repeat(np.minimum.reduceat(places, first), lengths)
        mine = np.flatnonzero((records["split"] != wanted) & (found < len(records)))
        if len(mine):
            yield records[mine], records[found[mine]]


def shared_between(ledger: Ledger, column: Column, earlier: SplitName, later: SplitName) -> Iterator[Records]:
    """Rows of `later` whose value occurs in `earlier`."""
    for rows, _ in shared_pairs(ledger, column, earlier, later):
        yield rows
