"""Does the text hold what was meant to be filled in?

Looks at the words of every turn, outside of code; knows nothing of how rows relate to each other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Self

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLITS, Finding, SplitName, rows_word
from luthier.data.checks.row import CheckedRow

# One pattern a sign. Each begins with its sign as a literal, which `re` finds at the speed of a memory search.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    # {{name}}; no LaTeX and no f-string
    ("{{", re.compile(r"\{\{(?<![{$'\"]\{\{)\s*[A-Za-z_][\w .-]{0,40}\}\}(?!\})")),
    # [Your name]; no link
    (
        "[",
        re.compile(
            r"\[(?i:(?:insert|fill in|your|enter (?:your|the|an?|name|date|text)|add (?:your|the|an?|name|date)"
            r"|(?:recipient|sender|hiring manager|salesperson)(?:['’]s)?"
            r"|(?:customer|client|company|employer|candidate|first|last|full)(?:['’]s)? name"
            r"|name|company|address|phone number|email address)\b[^\]\n]{0,60})\](?!\()"
        ),
    ),
    ("[X", re.compile(r"\[X{2,}\]")),
    ("<", re.compile(r"<(?i:your|insert|enter|fill in)[ _-][^<>\n]{1,60}>")),
    ("${", re.compile(r"\$\{(?<!\\\$\{)[A-Za-z_]\w{0,40}\}")),
    ("TODO", re.compile(r"TODO(?<!\wTODO)(?::|(?<=[\[<(]TODO)[^\])>\n]{0,60}[\])>])")),
    ("orem ipsum dolor", re.compile(r"orem ipsum dolor")),
    ("XXX-XXX-XXXX", re.compile(r"XXX-XXX-XXXX")),
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_LOOKS_LIKE_CODE = re.compile(
    r"\{%|</?(?:div|template|html|script|span|p|li|td)\b|\\(?:begin|frac|text|math)\b"
    r"|^\s*(?:#!/|#include\b|import [\w.]+\s*$|from [\w.]+ import |def \w+\(|function \w*\(|(?:const|let|var) \w+ ?[=;]"
    r"|echo [\"'$]|export \w+=)",
    re.MULTILINE,
)
# A row that speaks of templates means its placeholders.
_ABOUT_TEMPLATES = re.compile(
    r"\b(?:templates?|placeholders?|jinja2?|handlebars|mustache|mail merge|fill[- ]in|blanks?)\b", re.I
)
_MAX_NAMES = 5
_MAX_NAMES_COUNTED = 1000


class Placeholders(Check):
    """Rows with a placeholder that nobody filled."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()
        self.names: dict[SplitName, Counter[str]] = {split: Counter() for split in SPLITS}
        self.allowed = frozenset(_bare(text) for text in context.placeholders)

    def see(self, row: CheckedRow) -> None:
        held = {name for text in row.texts() for name in find_placeholders(text)}
        held = {name for name in held if _bare(name) not in self.allowed}
        if held and not any(_ABOUT_TEMPLATES.search(_without(text)) for text in row.texts()):
            self.tallies[row.split, "placeholders"].add(row)
            self._count(row.split, Counter(held))

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)
        for split, names in later.names.items():
            self._count(split, names)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            if (split, "placeholders") in self.tallies:
                tally = self.tallies[split, "placeholders"]
                yield tally.finding(
                    "unfilled_placeholders",
                    "warning",
                    split,
                    totals,
                    f"{tally.count:,} of {rows_word(totals.rows[split])} hold a placeholder that was never filled: "
                    f"{_listed(self.names[split])}",
                    "The model would learn to say them. Fill them in, or remove the rows. Those that are meant "
                    "can be allowed with --allow-placeholder.",
                )

    def _count(self, split: SplitName, names: Counter[str]) -> None:
        """Count names; of very many different ones, the alphabetically first, wherever the rows were cut."""
        mine = self.names[split]
        mine.update(names)
        if len(mine) > _MAX_NAMES_COUNTED:
            for name in sorted(mine)[_MAX_NAMES_COUNTED:]:
                del mine[name]


def find_placeholders(text: str) -> Iterator[str]:
    """The unfilled placeholders of a text, in their order, outside of code."""
    for sign, pattern in _PATTERNS:
        # One character is found twenty times as fast as two.
        if sign[0] in text and sign in text and pattern.search(text) is not None:
            prose = _CODE.sub(" ", text) if "`" in text else text
            if _LOOKS_LIKE_CODE.search(prose) is None:
                for match in pattern.finditer(prose):
                    yield match.group()


def _without(text: str) -> str:
    """The text without its placeholders, whose own words say nothing about the row."""
    for _, pattern in _PATTERNS:
        text = pattern.sub(" ", text)
    return text


def _bare(name: str) -> str:
    """The placeholder's name, so that `{{name}}`, `{{ name }}` and `name` allow the same."""
    return " ".join(re.sub(r"[{}\[\]<>$]", " ", name).split()).casefold()


def _listed(names: Counter[str]) -> str:
    most = sorted(names.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name} ({count:,})" for name, count in most[:_MAX_NAMES])
    return shown + (", ..." if len(most) > _MAX_NAMES else "")
