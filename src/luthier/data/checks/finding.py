"""What a check has to say, and what it says it about: findings and the rows of the files.

This first form holds the rows of all files in memory. Checks take them through `CheckedData` only, so that
a later form can stream them. Knows nothing of single checks, tokens or terminals.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.chat.messages import Conversation
from luthier.data.sources import Defect

Severity = Literal["error", "warning", "note"]
SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")

MAX_ROWS_NAMED = 20
MAX_EXAMPLES = 2
_MAX_EXAMPLE_CHARACTERS = 160


@dataclass(frozen=True)
class CheckedRow:
    """One line of a file with what could be made of it.

    shape: the format's name, `item` for an evaluation item, `text` for a document, None if not recognised.
    defect, problem: why the line is no row, or why the row is no conversation; both None where all is well.
    prompt, question: identities of all that stands before the last answer, with and without system turns
    (the question also without regard to case and spacing). None where there is no answer and no item.
    content: identity of the whole row as a model would see it, without ids, tags and other fields.
    answer: the text of the last assistant turn, or of the item's answer.
    """

    path: Path
    number: int
    split: SplitName
    value: Mapping[str, Any]
    shape: str | None = None
    defect: Defect | Literal["unknown_shape", "malformed_row"] | None = None
    problem: str | None = None
    conversation: Conversation | None = None
    prompt: str | None = None
    question: str | None = None
    content: str | None = None
    answer: str | None = None

    @property
    def place(self) -> str:
        """`file:line`, as editors understand it."""
        return f"{self.path}:{self.number}"

    @property
    def summary(self) -> str:
        """The last question and its answer in one line, for an example."""
        if self.conversation is None:
            return shorten(str(self.value.get("text", dict(self.value))))
        if self.answer is None:
            return shorten(self.asked)
        half = _MAX_EXAMPLE_CHARACTERS // 2 - 2
        return f"{shorten(self.asked, half)} -> {shorten(self.answer, half)}"

    @property
    def asked(self) -> str:
        """The last turn that is not the assistant's; empty where there is none."""
        turns = self.conversation.messages if self.conversation else ()
        return next((m.content for m in reversed(turns) if m.role in ("user", "tool")), "")


@dataclass(frozen=True)
class CheckedData:
    """The rows of every file, by split, in the order of the files."""

    train: Sequence[CheckedRow]
    valid: Sequence[CheckedRow] = ()
    test: Sequence[CheckedRow] = ()

    def split(self, name: SplitName) -> Sequence[CheckedRow]:
        """The rows of one split."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def splits(self) -> list[tuple[SplitName, Sequence[CheckedRow]]]:
        """The splits that have rows, with their rows."""
        return [(name, self.split(name)) for name in SPLITS if self.split(name)]


@dataclass(frozen=True)
class Finding:
    """One thing that is so about the data.

    name: stable, for scripts. count: how many rows of `split` it is about; share: their part of it, 0 to 1.
    rows: their line numbers, 1-based, the first 20; places: the same as `file:line`. advice: what to do.
    """

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


Check = Callable[[CheckedData], Iterable[Finding]]


def finding(
    name: str,
    severity: Severity,
    found: Sequence[CheckedRow],
    of: Sequence[CheckedRow],
    message: str,
    advice: str,
    *,
    examples: Sequence[str] | None = None,
) -> Finding:
    """A finding about `found` (at least one row), of the split's rows `of`; examples default to the first."""
    shown = examples if examples is not None else distinct(row.summary for row in found)
    return Finding(
        name=name,
        severity=severity,
        split=found[0].split,
        message=message,
        count=len(found),
        share=len(found) / len(of),
        rows=tuple(row.number for row in found[:MAX_ROWS_NAMED]),
        places=tuple(row.place for row in found[:MAX_ROWS_NAMED]),
        examples=tuple(shorten(example) for example in shown[:MAX_EXAMPLES]),
        advice=advice,
    )


def distinct(texts: Iterable[str], limit: int = MAX_EXAMPLES) -> list[str]:
    """The first `limit` different texts."""
    seen: dict[str, None] = {}
    for text in texts:
        seen[text] = None
        if len(seen) == limit:
            break
    return list(seen)


def shorten(text: str, limit: int = _MAX_EXAMPLE_CHARACTERS) -> str:
    """The text in one line of at most `limit` characters that a terminal can show."""
    flat = " ".join(text[: 4 * limit].split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in flat)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def rows_word(count: int) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} row" if count == 1 else f"{count} rows"
