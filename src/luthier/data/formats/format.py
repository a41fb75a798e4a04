"""What a format is: how its rows are recognised, read and written. Knows nothing of single formats."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.data.example import Example, Kind
from luthier.errors import DataError


class UnknownFormat(DataError):
    """A row whose fields are those of no known format."""


@dataclass(frozen=True)
class Format:
    """One way to keep examples.

    evidence   what it is recognised by, in words: "fields prompt, completion"
    fields     every field that reading may use; others are kept in `Example.extra`
    named      has a row the fields of it, whatever they hold
    fits       does a row look like one of it: it has the fields, and what they hold is of the right kind
    read       the row's example; raises DataError (without the place of the row) naming the field
    write      the row of an example, its other fields included; raises DataError where there is no such row
    kinds      the kinds of example that it can hold at all
    loses      what writing this example would lose, in words; empty where nothing
    """

    name: str
    evidence: str
    fields: frozenset[str]
    named: Callable[[Mapping[str, Any]], bool]
    fits: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any]], Example]
    write: Callable[[Example], dict[str, Any]]
    kinds: frozenset[Kind]
    loses: Callable[[Example], list[str]]


def make_format(
    name: str,
    evidence: str,
    *,
    fields: frozenset[str],
    named: Callable[[Mapping[str, Any]], bool],
    read: Callable[[Mapping[str, Any]], Example],
    write: Callable[[Example], dict[str, Any]],
    kinds: frozenset[Kind],
    loses: Callable[[Example], list[str]],
    fits: Callable[[Mapping[str, Any]], bool] | None = None,
    reserved: frozenset[str] | None = None,
) -> Format:
    """A Format whose `write` and `loses` know only their own fields: the row's others are handled here.

    reserved: names that another field of the row may not have, `fields` where not given.
    """
    taken = fields if reserved is None else reserved

    def write_all(example: Example) -> dict[str, Any]:
        if example.kind not in kinds:
            raise DataError(f"{name} cannot hold {A_KIND[example.kind]}")
        row = write(example)
        row.update((key, value) for key, value in example.extra.items() if key not in taken)
        return row

    def loses_all(example: Example) -> list[str]:
        if example.kind not in kinds:
            return [A_KIND[example.kind]]
        clashes = [f"the field {key!r}" for key in example.extra if key in taken]
        return [*loses(example), *clashes] if clashes else loses(example)

    def fits_all(value: Mapping[str, Any]) -> bool:
        return named(value) and (fits is None or fits(value))

    return Format(name, evidence, fields, named, fits_all, read, write_all, kinds, loses_all)


A_KIND: dict[Kind, str] = {
    "chat": "a conversation",
    "text": "a plain document",
    "preference": "a preference (a chosen and a rejected answer)",
    "feedback": "an answer with a label good or bad",
    "classification": "a classified text",
    "extraction": "an extraction",
    "retrieval": "a question about a context",
}
ANSWERED: frozenset[Kind] = frozenset(
    {"chat", "classification", "extraction", "retrieval", "feedback", "preference"}
)
