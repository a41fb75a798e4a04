"""Do answers stop in the middle of a sentence, of a block of code, of a JSON value?

A model learns where to stop from where answers stop. Only what can hardly be meant is told: labels, numbers, SQL, lists
and poems end without a full stop, and rightly so. Words are English ones; of other languages in Latin, Greek and
Cyrillic letters only long prose is judged. Knows nothing of how rows relate to each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Self

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLITS, Finding, rows_word, shorten
from luthier.data.checks.row import CheckedRow

_CLOSED = frozenset(".!?:;…\"'”’»)]}>*_`|~。！？」』）】✅")
_LETTERS_END_BEFORE = "\u0530"  # Latin, Greek and Cyrillic: scripts that close a sentence with a mark
# No English sentence ends in one of these.
_HANGING_WORD = re.compile(
    r"(?:\w+\W+){7,}.*\b(?:the|a|an|and|or|but|because|of|whose|into|your|our|their|my)\Z"
)
_MIN_WORDS_BEFORE_COMMA = 8
_MIN_PROSE = 300
_MIN_LAST_LINE_WORDS = 8
_CLOSED_LINES_SHARE = 0.8
_LIST_ITEM = re.compile(r"\s*(?:[-*•#>|+]|\d+[.)]|[A-Za-z][.)]\s)")
_JSON_BEGINS = re.compile(r"\s*(?:\{\s*[\"}]|\[\s*(?:[\[{\"\]]|-?\d))")
_LONGEST_JSON = 100_000
_WARN_FROM_SHARE = 0.01  # fewer may be chance, or the author's way
_TAIL = 120


class TruncatedAnswers(Check):
    """Answers that stop before they end."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()

    def see(self, row: CheckedRow) -> None:
        example, answer = row.example, row.answer
        if example is None or not answer or example.kind == "classification" or example.desirable is False:
            return
        why = why_truncated(answer)
        if why is not None:
            self.tallies[row.split, "truncated"].add(row, f"… {answer.rstrip()[-_TAIL:]} [{why}]")

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            if (split, "truncated") in self.tallies:
                tally = self.tallies[split, "truncated"]
                share = totals.share(tally.count, split)
                yield tally.finding(
                    "truncated_answers",
                    "warning" if share >= _WARN_FROM_SHARE else "note",
                    split,
                    totals,
                    f"{tally.count:,} of {rows_word(totals.rows[split])} have an answer that seems cut short",
                    "The model would learn to stop in mid-sentence. Finish these answers, or remove the rows; if they "
                    "were generated, raise the limit of tokens.",
                    examples=[shorten(example) for example in tally.examples],
                )


def why_truncated(answer: str) -> str | None:
    """Why an answer seems cut short, in words; None where it seems whole."""
    text = answer.rstrip()
    if not text:
        return None
    if "```" in text and sum(line.lstrip().startswith("```") for line in text.splitlines()) % 2:
        # A mark alone at the very end is one too many, not one too few.
        return None if text.endswith("\n```") else "a block of code is not closed"
    if text[0] in "{[" and _is_open_json(text):
        return "the JSON is not closed"
    last = text[-1]
    if last in _CLOSED:
        return None
    line = text.rsplit("\n", 1)[-1]
    if "```" in text or _LIST_ITEM.match(line):
        return None
    if last == "," and len(line.split()) >= _MIN_WORDS_BEFORE_COMMA and "\n" not in text:
        return "ends in a comma"
    if last.isalpha() and last < _LETTERS_END_BEFORE:
        if _HANGING_WORD.match(line[-2 * _TAIL :]):
            return f"ends in {line.split()[-1]!r}"
        if len(text) >= _MIN_PROSE and _is_prose(text, line):
            return "ends without a full stop"
    return None


def _is_prose(text: str, last_line: str) -> bool:
    """Do the sentences before the end close, so that an open end is not the author's way?"""
    words = last_line.split()
    if len(words) < _MIN_LAST_LINE_WORDS or words[-1][0] in "#@" or "/" in words[-1]:
        return False
    lines = [line for line in text.splitlines() if line.strip()][:-1]
    if lines:
        return sum(line.rstrip()[-1] in _CLOSED for line in lines) >= _CLOSED_LINES_SHARE * len(lines)
    return len(re.findall(r"[.!?][\"')]*\s+[A-ZÀ-ÞА-ЯΑ-Ω]", text)) >= 3


def _is_open_json(text: str) -> bool:
    """Does a text that begins as JSON does end inside of it?"""
    if not _JSON_BEGINS.match(text) or len(text) > _LONGEST_JSON:
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        # Cut JSON fails at its very end, or where the string that it was cut in began.
        return error.pos >= len(text) or error.msg.startswith("Unterminated string")
    except (RecursionError, ValueError):
        return False
    return False
