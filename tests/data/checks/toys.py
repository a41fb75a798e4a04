"""Rows for the tests of checks, and the law that every check obeys: merged pieces find what the whole finds."""

import pickle
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from luthier.data.checks.check import Check, Context, Totals
from luthier.data.checks.finding import SPLITS, Finding, RowKey, SplitName
from luthier.data.checks.ledger import Ledger
from luthier.data.checks.row import CheckedRow, check_row
from luthier.data.formats import recognise_file
from luthier.data.rows import Row

Splits = Mapping[SplitName, Sequence[Mapping[str, Any]]]


def rows_of(values: Sequence[Mapping[str, Any]], split: SplitName = "train") -> list[CheckedRow]:
    """The rows of one file as the checks see them, numbered from 1."""
    file_format = recognise_file(dict(value) for value in values)
    index = SPLITS.index(split)
    return [
        check_row(Row(f"{split}.jsonl", number, dict(value)), RowKey(index, number), split, file_format)
        for number, value in enumerate(values, start=1)
    ]


def find(
    check_class: type[Check],
    rows: Splits | Sequence[Mapping[str, Any]],
    *,
    cuts: Sequence[int] = (),
    **context: Any,
) -> list[Finding]:
    """What a check finds; `cuts` are the places where the rows are cut into pieces that are merged afterwards."""
    return list(run(check_class, rows, cuts=cuts, **context)[0])


def run(
    check_class: type[Check],
    rows: Splits | Sequence[Mapping[str, Any]],
    *,
    cuts: Sequence[int] = (),
    **context: Any,
) -> tuple[list[Finding], dict[str, Any]]:
    """(findings, figures) of a check over rows."""
    by_split: Splits = rows if isinstance(rows, Mapping) else {"train": rows}
    checked = [row for split in SPLITS for row in rows_of(by_split.get(split, ()), split)]
    with tempfile.TemporaryDirectory() as folder:
        known = Context(scratch=Path(folder), **context)
        edges = [0, *sorted(min(cut, len(checked)) for cut in cuts), len(checked)]
        pieces = []
        for start, end in pairwise(edges):
            check, ledger = check_class(known), Ledger(known.scratch)
            for row in checked[start:end]:
                ledger.see(row)
                check.see(row)
            ledger.finish()
            check.finish()
            pieces.append((pickle.loads(pickle.dumps(check)), ledger))
        whole, ledger = pieces[0]
        for check, more in pieces[1:]:
            whole.merge(check)
            ledger.merge(more)
        totals = Totals({name: len(by_split.get(name, ())) for name in SPLITS}, ledger)
        return list(whole.findings(totals)), dict(whole.figures(totals))


def assert_merges(
    check_class: type[Check], rows: Splits | Sequence[Mapping[str, Any]], **context: Any
) -> None:
    """Cut anywhere, the check finds the same."""
    size = sum(map(len, rows.values())) if isinstance(rows, Mapping) else len(rows)
    whole = run(check_class, rows, **context)
    for cuts in ([1], [size // 2], [size // 3, 2 * size // 3], [0], [size]):
        assert run(check_class, rows, cuts=cuts, **context) == whole, f"cut at {cuts}"
