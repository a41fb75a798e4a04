"""How a person names a dataset version: `NAME`, `NAME@ID`, `NAME@latest~1`, and a split of it, `NAME@ID/train`.

Where a file could be named too, `dataset:` stands before it. Knows nothing of what is in the store.
"""

import re
from dataclasses import dataclass

from luthier.errors import DataError

PREFIX = "dataset:"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_REF = re.compile(
    rf"(?P<name>{NAME.pattern})(@(?P<id>latest|[0-9a-f]{{1,64}})(~(?P<back>[0-9]{{1,6}}))?)?(/(?P<split>\w+))?"
)


@dataclass(frozen=True, slots=True)
class Ref:
    """A named version. id: the first digits, None for the latest; steps_back: so many parents before it."""

    name: str
    id: str | None = None
    steps_back: int = 0
    split: str | None = None

    def __str__(self) -> str:
        back = f"~{self.steps_back}" if self.steps_back else ""
        split = f"/{self.split}" if self.split else ""
        return f"{self.name}@{self.id or 'latest'}{back}{split}"


def parse_ref(text: str) -> Ref:
    """Read a reference, with `dataset:` before it or not. Raises DataError that says how one looks."""
    match = _REF.fullmatch(text.removeprefix(PREFIX))
    if match is None:
        raise DataError(
            f"{text!r} names no dataset version; expected NAME, NAME@ID, NAME@latest or NAME@latest~1, "
            "with /train, /valid or /test after it for one split; names are a-z, 0-9, '.', '_', '-'"
        )
    given = match["id"]
    return Ref(match["name"], None if given == "latest" else given, int(match["back"] or 0), match["split"])
