"""A manner that many answers of valid or test share and that training never shows: an ending, an opening, a style.

Two readings: `find_habits` reads a measuring split first and keeps what many of its answers share; the check then
counts each of these exactly, over training rows too. Knows nothing of duplicates.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLIT_WORDS, Finding, RowKey, SplitName
from luthier.data.checks.row import CheckedRow, identity

_MAX_WORDS = 12
_MIN_ROWS = 5
_MIN_SHARE = 0.1
_MIN_TRAIN_ROWS = 20  # fewer answers than this show too little for "never" to mean anything
_MAX_COUNTED = 200_000  # endings counted at a time; beyond it the rarest go, which no habit can be among
_MAX_KEPT = 200
_STYLE_MIN_SHARE = 0.3  # a few lists or smileys are chance, not a style

_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")


def _is_list(text: str) -> bool:
    return len(re.findall(r"^\s*(?:[-*•]|\d+[.)])\s", text, re.M)) > 1


STYLES: dict[str, Callable[[str], bool]] = {
    "are written without a capital": lambda text: text == text.lower() and text != text.upper(),
    "are written in capitals": lambda text: text == text.upper() and text != text.lower(),
    "hold a list": _is_list,
    "hold a heading": lambda text: re.search(r"^#{1,6} ", text, re.M) is not None,
    "hold a block of code": lambda text: "```" in text,
    "hold an emoji": lambda text: _EMOJI.search(text) is not None,
    "end with an exclamation mark": lambda text: text.endswith("!"),
    "ask a question back": lambda text: text.endswith("?"),
    "are JSON": lambda text: text[:1] in "{[" and text[-1:] in "}]",
    "have several paragraphs": lambda text: "\n\n" in text,
}


@dataclass(frozen=True)
class Habits:
    """What many answers of a split share: last words, first words, styles (names in STYLES)."""

    endings: frozenset[str] = field(default_factory=frozenset)
    openings: frozenset[str] = field(default_factory=frozenset)
    styles: frozenset[str] = field(default_factory=frozenset)


class _Shares:
    """Counts phrases, and for each up to two different texts around it: one repeated answer is no habit."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._others: dict[str, set[int]] = {}

    def add(self, phrase: str, other: str) -> None:
        self.counts[phrase] += 1
        others = self._others.setdefault(phrase, set())
        if len(others) < 2:
            others.add(identity(other))
        if len(self.counts) > _MAX_COUNTED:
            self._drop_rarest()

    def _drop_rarest(self) -> None:
        least = sorted(self.counts.values())[len(self.counts) // 2]
        for phrase in [phrase for phrase, count in self.counts.items() if count <= least]:
            del self.counts[phrase], self._others[phrase]

    def common(self, at_least: float) -> frozenset[str]:
        several = (p for p, count in self.counts.items() if count >= at_least and len(self._others[p]) > 1)
        return frozenset(sorted(several, key=lambda p: (-self.counts[p], -len(p), p))[:_MAX_KEPT])


def find_habits(rows: Iterable[CheckedRow]) -> Habits:
    """What at least a tenth of the answers (and five of them) share."""
    endings, openings, styles = _Shares(), _Shares(), Counter[str]()
    answered = 0
    for row in rows:
        if not row.answer or not row.answer.strip():
            continue
        answered += 1
        words = row.answer.split()
        for ending, before in _cuts(words, from_end=True):
            endings.add(ending, before)
        for opening, after in _cuts(words, from_end=False):
            openings.add(opening, after)
        styles.update(name for name, holds in STYLES.items() if holds(row.answer.strip()))
    least = max(_MIN_ROWS, _MIN_SHARE * answered)
    of_style = max(_MIN_ROWS, _STYLE_MIN_SHARE * answered)
    return Habits(
        endings.common(least),
        openings.common(least),
        frozenset(name for name, count in styles.items() if count >= of_style),
    )


def _cuts(words: Sequence[str], *, from_end: bool) -> Iterator[tuple[str, str]]:
    """(the last or first few words, the others), for 1 to 12 words, never the whole."""
    for length in range(1, min(len(words) - 1, _MAX_WORDS) + 1):
        if from_end:
            yield " ".join(words[-length:]), " ".join(words[:-length])
        else:
            yield " ".join(words[:length]), " ".join(words[length:])


class UnseenHabits(Check):
    """Endings, openings and styles that valid or test has and train never."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        habits: Sequence[Habits] = list(context.habits.values())
        self._endings = frozenset[str]().union(*(one.endings for one in habits))
        self._openings = frozenset[str]().union(*(one.openings for one in habits))
        self._styles = frozenset[str]().union(*(one.styles for one in habits))
        self._answered: Counter[SplitName] = Counter()
        self._tallies = {kind: Tallies() for kind in ("suffix", "prefix", "style")}

    def see(self, row: CheckedRow) -> None:
        if not (self._endings or self._openings or self._styles) or not row.answer:
            return
        answer = row.answer.strip()
        if not answer:
            return
        self._answered[row.split] += 1
        for kind, name in self._held(answer):
            self._tallies[kind][row.split, name].add(row, row.answer)

    def _held(self, answer: str) -> Iterator[tuple[str, str]]:
        if self._endings:
            words = answer.rsplit(maxsplit=_MAX_WORDS)[-_MAX_WORDS:]
            for length in range(1, len(words) + 1):
                if (ending := " ".join(words[-length:])) in self._endings:
                    yield "suffix", ending
        if self._openings:
            words = answer.split(maxsplit=_MAX_WORDS)[:_MAX_WORDS]
            for length in range(1, len(words) + 1):
                if (opening := " ".join(words[:length])) in self._openings:
                    yield "prefix", opening
        for name in self._styles:
            if STYLES[name](answer):
                yield "style", name

    def merge(self, later: "UnseenHabits") -> None:
        self._answered += later._answered
        for kind, tallies in later._tallies.items():
            self._tallies[kind].merge(tallies)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        if self._answered["train"] < _MIN_TRAIN_ROWS:
            return
        for split in ("valid", "test"):
            told: list[Sequence[RowKey]] = []
            for kind, words in _WORDS.items():
                least = max(
                    _MIN_ROWS, (_STYLE_MIN_SHARE if kind == "style" else _MIN_SHARE) * self._answered[split]
                )
                best = self._best(kind, split, least)
                if best is None:
                    continue
                tally = self._tallies[kind][split, best]
                if tally.rows in told:  # an ending such as "Hope that helps!" is also a style: said once
                    continue
                told.append(tally.rows)
                rows = f"{tally.count:,} of {totals.rows[split]:,} {SPLIT_WORDS[split]} answers"
                yield tally.finding(
                    f"{split}_{kind}_unseen_in_train",
                    "warning",
                    split,
                    totals,
                    f"{rows} {words.format(best)}, no training answer does",
                    "The loss on them counts words that were never taught, and can rise while the model improves. "
                    "Give both splits the same style of answer.",
                )

    def _best(self, kind: str, split: SplitName, least: float) -> str | None:
        """The habit that most answers share and no training answer has; of equally common ones the longest."""
        seen = self._tallies[kind].of("train")
        unseen = {
            name: tally.count
            for name, tally in self._tallies[kind].of(split).items()
            if name not in seen and tally.count >= least
        }
        return max(unseen, key=lambda name: (unseen[name], len(name), name), default=None)


_WORDS: Mapping[str, str] = {"suffix": 'end in "{}"', "prefix": 'begin with "{}"', "style": "{}"}
