"""Which system prompts do the rows have, and is the one that will be shipped among them, byte for byte?

A specialist answers best under the words that it was trained with; a space more is another prompt. Of very many
different prompts those with the smallest identities are kept, whose counts stay exact. Knows nothing of answers.
"""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any, Self

from luthier.data.checks.check import Check, Context, Tallies, Tally, Totals
from luthier.data.checks.finding import MAX_ROWS_NAMED, SPLITS, Finding, SplitName, rows_word, shorten
from luthier.data.checks.row import CheckedRow, identity
from luthier.private import mask

MAX_PROMPTS = 4096
_MAX_CHARACTERS = 2000  # of a prompt that is kept; its identity is that of the whole
_MAX_COMPARED = 300  # prompts that are held against each other; more are written by a program
_MOST_HAVE_ONE = 0.5
_KINDS = frozenset({"chat", "preference", "feedback"})
_NOT_WORDS = re.compile(r"[\W_]+")


class _Prompt(Tally):
    """The rows with one system prompt, the beginning of its text, and the identity of its words alone."""

    text: str = ""
    words: int = 0
    is_whole: bool = True


class SystemPrompts(Check):
    """How many there are, which differ by next to nothing, which rows have none or another than the shipped one."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()
        self.prompts: dict[SplitName, dict[int, _Prompt]] = {split: {} for split in SPLITS}
        self.limits: dict[SplitName, int] = dict.fromkeys(SPLITS, 1 << 64)
        self.rows = dict.fromkeys(SPLITS, 0)

    def see(self, row: CheckedRow) -> None:
        if row.example is None or row.example.kind not in _KINDS or row.shape == "item" or not row.messages:
            return
        self.rows[row.split] += 1
        first = row.messages[0]
        text = first.content if first.role == "system" and first.content.strip() else None
        shipped = self.context.system_prompt
        if shipped is not None and text != shipped:
            self.tallies[row.split, "differs"].add(row, text)
        if text is None:
            self.tallies[row.split, "without"].add(row)
            return
        key = identity(text)
        if key <= self.limits[row.split]:
            self._count(row, key, text)

    def finish(self) -> None:
        for split in SPLITS:
            self._cut(split)

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)
        for split in SPLITS:
            self.rows[split] += later.rows[split]
            for key, prompt in later.prompts[split].items():
                if key in self.prompts[split]:
                    self.prompts[split][key].merge(prompt)
                else:
                    self.prompts[split][key] = prompt
            self.limits[split] = min(self.limits[split], later.limits[split])
            self._cut(split)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            tallies, num_rows = self.tallies.of(split), rows_word(self.rows[split])
            without = tallies.get("without")
            if without is not None and without.count < _MOST_HAVE_ONE * self.rows[split]:
                yield without.finding(
                    "rows_without_system_prompt",
                    "warning",
                    split,
                    totals,
                    f"{without.count:,} of {num_rows} have no system prompt, though most have one",
                    "Give every row the prompt that will be shipped, unless some are meant to work without.",
                )
            yield from self._variants(split, totals)
            differs = tallies.get("differs")
            if differs is not None:
                yield differs.finding(
                    "system_prompt_differs",
                    "warning",
                    split,
                    totals,
                    f"{differs.count:,} of {num_rows} have another system prompt than the one that will be shipped",
                    "Train with the words that are served, byte for byte.",
                )

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        figures = {}
        for split in SPLITS:
            prompts = self.prompts[split]
            if prompts:
                most = min(prompts.values(), key=lambda one: (-one.count, one.rows[0]))
                without = self.tallies.of(split).get("without")
                figures[split] = {
                    "distinct": len(prompts),
                    "distinct_is_exact": not self._is_cut(split),
                    "rows_without": without.count if without else 0,
                    "most_common": mask(most.text),
                    "most_common_rows": most.count,
                    "most_common_share": round(most.count / self.rows[split], 6),
                }
        return {"system_prompts": figures} if figures else {}

    def _variants(self, split: SplitName, totals: Totals) -> Iterator[Finding]:
        groups = list(_near_identical(self.prompts[split].values()))
        if not groups:
            return
        odd = [one for group in groups for one in _less_common(group)]
        rows = sorted(row for one in odd for row in one.rows)[:MAX_ROWS_NAMED]
        found = Tally(sum(one.count for one in odd), rows)
        yield found.finding(
            "system_prompt_variants",
            "warning",
            split,
            totals,
            f"{found.count:,} of {rows_word(self.rows[split])} have a system prompt that differs from a more common "
            "one by next to nothing (spacing, case, punctuation or one character)",
            "Use one text in all rows, the one that will be shipped.",
            examples=[_difference(group) for group in groups[:2]],
        )

    def _count(self, row: CheckedRow, key: int, text: str) -> None:
        prompts = self.prompts[row.split]
        if key not in prompts:
            prompts[key] = _Prompt()
            prompts[key].text = text[:_MAX_CHARACTERS]
            prompts[key].words = identity(_words(text))
            prompts[key].is_whole = len(text) <= _MAX_CHARACTERS
        prompts[key].add(row, "")
        if len(prompts) >= 2 * MAX_PROMPTS:
            self._cut(row.split)

    def _cut(self, split: SplitName) -> None:
        prompts = self.prompts[split]
        if len(prompts) > MAX_PROMPTS:
            kept = heapq.nsmallest(MAX_PROMPTS, prompts)
            self.limits[split] = kept[-1]
            self.prompts[split] = {key: prompts[key] for key in kept}

    def _is_cut(self, split: SplitName) -> bool:
        return self.limits[split] < 1 << 64


def _near_identical(prompts: Iterable[_Prompt]) -> Iterator[list[_Prompt]]:
    """Groups of prompts that say the same but for spacing, case, punctuation, or one character that is no digit."""
    same: dict[int, list[_Prompt]] = defaultdict(list)
    for one in sorted(prompts, key=lambda one: one.rows[0]):
        same[one.words].append(one)
    joined = {words: words for words in same}
    if len(same) <= _MAX_COMPARED:
        texts = {words: _words(group[0].text) for words, group in same.items() if group[0].is_whole}
        for first, second in combinations(texts, 2):
            if is_one_edit_apart(texts[first], texts[second]):
                joined[second] = joined[first]
    groups: dict[int, list[_Prompt]] = defaultdict(list)
    for words, group in same.items():
        groups[joined[words]] += group
    yield from (group for group in groups.values() if len(group) > 1)


def _words(text: str) -> str:
    return _NOT_WORDS.sub(" ", text).strip().casefold()


def _less_common(group: list[_Prompt]) -> list[_Prompt]:
    usual = max(group, key=lambda one: one.count)
    return [one for one in group if one is not usual]


def is_one_edit_apart(first: str, second: str) -> bool:
    """Does one inserted, removed or replaced character lead from one text to the other? Digits are not variants."""
    if abs(len(first) - len(second)) > 1 or first == second:
        return False
    short, long = sorted((first, second), key=len)
    at = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    same_length = len(short) == len(long)
    if long[at].isdigit() or (same_length and short[at].isdigit()):
        return False
    return short[at + 1 :] == long[at + 1 :] if same_length else short[at:] == long[at + 1 :]


def _difference(group: list[_Prompt]) -> str:
    first, second = sorted(group, key=lambda one: -one.count)[:2]
    pairs = enumerate(zip(first.text, second.text, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(first.text), len(second.text)))
    start = max(0, at - 25)
    return " | ".join(
        f"{one.count:,} rows: {shorten(repr(one.text[start : at + 25]), 60)}" for one in (first, second)
    )
