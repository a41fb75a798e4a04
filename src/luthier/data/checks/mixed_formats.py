"""Are the rows of a file kept in one format? Knows nothing of what the formats are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Self

from luthier.data.checks.check import Check, Context, Tally, Totals
from luthier.data.checks.finding import MAX_EXAMPLES, MAX_ROWS_NAMED, SPLITS, Finding, SplitName, rows_word
from luthier.data.checks.row import CheckedRow


class MixedFormats(Check):
    """Rows in another format than most rows of their file."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies: dict[tuple[SplitName, int], dict[str, Tally]] = {}

    def see(self, row: CheckedRow) -> None:
        if row.shape is None:
            return
        shapes = self.tallies.setdefault((row.split, row.key.file), {})
        if row.shape not in shapes:
            shapes[row.shape] = Tally()
        shapes[row.shape].add(row)

    def merge(self, later: Self) -> None:
        for place, shapes in later.tallies.items():
            mine = self.tallies.setdefault(place, {})
            for shape, tally in shapes.items():
                mine.setdefault(shape, Tally()).merge(tally)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            odd, counts = list[Tally](), Counter[str]()
            for shapes in (shapes for (where, _), shapes in sorted(self.tallies.items()) if where == split):
                usual = max(sorted(shapes), key=lambda shape: shapes[shape].count)
                odd += [shapes[shape] for shape in sorted(shapes) if shape != usual]
                if len(shapes) > 1:
                    counts.update({shape: tally.count for shape, tally in shapes.items()})
            if odd:
                found = Tally(sum(tally.count for tally in odd))
                found.rows = sorted(row for tally in odd for row in tally.rows)[:MAX_ROWS_NAMED]
                found.examples = [example for tally in odd for example in tally.examples][:MAX_EXAMPLES]
                listed = ", ".join(f"{shape} ({count:,})" for shape, count in sorted(counts.items()))
                yield found.finding(
                    "mixed_formats",
                    "note",
                    split,
                    totals,
                    f"{found.count:,} of {rows_word(totals.rows[split])} are not in the format of most rows of "
                    f"their file: {listed}",
                    "All of them are read. If a part came from elsewhere by mistake, remove it.",
                )
