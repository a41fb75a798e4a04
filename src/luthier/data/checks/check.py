"""What a check is: it sees every row once, can be merged with its twin on other rows, and says what it found.

Files are read in pieces, perhaps by several processes; each piece has its own copy of every check, and the copies
are merged in the order of the pieces. So whatever a check keeps must be small (counts, tallies, sketches) or lie on
disk (the ledger), and merging must give what one copy would have found on all rows: tests hold every check to it.
Knows nothing of single checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from luthier.data.checks.finding import (
    MAX_EXAMPLES,
    MAX_ROWS_NAMED,
    Finding,
    RowKey,
    Severity,
    SplitName,
    shorten,
)

if TYPE_CHECKING:
    from luthier.chat.render import Renderer
    from luthier.data.checks.ledger import Ledger
    from luthier.data.checks.row import CheckedRow


@dataclass(frozen=True)
class Context:
    """What every copy of a check knows before the first row; it travels to other processes.

    scratch           a folder for what does not fit into memory; gone after the check
    open_renderer     gives the renderer of the model that will be trained (`--model`), None without one
    max_length, batch_size  what the training would use; for the check of lengths
    placeholders      texts that look like unfilled placeholders but are meant
    task              what the rows are for, where the user said so (style, task, domain, ...)
    system_prompt     the system prompt that will be shipped, where the user named one
    benchmarks        evaluation files to hold the rows against (`--against`), name -> hashes of their 13-grams
    habits            openings and endings that many answers of valid or test share, by split
    """

    scratch: Path
    open_renderer: Callable[[], Renderer] | None = None
    max_length: int = 1024
    batch_size: int = 16
    placeholders: frozenset[str] = frozenset()
    task: str | None = None
    system_prompt: str | None = None
    semantic: bool = False
    benchmarks: Mapping[str, Any] = field(default_factory=dict)
    habits: Mapping[SplitName, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Totals:
    """What is known when all rows were seen: rows by split, and the ledger of their identities."""

    rows: Mapping[SplitName, int]
    ledger: Ledger

    def share(self, count: int, split: SplitName) -> float:
        return count / self.rows[split] if self.rows.get(split) else 0.0


class Check:
    """The base of every check. A check overrides `findings`, and `see`, `finish`, `merge` as it needs."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def see(self, row: CheckedRow) -> None:
        """Take note of one row."""

    def finish(self) -> None:
        """After the last row of a piece, before the check travels home: write out what is buffered."""

    def merge(self, later: Self) -> None:
        """Take over what a copy found on the rows that come later."""

    def findings(self, totals: Totals) -> Iterable[Finding]:
        """What was found, split by split."""
        raise NotImplementedError

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        """Numbers for the report that are no finding (percentiles, diversity, classes): stable keys, JSON values.

        They are joined over all checks into `report.figures`, by split where they belong to one.
        """
        return {}


@dataclass
class Tally:
    """How many rows have something, the first of them, and two examples."""

    count: int = 0
    rows: list[RowKey] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def add(self, row: CheckedRow, example: str | None = None) -> None:
        """Count a row; `example` says it better than the row's own summary."""
        self.count += 1
        if len(self.rows) < MAX_ROWS_NAMED:
            self.rows.append(row.key)
        if len(self.examples) < MAX_EXAMPLES:
            text = shorten(row.summary if example is None else example)
            if text not in self.examples:
                self.examples.append(text)

    def merge(self, later: Tally) -> None:
        self.count += later.count
        self.rows = (self.rows + later.rows)[:MAX_ROWS_NAMED]
        self.examples = list(dict.fromkeys(self.examples + later.examples))[:MAX_EXAMPLES]

    def finding(
        self,
        name: str,
        severity: Severity,
        split: SplitName,
        totals: Totals,
        message: str,
        advice: str,
        *,
        examples: Sequence[str] | None = None,
    ) -> Finding:
        """The finding about the rows that were counted."""
        shown = self.examples if examples is None else examples
        return Finding(
            name=name,
            severity=severity,
            split=split,
            message=message,
            advice=advice,
            count=self.count,
            share=totals.share(self.count, split),
            rows=tuple(self.rows),
            examples=tuple(shorten(example) for example in shown[:MAX_EXAMPLES]),
        )


class Tallies(dict[tuple[SplitName, str], Tally]):
    """A tally for each split and name, made when first asked for."""

    def __missing__(self, key: tuple[SplitName, str]) -> Tally:
        self[key] = Tally()
        return self[key]

    def merge(self, later: Tallies) -> None:
        for key, tally in later.items():
            self[key].merge(tally)

    def of(self, split: SplitName) -> dict[str, Tally]:
        """The tallies of one split, by name."""
        return {name: tally for (where, name), tally in self.items() if where == split}
