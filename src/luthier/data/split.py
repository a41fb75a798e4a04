"""Which side a row is on: train, valid or test. What belongs together stays together, and rows keep their side.

The side of a group of rows (`luthier.data.groups`) is decided by a hash of the seed and the group's name, so rows that
are added never move others, unless they join two groups.

Stratified, the groups of each label are dealt out in the order of reading: a group may go to the sides that have fewer
groups of the label than their share asks for, and the hash chooses among these in proportion to what they lack. So each
side has of each label its share to within about a group, and rows that are added at the end move none before them.

`hold_out` is what training does where no validation file is given: by the hash of what a row asks alone.
Knows nothing of tokens, of files, and of how rows are grouped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.finding import SPLITS, SplitName
from luthier.data.formats import read_example
from luthier.data.groups import Groups
from luthier.data.shingles import mix
from luthier.data.sources import Row
from luthier.errors import DataError
from luthier.hashing import hash_json

DEFAULT_SHARES: Mapping[SplitName, float] = {"train": 0.8, "valid": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Division:
    """How rows are divided.

    shares: of each side, adding up to 1. group_by: a field whose equal values stay together. stratify: `label`, `tag`
    or a field whose values each side should have its share of. near_duplicates: keep them together.
    """

    shares: Mapping[SplitName, float] = field(default_factory=lambda: dict(DEFAULT_SHARES))
    group_by: str | None = None
    stratify: str | None = None
    seed: int = 0
    near_duplicates: bool = True

    def __post_init__(self) -> None:
        if any(share < 0 for share in self.shares.values()) or abs(sum(self.shares.values()) - 1) > 1e-9:
            told = ", ".join(f"{name} {share:g}" for name, share in self.shares.items())
            raise DataError(f"expected shares of at least 0 that add up to 1, got {told}")


def parse_shares(text: str) -> dict[SplitName, float]:
    """`80/10/10` (train/valid/test) as shares of 1. Raises DataError."""
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        numbers = []
    if not 2 <= len(numbers) <= 3 or min(numbers) < 0 or not 0 < sum(numbers) < float("inf"):
        raise DataError(f"expected train/valid/test as numbers, such as 80/10/10 or 90/10, got {text!r}")
    numbers += [0.0] * (3 - len(numbers))
    return {name: number / sum(numbers) for name, number in zip(SPLITS, numbers, strict=True)}


def assign(groups: Groups, division: Division, strata: NDArray[np.int32] | None = None) -> NDArray[np.uint8]:
    """The side of each row, an index into SPLITS; `strata` gives each row's label as a number."""
    leaders = np.unique(groups.first)
    draws = _draws(groups.names[leaders], division.seed)
    shares = [division.shares.get(name, 0.0) for name in SPLITS]
    if strata is None:
        # Test first, then valid: growing a share of train alone moves rows only into it.
        of_leader = np.full(len(leaders), 0, np.uint8)
        of_leader[draws < shares[1] + shares[2]] = 1
        of_leader[draws < shares[2]] = 2
    else:
        of_leader = _dealt(strata[leaders].tolist(), draws.tolist(), shares)
    sides: NDArray[np.uint8] = of_leader[np.searchsorted(leaders, groups.first)]
    return sides


def _draws(names: NDArray[np.uint64], seed: int) -> NDArray[np.float64]:
    """A number from 0 to 1 for each group, from the seed and its name alone."""
    salt = np.uint64(int(hash_json(["split", seed]).removeprefix("sha256:")[:16], 16))
    draws: NDArray[np.float64] = (mix(names ^ salt) >> np.uint64(11)) / float(1 << 53)
    return draws


def _dealt(strata: Sequence[int], draws: Sequence[float], shares: Sequence[float]) -> NDArray[np.uint8]:
    """The side of each group, in order: drawn among the sides that lack groups of its stratum, by what they lack."""
    counts: dict[int, list[int]] = {}
    sides = np.empty(len(strata), np.uint8)
    for place, (stratum, draw) in enumerate(zip(strata, draws, strict=True)):
        have = counts.setdefault(stratum, [0] * len(shares))
        total = sum(have) + 1
        lacks = [max(0.0, share * total - count) for share, count in zip(shares, have, strict=True)]
        left = draw * sum(lacks)
        side = max(range(len(lacks)), key=lambda one: lacks[one])
        for one, lack in enumerate(lacks):
            if lack and left < lack:
                side = one
                break
            left -= lack
        have[side] += 1
        sides[place] = side
    return sides


def hold_out(
    rows: Sequence[Row], share: float, format_of: Callable[[Row], str | None] = lambda row: None
) -> tuple[list[Row], list[Row]]:
    """(train, validation) rows; about `share` of the prompts are held out, whole: rows that ask the same stay together.

    `format_of` tells a row's format, where it is known. Raises DataError if a side is empty or a row has no format.
    """
    train: list[Row] = []
    held_out: list[Row] = []
    for row in rows:
        digest = hash_json(_asked(row, format_of(row))).removeprefix("sha256:")
        side = held_out if int(digest[:8], 16) / 2**32 < share else train
        side.append(row)
    if not train or not held_out:
        raise DataError(
            f"holding out {share:.0%} of {len(rows)} rows leaves {len(train)} to train on and "
            f"{len(held_out)} to validate on: change data.validation_share, or give data.validation a file"
        )
    return train, held_out


def _asked(row: Row, format: str | None) -> Any:
    """What stands before a row's answer, whatever its format; of a document, the document."""
    _, example = read_example(row.value, where=row.where, format=format)
    turns = [message.to_dict() for message in example.before_answer]
    return turns or example.text
