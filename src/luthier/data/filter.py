"""Keep the rows that meet every condition: length, language, patterns, a score, the value of a field.

Conditions are asked one after the other, and a row is counted at the first that it does not meet. Knows nothing of
tokens (whoever wants lengths in tokens hands in what counts them) and of how conditions are written on a command line.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from luthier.data.checks.row import CheckedRow
from luthier.data.example import Example
from luthier.data.inputs import OnBytes, input_paths, open_inputs
from luthier.data.row_field import MISSING, field_value, number_of
from luthier.data.write import check_output, write_rows
from luthier.errors import DataError, LuthierError

Part = Literal["any", "prompt", "answer", "system"]
PARTS: tuple[Part, ...] = ("any", "prompt", "answer", "system")
_MAX_CHARACTERS = 2000  # a language shows in its first lines


@dataclass
class Condition:
    """One demand on a row. `rejects` says in words why a row does not meet it, None where it does.

    field: the field that it is about; where no row at all has it, that is an error and no filter.
    """

    name: str
    rejects: Callable[[CheckedRow], str | None]
    field: str | None = None
    num_removed: int = 0
    num_with_field: int = 0


@dataclass(frozen=True)
class FilterReport:
    """What was kept and what each condition left out, in the order in which they were asked."""

    num_rows: int
    num_kept: int
    removed: Mapping[str, int]
    out: str
    removed_to: str | None

    def to_dict(self) -> dict[str, Any]:
        """Stable keys, JSON values."""
        return {
            "rows": self.num_rows,
            "kept": self.num_kept,
            "removed": self.num_rows - self.num_kept,
            "out": self.out,
            "removed_to": self.removed_to,
            "conditions": [{"condition": name, "removed": count} for name, count in self.removed.items()],
        }


@dataclass
class _Counts:
    rows: int = 0
    kept: int = 0
    first_fields: tuple[str, ...] = ()


def filter_rows(
    places: Iterable[str | Path],
    out: Path,
    conditions: Sequence[Condition],
    *,
    removed: Path | None = None,
    force: bool = False,
    format: str | None = None,
    fields: Mapping[str, str] | None = None,
    on_bytes: OnBytes | None = None,
) -> FilterReport:
    """Write the rows that meet all conditions to `out`, as they stand; the others, with the reason, to `removed`.

    Raises DataError: no condition, a row that cannot be read, no row left, a field that no row has.
    """
    if not conditions:
        raise DataError("nothing to filter by: give at least one condition, such as --min-chars 10")
    inputs = open_inputs(places, format=format, fields=fields)
    paths = input_paths(inputs)
    check_output(out, force=force, inputs=paths)
    if removed is not None and removed.resolve() == out.resolve():
        raise DataError(f"{out}: kept and removed rows cannot go to the same file")
    counts = _Counts()
    with contextlib.ExitStack() as stack:
        keep = stack.enter_context(write_rows(out, force=force, inputs=paths))
        drop = (
            None if removed is None else stack.enter_context(write_rows(removed, force=force, inputs=paths))
        )
        for one in inputs:
            for row, checked in one.good_rows(on_bytes):
                counts.rows += 1
                counts.first_fields = counts.first_fields or tuple(row.value)
                reason = _first_reason(conditions, checked)
                if reason is None:
                    counts.kept += 1
                    keep(row.value)
                elif drop is not None:
                    drop({"file": row.file, "number": row.number, "reason": reason, "row": row.value})
        _refuse_empty(conditions, counts)
    by_condition = {condition.name: condition.num_removed for condition in conditions}
    return FilterReport(counts.rows, counts.kept, by_condition, str(out), str(removed) if removed else None)


def _first_reason(conditions: Sequence[Condition], row: CheckedRow) -> str | None:
    reason = None
    for condition in conditions:
        if condition.field is not None and field_value(row.value, condition.field) is not MISSING:
            condition.num_with_field += 1
        if reason is None and (why := condition.rejects(row)) is not None:
            condition.num_removed += 1
            reason = f"{condition.name}: {why}"
    return reason


def _refuse_empty(conditions: Sequence[Condition], counts: _Counts) -> None:
    for condition in conditions:
        if condition.field is not None and condition.num_with_field == 0:
            raise DataError(
                f"{condition.name}: none of the {counts.rows:,} rows has the field {condition.field!r}; "
                f"nothing was written. The first row has {', '.join(counts.first_fields)}"
            )
    if counts.kept == 0:
        told = "; ".join(f"{c.name} left out {c.num_removed:,}" for c in conditions)
        raise DataError(
            f"none of the {counts.rows:,} rows meets the conditions, so nothing was written: {told}"
        )


def said(row: CheckedRow, part: Part) -> Sequence[str]:
    """The texts of a part of the row. A document is an answer: all of it is learnt."""
    if part == "any" or row.example is None:
        return row.texts()
    if row.example.kind == "text":
        return row.texts() if part == "answer" else []
    roles = {"prompt": ("user", "tool"), "answer": ("assistant",), "system": ("system",)}[part]
    return [
        text for turn in row.messages if turn.role in roles for text in (turn.content, turn.reasoning) if text
    ]


def characters_between(least: int | None, most: int | None, part: Part = "any") -> Condition:
    """The texts of a part have together at least, at most so many characters."""
    return _between(
        _limits("chars", least, most), least, most, lambda row: sum(map(len, said(row, part))), "characters"
    )


def tokens_between(least: int | None, most: int | None, count_tokens: Callable[[Example], int]) -> Condition:
    """The whole row has at least, at most so many tokens, those of the chat template among them."""

    def size(row: CheckedRow) -> int:
        assert row.example is not None
        try:
            return count_tokens(row.example)
        except LuthierError as error:
            raise type(error)(f"{row.place}: {error}") from error

    return _between(_limits("tokens", least, most), least, most, size, "tokens")


def _limits(what: str, least: float | None, most: float | None) -> str:
    limits = [("min", least), ("max", most)]
    return " ".join(f"--{side}-{what} {limit:g}" for side, limit in limits if limit is not None)


def _between(
    name: str, least: int | None, most: int | None, size: Callable[[CheckedRow], int], unit: str
) -> Condition:
    _refuse_crossed(name, least, most)

    def rejects(row: CheckedRow) -> str | None:
        num = size(row)
        inside = (least is None or num >= least) and (most is None or num <= most)
        return None if inside else f"{num:,} {unit}"

    return Condition(name, rejects)


def _refuse_crossed(name: str, least: float | None, most: float | None) -> None:
    if least is not None and most is not None and least > most:
        raise DataError(f"{name}: the least is more than the most, which no row can meet")


def language_is(codes: Sequence[str], confidence: float, part: Part = "any") -> Condition:
    """The row is in one of the languages (ISO 639-1), as py3langid names it with at least this confidence."""
    known = sorted(_languages().labels)
    for code in codes:
        if code not in known:
            raise DataError(
                f"--language {code!r}: expected codes of ISO 639-1, such as en,de; known: {', '.join(known)}"
            )

    def rejects(row: CheckedRow) -> str | None:
        text = "\n".join(said(row, part))[:_MAX_CHARACTERS]
        if not text.strip():
            return "no text to tell a language by"
        language, sure = _languages().classify(text)
        if language in codes and sure >= confidence:
            return None
        return f"{language} ({sure:.2f} sure)"

    return Condition(f"--language {','.join(codes)}", rejects)


@cache
def _languages() -> Any:
    from py3langid import langid

    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def matches(pattern: str, part: Part = "any", *, wanted: bool = True) -> Condition:
    """The pattern is found in some text of the part; or, not `wanted`, in none."""
    name = f"{'--match' if wanted else '--no-match'} {pattern!r}"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        at = "" if error.pos is None else f" at position {error.pos + 1}"
        raise DataError(f"{name}: not a regular expression: {error.msg}{at}") from error

    def rejects(row: CheckedRow) -> str | None:
        found = next((match for text in said(row, part) if (match := compiled.search(text))), None)
        if (found is not None) == wanted:
            return None
        return "not found" if found is None else f"found {found.group()!r:.80}"

    return Condition(name, rejects)


def score_between(name: str, least: float | None, most: float | None) -> Condition:
    """The field holds a number, at least, at most so large. A row whose field holds none does not meet it."""
    if least is None and most is None:
        raise DataError(f"--score-field {name}: say what score is wanted, with --min-score or --max-score")
    label = f"--score-field {name} {_limits('score', least, most)}"
    _refuse_crossed(label, least, most)

    def rejects(row: CheckedRow) -> str | None:
        value = field_value(row.value, name)
        score = number_of(value)
        if score is None:
            return "the field is missing" if value is MISSING else f"no number: {value!r:.40}"
        inside = (least is None or score >= least) and (most is None or score <= most)
        return None if inside else f"{score:g}"

    return Condition(label, rejects, name)


def field_is(name: str, value: str, *, wanted: bool = True) -> Condition:
    """The field holds the value, as a text or as JSON (`true`, `3`, `null`); or, not `wanted`, does not."""

    def rejects(row: CheckedRow) -> str | None:
        held = field_value(row.value, name)
        is_it = held is not MISSING and (held == value or as_json(held) == value)
        if is_it == wanted:
            return None
        return "the field is missing" if held is MISSING else f"{held!r:.80}"

    return Condition(f"--where {name}{'=' if wanted else '!='}{value}", rejects, name)


def as_json(value: Any) -> str:
    """A value as JSON, for comparing it with what a person typed."""
    return json.dumps(value, ensure_ascii=False)
