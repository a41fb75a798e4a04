"""The ledger gives back every record once, and rows with equal identities always meet."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.checks.finding import SPLITS, RowKey, SplitName
from luthier.data.checks.identify import repeats, shared_pairs
from luthier.data.checks.ledger import RECORD, FirstRows, Ledger, run_lengths, starts
from luthier.data.checks.row import CheckedRow, identity
from tests.data.checks.toys import rows_of

# (split, prompt, answer): few of each, so that much is equal.
ROWS = st.lists(st.tuples(st.sampled_from(SPLITS), st.integers(0, 6), st.integers(0, 2)), max_size=60)
Spec = list[tuple[SplitName, int, int]]


def checked(spec: Spec) -> list[CheckedRow]:
    values = [{"prompt": f"How wide is {prompt}?", "completion": f"{answer} m"} for _, prompt, answer in spec]
    rows = rows_of(values)
    for number, (row, (split, _, _)) in enumerate(zip(rows, spec, strict=True), start=1):
        row.key, row.split = RowKey(SPLITS.index(split), number), split
    return rows


def ledger_of(rows: list[CheckedRow], folder: Path, cut: int = 0) -> Ledger:
    whole, later = Ledger(folder), Ledger(folder)
    for index, row in enumerate(rows):
        (whole if index < cut else later).see(row)
    whole.finish()
    later.finish()
    whole.merge(later)
    return whole


@given(
    ROWS, st.integers(1, 7), st.integers(0, 60), st.sampled_from(["content", "prompt", "question", "answer"])
)
def test_every_record_once_and_equal_values_together(
    spec: Spec, max_records: int, cut: int, column: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = ledger_of(checked(spec), Path(folder), cut)
        arrays = list(ledger.sorted_by(column, max_records=max_records))  # type: ignore[arg-type]
    seen: set[int] = set()
    for array in arrays:
        values = array[column]
        assert (values[1:] >= values[:-1]).all()
        of_array = set(values.tolist())
        assert not seen & of_array, "a value stands in two arrays"
        seen |= of_array
        same = values[1:] == values[:-1]
        order = list(zip(array["file"].tolist(), array["number"].tolist(), strict=True))
        assert all(a < b for a, b, equal in zip(order, order[1:], same, strict=False) if equal)
    numbers = sorted(int(number) for array in arrays for number in array["number"])
    assert numbers == list(range(1, len(spec) + 1))


@given(ROWS, st.integers(1, 7))
def test_repeats_and_shared_rows_as_a_plain_loop_finds_them(spec: Spec, max_records: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = ledger_of(checked(spec), Path(folder))
        small = Ledger(Path(folder))
        small.merge(ledger)
        for split in SPLITS:
            found = {
                (int(a["number"]), int(b["number"]))
                for later, first in repeats(small, "content", [split])
                for a, b in zip(later, first, strict=True)
            }
            mine = [(number, row) for number, row in enumerate(spec, start=1) if row[0] == split]
            firsts: dict[tuple[int, int], int] = {}
            expected = set()
            for number, (_, prompt, answer) in mine:
                first = firsts.setdefault((prompt, answer), number)
                if first != number:
                    expected.add((number, first))
            assert found == expected
        shared = {
            (int(a["number"]), int(b["number"]))
            for later, first in shared_pairs(small, "question", "train", "valid")
            for a, b in zip(later, first, strict=True)
        }
        asked: dict[int, int] = {}
        for number, (split, prompt, _) in enumerate(spec, start=1):
            if split == "train":
                asked.setdefault(prompt, number)
        assert shared == {
            (number, asked[prompt])
            for number, (split, prompt, _) in enumerate(spec, start=1)
            if split == "valid" and prompt in asked
        }


@given(ROWS)
def test_splits_that_were_not_asked_for_stay_away(spec: Spec) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = ledger_of(checked(spec), Path(folder))
        got = [
            int(n) for array in ledger.sorted_by("content", ["valid"], max_records=3) for n in array["number"]
        ]
    assert sorted(got) == [number for number, row in enumerate(spec, start=1) if row[0] == "valid"]


@given(st.lists(st.integers(0, 5)))
def test_runs_of_equal_values(values: list[int]) -> None:
    array = np.sort(np.array(values, np.uint64))
    first = starts(array)
    assert array[first].tolist() == sorted(set(values))
    assert run_lengths(first, len(array)).tolist() == [values.count(value) for value in sorted(set(values))]


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50)), unique=True), max_size=6),
    st.integers(1, 5),
)
def test_first_rows_are_the_earliest_whatever_the_order(
    parts: list[list[tuple[int, int]]], limit: int
) -> None:
    first = FirstRows(limit)
    for part in parts:
        records = np.zeros(len(part), RECORD)
        records["file"], records["number"] = [f for f, _ in part], [n for _, n in part]
        first.add(records)
    everything = sorted(RowKey(file, number) for part in parts for file, number in part)
    assert first.rows == tuple(everything[:limit]) and first.count == len(everything)


@given(st.lists(st.text(alphabet=st.characters()), max_size=4), st.lists(st.text(), max_size=4))
def test_identities_are_never_zero_and_tell_lists_of_parts_apart(a: list[str], b: list[str]) -> None:
    assert 0 < identity(*a) < 1 << 64
    assert (identity(*a) == identity(*b)) == (a == b)
    assert identity("ab", "c") != identity("a", "bc") != identity("abc")


def test_more_files_than_two_bytes_can_count(tmp_path: Path) -> None:
    row = rows_of([{"prompt": "How wide?", "completion": "68 m"}])[0]
    row.key = RowKey(70_000, 1)
    ledger = ledger_of([row], tmp_path)
    assert [int(record["file"]) for array in ledger.sorted_by("content") for record in array] == [70_000]
