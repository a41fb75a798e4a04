"""What a check has to say about the data: a finding, with its rows, examples and advice.

Knows nothing of single checks, files or terminals.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")
SPLIT_WORDS: dict[SplitName, str] = {"train": "training", "valid": "validation", "test": "test"}

MAX_ROWS_NAMED = 20
MAX_EXAMPLES = 2
MAX_EXAMPLE_CHARACTERS = 160


@dataclass(frozen=True, slots=True, order=True)
class RowKey:
    """Which row: the index of its file in the order of reading, and its number in the file."""

    file: int
    number: int


@dataclass(frozen=True, slots=True)
class Shown:
    """An example that is told from rows, which are read again for it: `words` formats the rows' `CheckedRow`s.

    Such as "{0.asked} -> {0.answer} | {1.answer}", or "{0.summary} ~ {1.summary}".
    """

    rows: tuple[RowKey, ...]
    words: str = "{0.summary}"


@dataclass(frozen=True)
class Finding:
    """One thing that is so about the data.

    name: stable, for scripts. count: how many rows of `split` it is about; share: their part of it, 0 to 1.
    rows: the first 20 of them, resolved to numbers and places by the report. advice: what to do.
    examples: texts; where it is None, the report tells them from `shown`, or from the first of `rows`.
    """

    name: str
    severity: Severity
    split: SplitName
    message: str
    advice: str
    count: int
    share: float
    rows: tuple[RowKey, ...] = ()
    examples: tuple[str, ...] | None = None
    shown: tuple[RowKey | Shown, ...] = ()


@dataclass(frozen=True)
class ReportedFinding:
    """A finding whose rows have names: line numbers, `file:line`, examples in words."""

    name: str
    severity: Severity
    split: SplitName
    message: str
    count: int
    share: float
    rows: tuple[int, ...]
    places: tuple[str, ...]
    examples: tuple[str, ...]
    advice: str

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values."""
        return {
            "name": self.name,
            "severity": self.severity,
            "split": self.split,
            "message": self.message,
            "count": self.count,
            "share": round(self.share, 6),
            "rows": list(self.rows),
            "places": list(self.places),
            "examples": list(self.examples),
            "advice": self.advice,
        }


def distinct(texts: Iterable[str], limit: int = MAX_EXAMPLES) -> list[str]:
    """The first `limit` different texts."""
    seen: dict[str, None] = {}
    for text in texts:
        seen[text] = None
        if len(seen) == limit:
            break
    return list(seen)


def shorten(text: str, limit: int = MAX_EXAMPLE_CHARACTERS) -> str:
    """The text in one line of at most `limit` characters that a terminal can show."""
    flat = " ".join(text[: 4 * limit].split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in flat)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def rows_word(count: int) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
