"""How much of each source goes into a mix: exact arithmetic on what is wanted and what there is.

Amounts are whole numbers of one unit (rows, characters or tokens). Every share is a fraction, so that no rounding
decides whether a source is exhausted. Knows nothing of files and rows.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from luthier.errors import DataError

Stop = Literal["first_exhausted", "all_exhausted"]


def normalised(weights: Sequence[Fraction]) -> list[Fraction]:
    """The weights as shares of 1."""
    total = sum(weights, Fraction(0))
    return [weight / total for weight in weights]


def by_temperature(sizes: Sequence[int], temperature: float) -> list[Fraction]:
    """Shares in proportion to size^(1/temperature): 1 is proportional to size, a large one is nearly equal.

    The temperature of Arivazhagan et al. 2019 (Massively Multilingual Neural Machine Translation in the Wild,
    arXiv:1907.05019, section 4.2); with the exponent S = 1/T it is the smoothing of multilingual BERT (S = 0.7,
    Devlin et al. 2018).
    """
    largest = max(sizes)
    return normalised([Fraction((size / largest) ** (1 / temperature)) for size in sizes])


def largest_remainder(shares: Sequence[Fraction], total: int) -> list[int]:
    """Whole numbers that sum to `total`, each within 1 of its share (Hamilton's method); ties go to the first."""
    exact = [share * total for share in normalised(shares)]
    whole = [math.floor(amount) for amount in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole


def until_exhausted(shares: Sequence[Fraction], sizes: Sequence[int], stop: Stop) -> list[int]:
    """The amounts in the ratio of the shares where the first source, or the last one, is used up.

    `first_exhausted`: no source gives more than it has. `all_exhausted`: every source gives at least all it has.
    """
    lasts = [Fraction(size) / share for share, size in zip(shares, sizes, strict=True)]
    total = min(lasts) if stop == "first_exhausted" else max(lasts)
    return [round(share * total) for share in shares]


def beside(amount: int, shares: Sequence[Fraction]) -> list[int]:
    """How much has to come beside `amount` so that the shares are shares of the whole. Raises DataError from 1 on."""
    together = sum(shares, Fraction(0))
    if together >= 1:
        raise DataError(
            f"the replay shares sum to {float(together):g}; expected less than 1, the whole of the mix"
        )
    return largest_remainder(shares, round(amount * together / (1 - together))) if shares else []
