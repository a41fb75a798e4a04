"""How much of a split is there twice: rows, prompts with several answers, answers.

Exact repetition only, answered from the ledger. Knows nothing of other splits.
"""

from collections.abc import Iterable
from heapq import nlargest

import numpy as np

from luthier.data.checks.check import Check, Totals
from luthier.data.checks.finding import (
    MAX_EXAMPLES,
    MAX_ROWS_NAMED,
    SPLIT_WORDS,
    SPLITS,
    Finding,
    RowKey,
    Shown,
    SplitName,
    rows_word,
)
from luthier.data.checks.identify import repeats
from luthier.data.checks.ledger import KINDS, FirstRows, Records, keys, run_lengths, starts

_DUPLICATES_MIN_SHARE = 0.01  # a few copies among many rows change nothing
_FEW_ANSWERS_SHARE = 0.1  # fewer distinct answers than one row in ten
_FEW_ANSWERS_MIN_ROWS = 50


class DuplicateRows(Check):
    """Rows that say exactly what an earlier row of the split says; ids and tags do not count."""

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            copies = FirstRows(MAX_ROWS_NAMED)
            for later, _ in repeats(totals.ledger, "content", [split]):
                copies.add(later)
            if not copies.count:
                continue
            rows = totals.rows[split]
            only = "only " if 2 * copies.count > rows else ""
            yield Finding(
                "duplicate_rows",
                "warning" if copies.count >= _DUPLICATES_MIN_SHARE * rows else "note",
                split,
                f"{copies.count:,} of {rows:,} {SPLIT_WORDS[split]} rows repeat an earlier row; "
                f"{only}{rows - copies.count:,} are distinct",
                "A copy teaches nothing that another epoch would not: remove the copies (luthier data fix), and set "
                "more epochs if more passes are wanted.",
                copies.count,
                totals.share(copies.count, split),
                copies.rows,
            )


class ConflictingAnswers(Check):
    """Prompts that are answered in more than one way. Rows with a thumb are meant to be so, and do not count."""

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            found, num_prompts, shown = FirstRows(MAX_ROWS_NAMED), 0, []
            for records in totals.ledger.sorted_by("prompt", [split]):
                records = records[records["kind"] != KINDS.index("feedback")]
                conflicts = _conflicts(records)
                found.add(records[conflicts])
                first = starts(records[conflicts]["prompt"])
                num_prompts += len(first)
                shown += _pairs(records[conflicts])
            if not found.count:
                continue
            yield Finding(
                "conflicting_answers",
                "warning",
                split,
                f"{num_prompts:,} {SPLIT_WORDS[split]} {'prompt has' if num_prompts == 1 else 'prompts have'} "
                "more than one answer "
                f"({found.count:,} of {rows_word(totals.rows[split])})",
                "If only one of the answers is right, keep that one. If several are meant, leave them.",
                found.count,
                totals.share(found.count, split),
                found.rows,
                shown=tuple(
                    Shown(pair, "{0.asked} -> {0.answer} | {1.answer}")
                    for pair in sorted(shown)[:MAX_EXAMPLES]
                ),
            )


def _conflicts(records: Records) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Which records, sorted by prompt, share their prompt with a record of other content."""
    order = np.lexsort((records["content"], records["prompt"]))
    prompts, contents = records["prompt"][order], records["content"][order]
    new = np.ones(len(records), bool)
    new[1:] = (prompts[1:] != prompts[:-1]) | (contents[1:] != contents[:-1])
    first = starts(prompts)
    if not len(first):
        return np.zeros(0, bool)
    several = np.add.reduceat(new.astype(np.int64), first) > 1
    # `records` are sorted by prompt too, so the groups stand in the same places.
    return np.repeat(several, run_lengths(first, len(records)))


def _pairs(records: Records) -> list[tuple[RowKey, RowKey]]:
    """Of the first groups of conflicting records: the first row, and the first that answers otherwise."""
    first = starts(records["prompt"])
    order = np.lexsort((records["number"][first], records["file"][first]))[:MAX_EXAMPLES]
    pairs = []
    for index in order:
        group = records[first[index] :]
        group = group[group["prompt"] == group["prompt"][0]]
        other = group[group["content"] != group["content"][0]]
        pairs.append((keys(group[:1])[0], keys(other[:1])[0]))
    return pairs


class FewDistinctAnswers(Check):
    """Many rows that all end in one of a few answers of several words: recited, not learnt."""

    def findings(self, totals: Totals) -> Iterable[Finding]:
        split: SplitName = "train"
        answered, num_distinct, num_labels = FirstRows(MAX_ROWS_NAMED), 0, 0
        common: list[tuple[int, RowKey]] = []
        for records in totals.ledger.sorted_by("answer", [split]):
            first = starts(records["answer"])
            counts = run_lengths(first, len(records))
            answered.add(records)
            num_distinct += len(first)
            num_labels += int(records["labelish"][first].sum())
            top = np.argsort(-counts, kind="stable")[:MAX_EXAMPLES]
            common += [(int(counts[i]), keys(records[first[i] : first[i] + 1])[0]) for i in top]
        few = num_distinct < _FEW_ANSWERS_SHARE * answered.count
        if answered.count < _FEW_ANSWERS_MIN_ROWS or not few or 2 * num_labels > num_distinct:
            return
        most = nlargest(MAX_EXAMPLES, common, key=lambda one: (one[0], -one[1].file, -one[1].number))
        yield Finding(
            "few_distinct_answers",
            "warning",
            split,
            f"{rows_word(answered.count)} have only {num_distinct:,} distinct answers",
            "A model can recite these sentences without understanding the questions. Word the answers in many ways, "
            "and add questions whose answer joins several facts.",
            answered.count,
            totals.share(answered.count, split),
            answered.rows,
            shown=tuple(Shown((key,), f"{count:,} times: {{0.answer}}") for count, key in most),
        )
