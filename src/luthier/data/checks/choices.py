"""Questions with options: how the right one is written down, and where it stands.

Options are recognised in fields of the row (`choices`, `options`, `choice0`, `A` to `D`) or in the question, one a
line. Knows nothing of other tasks.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLITS, Finding, SplitName, rows_word
from luthier.data.checks.row import CheckedRow

_OPTION_FIELD = re.compile(r"(?:choice|option|answer)[ _-]?([0-9A-Ja-j])|([A-J])$")
_ANSWER_FIELDS = ("answer", "label", "answerKey", "answer_key", "correct", "gold", "target")
_ANSWER = re.compile(r"\s*\(?([A-Ja-j]|\d)[).:]?\s*$")
_OPTION_LINES = re.compile(r"^[ \t]*\(?A[).:].*?^[ \t]*\(?B[).:]", re.MULTILINE | re.DOTALL)
_MIN_OPTIONS = 2
_MIN_ROWS = 20
_POSITION_MIN_ROWS = 100
_POSITION_FACTOR = 1.5  # times the share that chance gives


class MultipleChoice(Check):
    """Answers that are codes: letters, numbers from 0 or from 1, or both; and a place that is right too often."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()
        self.codes: dict[SplitName, Counter[str]] = {}
        self.fields: dict[SplitName, Counter[str]] = {}

    def see(self, row: CheckedRow) -> None:
        named = _option_fields(row.value)
        code = _code(_answer_field(row.value) if named else row.answer)
        if code is None:
            return
        lettered = "B" in row.asked and _OPTION_LINES.search(row.asked) is not None
        if not named and not lettered:
            return
        self.codes.setdefault(row.split, Counter())[code.upper()] += 1
        self.tallies[row.split, "number" if code.isdigit() else "letter"].add(row)
        if named and not lettered:
            self.tallies[row.split, "unread"].add(row)
            self.fields.setdefault(row.split, Counter())[", ".join(named)] += 1

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)
        for mine, more in ((self.codes, later.codes), (self.fields, later.fields)):
            for split, counts in more.items():
                mine.setdefault(split, Counter()).update(counts)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split, codes in self.codes.items():
            if codes.total() >= min(_MIN_ROWS, totals.rows[split]):
                yield from self._unread(split, totals)
                yield from self._coding(split, codes, totals)
                if split == "train":
                    yield from self._position(codes, totals)

    def _unread(self, split: SplitName, totals: Totals) -> Iterator[Finding]:
        tally = self.tallies.get((split, "unread"))
        if tally is None:
            return
        fields = self.fields[split].most_common(1)[0][0]
        yield tally.finding(
            "options_not_in_prompt",
            "warning",
            split,
            totals,
            f"{tally.count:,} of {rows_word(totals.rows[split])} answer with the place of an option, but the options "
            f"stand in fields that are not part of the prompt ({fields})",
            "The model would never see what it chooses from. Write the options into the question, one a line with its "
            "letter.",
        )

    def _coding(self, split: SplitName, codes: Counter[str], totals: Totals) -> Iterator[Finding]:
        numbers, letters = (self.tallies.get((split, kind)) for kind in ("number", "letter"))
        if numbers is None:
            return
        told = sorted(code for code in codes if code.isdigit())
        message = (
            f"{numbers.count:,} of {rows_word(totals.rows[split])} code the right option as a number, "
            f"{told[0]} to {told[-1]}, counted from {0 if told[0] == '0' else 1}"
        )
        if letters is not None:
            message += f"; {letters.count:,} others code it as a letter"
        yield numbers.finding(
            "answer_coding",
            "warning" if letters is not None else "note",
            split,
            totals,
            message,
            "See with luthier data show that the right option is meant. Letters that stand beside the options (A, B, "
            "...) cannot be miscounted.",
        )

    def _position(self, codes: Counter[str], totals: Totals) -> Iterator[Finding]:
        most, count = codes.most_common(1)[0]
        rows = codes.total()
        if rows < _POSITION_MIN_ROWS or len(codes) < _MIN_OPTIONS:
            return
        if count <= _POSITION_FACTOR * rows / len(codes):
            return
        yield Finding(
            "answer_position",
            "note",
            "train",
            f"option {most} is right in {count:,} of {rows:,} questions ({count / rows:.0%}; evenly it would be "
            f"{1 / len(codes):.0%})",
            "A model learns the place instead of the answer. Shuffle the options of each question.",
            count,
            totals.share(count, "train"),
            examples=(),
        )

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        """`choices`: by split, how often each option is the right one."""
        found = {split: dict(sorted(self.codes[split].items())) for split in SPLITS if split in self.codes}
        return {"choices": found} if found else {}


def _answer_field(value: Mapping[str, Any]) -> Any:
    return next((value[key] for key in _ANSWER_FIELDS if key in value), None)


def _code(answer: Any) -> str | None:
    """The answer, where it is a single letter or digit."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        return str(answer) if 0 <= answer <= 9 else None
    if not isinstance(answer, str) or len(answer) > 8:
        return None
    match = _ANSWER.match(answer)
    return match[1] if match else None


def _option_fields(value: Mapping[str, Any]) -> list[str]:
    """The fields of a row that hold its options."""
    if len(value) < 3:  # a question, an answer and options
        return []
    for key in ("choices", "options"):
        if isinstance(value.get(key), list | dict) and len(value[key]) >= _MIN_OPTIONS:
            return [key]
    named = [key for key in value if _OPTION_FIELD.match(key)]
    return named if len(named) >= _MIN_OPTIONS else []
