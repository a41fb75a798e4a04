"""Results on the same items -> better, worse, or not enough evidence.

Answers are compared item by item: only the items that one result has right and the other wrong say anything
about which is better. Where items share sources, whole sources are compared; where several pairs are compared,
the verdicts rest on Holm's adjusted p values.
This file knows nothing of models and of how the answers came to be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import combinations
from typing import TYPE_CHECKING, Any

from luthier.errors import EvaluationError
from luthier.evaluation.graders import VerdictWord
from luthier.evaluation.runner import EvalResult, ItemResult, Tally
from luthier.evaluation.stats import (
    Interval,
    bootstrap_difference,
    holm,
    mcnemar_exact,
    permutation_test,
    wilson_interval,
    wins_needed,
)
from luthier.evaluation.stats.correction import holm_levels

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

ALPHA = 0.05


class Evidence(StrEnum):
    """What the pairs say about the second result."""

    BETTER = "better"
    WORSE = "worse"
    NOT_ENOUGH = "not enough evidence"


@dataclass(frozen=True, slots=True)
class Entry:
    """One result alone: its counts and the Wilson interval of its accuracy."""

    label: str
    tally: Tally
    interval: Interval
    terminations: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pair:
    """The second result against the first.

    wins, losses: items that only the second, only the first has right; ties: the others. `num_left_out` are
    items that one of the two could not be graded on. `difference` is accuracy second - first over the pairs,
    `interval` its paired bootstrap interval. `p_value` is the pair's own, `p_adjusted` the one that the verdict
    rests on: corrected for the number of pairs. `net_wins_needed` is how many more wins than losses a verdict
    `better` would have needed, with as many losses as there were; None where items share sources, for then it is
    sources that count. `num_sources`: how many there are, or None where each item is on its own.
    """

    first: str
    second: str
    num_pairs: int
    num_left_out: int
    wins: int
    losses: int
    ties: int
    difference: float
    interval: Interval
    p_value: float
    p_adjusted: float
    verdict: Evidence
    net_wins_needed: int | None
    statement: str
    num_sources: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several results on one set of items. `by_tag` holds a tally per entry, in the order of `entries`."""

    items_hash: str
    num_items: int
    alpha: float
    entries: tuple[Entry, ...]
    pairs: tuple[Pair, ...]
    by_tag: dict[str, tuple[Tally, ...]]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values, under keys that stay."""
        return {
            "items_hash": self.items_hash,
            "num_items": self.num_items,
            "alpha": self.alpha,
            "entries": [
                {
                    "label": entry.label,
                    **_tally_dict(entry.tally),
                    "interval": asdict(entry.interval),
                    "terminations": dict(entry.terminations),
                }
                for entry in self.entries
            ],
            "pairs": [{**asdict(pair), "verdict": pair.verdict.value} for pair in self.pairs],
            "by_tag": {tag: [_tally_dict(one) for one in tallies] for tag, tallies in self.by_tag.items()},
            "notes": list(self.notes),
        }


def _tally_dict(tally: Tally) -> dict[str, Any]:
    return {**asdict(tally), "accuracy": tally.accuracy}


def compare(results: Sequence[EvalResult], *, alpha: float = ALPHA, seed: int = 0) -> Comparison:
    """Each later result against the first, and the last against each.

    Raises EvaluationError with fewer than two results, or where they are not on the same items.
    """
    if len(results) < 2:
        raise EvaluationError(f"expected at least two results to compare, found {len(results)}")
    _check_same_items(results)
    labels = _labels(results)
    last = len(results) - 1
    chosen = [(i, j) for i, j in combinations(range(len(results)), 2) if i == 0 or j == last]
    tallies = [result.by_tag() for result in results]
    named = [_Counted.of(labels[i], labels[j], results[i], results[j]) for i, j in chosen]
    p_values = [counted.p_value for counted in named]
    levels = holm_levels(p_values, alpha)
    return Comparison(
        items_hash=results[0].items_hash,
        num_items=len(results[0].items),
        alpha=alpha,
        entries=tuple(_entry(label, result) for label, result in zip(labels, results, strict=True)),
        pairs=tuple(
            _pair(counted, p_value, adjusted, alpha, level, seed)
            for counted, p_value, adjusted, level in zip(named, p_values, holm(p_values), levels, strict=True)
        ),
        by_tag={tag: tuple(tally[tag] for tally in tallies) for tag in tallies[0]},
        notes=(*_pairs_note(len(chosen)), *_sources_note(named[0]), *_notes(labels, results)),
    )


def _check_same_items(results: Sequence[EvalResult]) -> None:
    first = results[0]
    ids = {item.id for item in first.items}
    for other in results[1:]:
        if other.items_hash != first.items_hash or {item.id for item in other.items} != ids:
            num_shared = len(ids & {item.id for item in other.items})
            raise EvaluationError(
                f"{first.label} and {other.label} were not evaluated on the same items: "
                f"{len(first.items)} and {len(other.items)} items, {num_shared} ids shared; "
                "evaluate both on one file"
            )


def _labels(results: Sequence[EvalResult]) -> list[str]:
    """One name per result; those that are called the same are numbered."""
    names = [result.label for result in results]
    seen: Counter[str] = Counter()
    labels = []
    for name in names:
        seen[name] += 1
        labels.append(f"{name} ({seen[name]})" if names.count(name) > 1 else name)
    return labels


def _entry(label: str, result: EvalResult) -> Entry:
    tally = result.tally
    interval = wilson_interval(tally.num_passed, tally.num_graded)
    return Entry(label, tally, interval, result.terminations())


@dataclass(frozen=True, slots=True)
class _Counted:
    """Two results and what became of each item that could be graded on both sides: (first, second)."""

    first: str
    second: str
    passed_pairs: tuple[tuple[bool, bool], ...]
    num_left_out: int
    sources: tuple[Hashable, ...] | None

    @classmethod
    def of(cls, first_label: str, second_label: str, first: EvalResult, second: EvalResult) -> _Counted:
        pairs = graded_pairs(first.items, second.items)
        passed_pairs = tuple(passed for _, passed in pairs)
        if not passed_pairs:
            raise EvaluationError(f"{first_label} and {second_label}: no item could be graded on both sides")
        sources = tuple(source_of(item) for item, _ in pairs)
        num_left_out = len(first.items) - len(pairs)
        is_shared = len(set(sources)) < len(sources)
        return cls(first_label, second_label, passed_pairs, num_left_out, sources if is_shared else None)

    @property
    def p_value(self) -> float:
        """McNemar's exact test, or its like over whole sources where items share them."""
        if self.sources is None:
            return mcnemar_exact(self.wins, self.losses)
        return permutation_test(*self.scores, clusters=self.sources).p_value

    @property
    def scores(self) -> tuple[list[float], list[float]]:
        first, second = zip(*self.passed_pairs, strict=True)
        return [float(passed) for passed in first], [float(passed) for passed in second]

    @property
    def wins(self) -> int:
        return sum(after and not before for before, after in self.passed_pairs)

    @property
    def losses(self) -> int:
        return sum(before and not after for before, after in self.passed_pairs)


def _pair(
    counted: _Counted, p_value: float, p_adjusted: float, alpha: float, level: float, seed: int
) -> Pair:
    """`level`: what the pair's own p value has to stay below, as the other pairs stand."""
    wins, losses, num_pairs = counted.wins, counted.losses, len(counted.passed_pairs)
    verdict = Evidence.NOT_ENOUGH
    if p_adjusted < alpha:
        verdict = Evidence.BETTER if wins > losses else Evidence.WORSE
    needed = wins_needed(losses, level) - losses if counted.sources is None else None
    return Pair(
        first=counted.first,
        second=counted.second,
        num_pairs=num_pairs,
        num_left_out=counted.num_left_out,
        wins=wins,
        losses=losses,
        ties=num_pairs - wins - losses,
        difference=(wins - losses) / num_pairs,
        interval=bootstrap_difference(*counted.scores, clusters=counted.sources, seed=seed),
        p_value=p_value,
        p_adjusted=p_adjusted,
        verdict=verdict,
        net_wins_needed=needed,
        statement=_statement(verdict, wins, losses, needed, num_pairs, alpha),
        num_sources=len(set(counted.sources)) if counted.sources is not None else None,
    )


def graded_pairs(
    first: Sequence[ItemResult], second: Sequence[ItemResult]
) -> list[tuple[ItemResult, tuple[bool, bool]]]:
    """The items that could be graded on both sides, each with whether (first, second) passed."""
    by_id = {item.id: item for item in second}
    pairs = [(item, item.verdict, by_id[item.id].verdict) for item in first]
    return [
        (item, (before is VerdictWord.PASSED, after is VerdictWord.PASSED))
        for item, before, after in pairs
        if VerdictWord.UNGRADABLE not in (before, after)
    ]


def source_of(item: ItemResult) -> Hashable:
    return ("source", item.source) if item.source is not None else ("item", item.id)


def _statement(
    verdict: Evidence, wins: int, losses: int, needed: int | None, num_pairs: int, alpha: float
) -> str:
    counts = f"{wins} won, {losses} lost (net {wins - losses:+d})"
    if verdict is not Evidence.NOT_ENOUGH or needed is None:
        return f"{verdict} at alpha {alpha:g}: {counts}"
    if 2 * losses + needed > num_pairs:
        return (
            f"{verdict} at alpha {alpha:g}: {counts}; with {losses} lost, net +{needed} would be needed, "
            f"which {num_pairs} items cannot show: use more items"
        )
    return f"{verdict} at alpha {alpha:g}: {counts}; with {losses} lost, net +{needed} would be needed"


def _pairs_note(num_pairs: int) -> list[str]:
    if num_pairs < 2:
        return []
    return [f"{num_pairs} pairs were compared; p is adjusted for that (Holm), and the verdicts rest on it"]


def _sources_note(counted: _Counted) -> list[str]:
    if counted.sources is None:
        return []
    return [
        f"the {len(counted.sources)} items come from {len(set(counted.sources))} sources, which are what counts: "
        "p and the intervals are over whole sources"
    ]


def _notes(labels: Sequence[str], results: Sequence[EvalResult]) -> list[str]:
    """What a reader has to know before the numbers: unequal settings, cut answers, ungradable items."""
    notes = []
    limits = {label: result.settings.max_new_tokens for label, result in zip(labels, results, strict=True)}
    if len(set(limits.values())) > 1:
        shown = ", ".join(f"{label}: {limit}" for label, limit in limits.items())
        notes.append(f"the answers had unequal limits of new tokens ({shown})")
    for label, result in zip(labels, results, strict=True):
        endings = result.terminations()
        num_items = len(result.items)
        for word, what in (("length", "cut at the limit of new tokens"), ("malformed", "malformed")):
            if endings.get(word):
                notes.append(f"{label}: {endings[word]} of {num_items} answers were {what}")
        if result.tally.num_ungradable:
            notes.append(f"{label}: {result.tally.num_ungradable} of {num_items} could not be graded")
    return notes


_STYLES = {Evidence.BETTER: "bold green", Evidence.WORSE: "bold red", Evidence.NOT_ENOUGH: "yellow"}


def render_comparison(comparison: Comparison) -> RenderableType:
    """The comparison for the terminal: accuracies, pairs with their verdicts, tags, notes."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_entries_table(comparison), _pairs_table(comparison)]
    if comparison.by_tag:
        parts.append(_tags_table(comparison))
    parts += [Text(f"{pair.second} against {pair.first}: {pair.statement}") for pair in comparison.pairs]
    parts += [Text(f"note: {note}", style="yellow") for note in comparison.notes]
    return Group(*parts)


def _entries_table(comparison: Comparison) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Accuracy on {comparison.num_items} items")
    table.add_column("model")
    for name in ("right", "accuracy", "95% interval"):
        table.add_column(name, justify="right")
    for entry in comparison.entries:
        right = f"{entry.tally.num_passed}/{entry.tally.num_graded}"
        interval = f"{entry.interval.low:.1%} to {entry.interval.high:.1%}"
        table.add_row(Text(entry.label), right, f"{entry.tally.accuracy:.1%}", interval)
    return table


def _pairs_table(comparison: Comparison) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Item by item (exact McNemar test)")
    table.add_column("model")
    table.add_column("against")
    for name in ("difference (95%)", "won/lost/tie", "p"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for pair in comparison.pairs:
        table.add_row(
            Text(pair.second),
            Text(pair.first),
            f"{pair.difference:+.1%}\n({pair.interval.low:+.1%} to {pair.interval.high:+.1%})",
            f"{pair.wins}/{pair.losses}/{pair.ties}",
            f"{pair.p_adjusted:.2g}",
            Text(pair.verdict.value, style=_STYLES[pair.verdict]),
        )
    return table


def _tags_table(comparison: Comparison) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="By tag (right/graded)")
    table.add_column("tag")
    for entry in comparison.entries:
        table.add_column(Text(entry.label), justify="right")
    for tag, tallies in comparison.by_tag.items():
        cells = [f"{tally.num_passed}/{tally.num_graded} ({tally.accuracy:.0%})" for tally in tallies]
        table.add_row(Text(tag), *cells)
    return table
