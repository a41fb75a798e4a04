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
    fields     every field that reading uses; others are kept in `Example.extra`
    fits       does this row look like one of it
    read       the row's example; raises DataError (without the place of the row)
    write      the row of an example
    kinds      the kinds of example that it can hold at all
    loses      what writing this example would lose, in words; empty where nothing
    """

    name: str
    evidence: str
    fields: frozenset[str]
    fits: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any]], Example]
    write: Callable[[Example], dict[str, Any]]
    kinds: frozenset[Kind]
    loses: Callable[[Example], list[str]]
