"""Were texts read in the wrong encoding, or copied with what nobody sees: control characters, zero-width marks, HTML?

Looks at characters only; knows nothing of languages beyond the scripts that need joiners.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Self

from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import SPLITS, Finding, Severity, rows_word
from luthier.data.checks.row import CheckedRow

# UTF-8 read as Windows-1252: the lead byte of an accented letter or a mark, then a continuation byte. C1 controls
# and U+FFFD are what other wrong readings leave behind.
_CONTINUATION = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_MOJIBAKE = re.compile(
    rf"\ufffd|[\x80-\x84\x86-\x9f]|ï»¿|â(?:€[{_CONTINUATION}\x9d]|\u0080[\u0080-\u00bf])|Ã[{_CONTINUATION}]|Â[\u00a0-\u00bf]|ðŸ[{_CONTINUATION}]"
)
# A capital A with a tilde or a circumflex before a mark is a word's end in Portuguese, Vietnamese, Romanian or French.
_MEANT = re.compile(r"\w{2}[ÃÂ][»”’›…—–]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")
_ORDINARY_ASCII = bytes([9, 10, 12, 13, *range(0x20, 0x7F)])
_INVISIBLE = re.compile(
    "[\u200b\u200c\u200d\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)
_JOINERS = frozenset("\u200c\u200d")
_DIRECTIONS = frozenset("\u200e\u200f")
# Scripts that are written with joiners, or between words without spaces.
_JOINING_SCRIPTS = [
    "ARABIC",
    "DEVANAGARI",
    "BENGALI",
    "GURMUKHI",
    "GUJARATI",
    "ORIYA",
    "TAMIL",
    "TELUGU",
    "KANNADA",
    "MALAYALAM",
    "SINHALA",
    "MONGOLIAN",
    "SYRIAC",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
    "TIBETAN",
]
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
# What any of the searches can begin with: of most texts that are not ASCII, one look for these is all there is to do.
_SUSPICIOUS = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufffdâÃÂïð\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)
_ENTITY = re.compile(
    r"&(?:amp|nbsp|lt|gt|quot|apos|rsquo|lsquo|rdquo|ldquo|mdash|ndash|hellip|#\d{2,5}|#x[0-9a-fA-F]{2,5});",
    re.I,
)
_TAG = re.compile(
    r"</?(?:br|p|div|span|font|strong|em|b|i|u|li|ul|ol|td|tr|h[1-6])(?:\s[^<>]{0,200})?/?>", re.I
)
_ABOUT_MARKUP = re.compile(
    r"\b(?:html|css|xml|xhtml|javascript|jsx?|web ?pages?|websites?|tags?|markup|php|svg|code)\b|```|`<", re.I
)


class _Kind(NamedTuple):
    severity: Severity
    what: str
    advice: str


_KINDS: dict[str, _Kind] = {
    "mojibake": _Kind(
        "warning",
        "hold letters that were read in the wrong encoding, such as â€™ or Ã©",
        "Read the source again as UTF-8, or repair the texts: `luthier data fix` does where it is certain.",
    ),
    "control_characters": _Kind(
        "warning",
        "hold control characters",
        "No one sees them and tokenizers spend tokens on them: remove them.",
    ),
    "invisible_characters": _Kind(
        "note",
        "hold characters that no one sees, such as zero-width spaces",
        "They make words that look the same different to a model: remove them.",
    ),
    "html_residue": _Kind(
        "warning",
        "have an answer with left-overs of HTML, though nothing in them is about HTML",
        "The model would learn to write them: unescape the entities and drop the tags.",
    ),
}


class Encoding(Check):
    """Rows with damaged, control, invisible or HTML characters."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tallies = Tallies()

    def see(self, row: CheckedRow) -> None:
        texts = row.texts()
        for text in texts:
            # On ASCII, deleting what is ordinary is ten times as fast as a search.
            if text.isascii():
                is_suspicious = bool(text.encode("ascii").translate(None, _ORDINARY_ASCII))
            else:
                is_suspicious = _SUSPICIOUS.search(text) is not None
            if is_suspicious:
                self._look_closer(row, texts)
                break
        answer = row.answer or ""
        match = (_ENTITY.search(answer) if "&" in answer else None) or (
            _TAG.search(answer) if "<" in answer else None
        )
        if match is not None and not any(_ABOUT_MARKUP.search(text) for text in texts):
            self.tallies[row.split, "html_residue"].add(row, _around(answer, match))

    def _look_closer(self, row: CheckedRow, texts: Sequence[str]) -> None:
        for name, finds in _TESTS:
            for text in texts:
                match = finds(text)
                if match is not None:
                    self.tallies[row.split, name].add(row, _around(text, match))
                    break

    def merge(self, later: Self) -> None:
        self.tallies.merge(later.tallies)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            tallies = self.tallies.of(split)
            for name, (severity, what, advice) in _KINDS.items():
                if name in tallies:
                    tally = tallies[name]
                    message = f"{tally.count:,} of {rows_word(totals.rows[split])} {what}"
                    yield tally.finding(name, severity, split, totals, message, advice)


def find_mojibake(text: str) -> re.Match[str] | None:
    """The first letters that were read in the wrong encoding."""
    return next((m for m in _MOJIBAKE.finditer(text) if not _MEANT.match(text, max(0, m.start() - 2))), None)


def find_control(text: str) -> re.Match[str] | None:
    """The first control character that is no tab, line break or form feed."""
    return _CONTROL.search(text)


def find_invisible(text: str) -> re.Match[str] | None:
    """The first character that no one sees and no script or emoji needs."""
    return next((match for match in _INVISIBLE.finditer(text) if not _is_needed(text, match)), None)


def _is_needed(text: str, match: re.Match[str]) -> bool:
    char, start, end = match.group(), match.start(), match.end()
    near = list(_near(text, start, end))
    if char in _JOINERS or char == "\u200b":
        joins_emoji = char == "\u200d" and any(unicodedata.category(c) in ("So", "Sk", "Mn") for c in near)
        return joins_emoji or any(unicodedata.name(c, "").startswith(tuple(_JOINING_SCRIPTS)) for c in near)
    if char in _DIRECTIONS:
        return any(
            unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in text[max(0, start - 500) : end + 500]
        )
    # The flags of England, Scotland and Wales are written with tags.
    return char >= "\U000e0020" and "\U0001f3f4" in text


def _near(text: str, start: int, end: int) -> Iterator[str]:
    if start:
        yield text[start - 1]
    if end < len(text):
        yield text[end]


def _around(text: str, match: re.Match[str]) -> str:
    return text[max(0, match.start() - 60) : match.end() + 60]


_TESTS: tuple[tuple[str, Callable[[str], re.Match[str] | None]], ...] = (
    ("mojibake", find_mojibake),
    ("control_characters", find_control),
    ("invisible_characters", find_invisible),
)
