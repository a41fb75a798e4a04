"""A sample that does not depend on how the rows are cut, and favours no row."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from luthier.data.checks.finding import RowKey
from luthier.data.checks.hash_sample import HashSample


def sample(numbers: list[int], size: int = 8) -> HashSample[int]:
    made: HashSample[int] = HashSample(size)
    for number in numbers:
        key = RowKey(0, number)
        rank = made.rank(key)
        if made.wants(rank):
            made.add(rank, key, number)
    return made


@given(st.lists(st.integers(1, 10**9), max_size=80, unique=True), st.integers(0, 80), st.integers(1, 12))
def test_two_parts_add_up(numbers: list[int], at: int, size: int) -> None:
    first = sample(numbers[:at], size)
    first.merge(sample(numbers[at:], size))
    whole = sample(numbers, size).items()
    assert first.items() == whole and len(whole) == min(size, len(numbers))


def test_every_row_is_as_likely_as_any_other() -> None:
    drawn = Counter(key.number // 1000 for key, _ in sample(list(range(10_000)), 1000).items())
    assert len(drawn) == 10 and all(70 <= count <= 130 for count in drawn.values())
