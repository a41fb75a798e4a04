"""A specialist as a value: a version with its manifest, and how a person names one.

The manifest says what ships: base and its hash, the form of the weights, the system prompt byte for byte, sampling,
stop ids, what it was trained on, the licence; and every file with its hash. The id is the hash of all that: the same
bundle has the same id on any machine. Knows nothing of databases.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.errors import RegistryError
from luthier.hashing import hash_json, short_id
from luthier.registry.artifacts import Artifact

MANIFEST_FORMAT = 1
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
LATEST = "latest"
_REF = re.compile(rf"(?P<name>{NAME.pattern})(@(?P<what>[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}))?")
_SAID = frozenset(["name", "created", "message"])


@dataclass(frozen=True)
class Specialist:
    """One version. `files`: by the path inside the bundle."""

    name: str
    number: int
    id: str
    created: str
    manifest: Mapping[str, Any]
    files: Mapping[str, Artifact]

    @property
    def ref(self) -> str:
        """`NAME@NUMBER`."""
        return f"{self.name}@{self.number}"

    @property
    def short_id(self) -> str:
        """The digits that a person reads."""
        return short_id(self.id)

    @property
    def num_bytes(self) -> int:
        """The size of all its files."""
        return sum(file.num_bytes for file in self.files.values())

    @property
    def system_prompt(self) -> str | None:
        """The system prompt that it was trained and tested with, byte for byte; None where it had none."""
        prompt = self.manifest.get("system_prompt")
        return prompt if isinstance(prompt, str) else None

    @property
    def knowledge(self) -> "NamedKnowledge | None":
        """The documents that it answers from; None where it answers by itself."""
        named = self.manifest.get("knowledge")
        return NamedKnowledge(str(named["name"]), int(named["passages"])) if named else None


@dataclass(frozen=True, slots=True)
class NamedKnowledge:
    """A base of knowledge by its name on the machine that serves, and how many passages a question is asked on."""

    name: str
    num_passages: int


@dataclass(frozen=True, slots=True)
class Ref:
    """`NAME`, `NAME@3`, `NAME@latest`, `NAME@production`, `NAME@3fa94c` (an id's first digits)."""

    name: str
    what: str = LATEST

    @property
    def number(self) -> int | None:
        """The version's number, where it was named by that: up to six digits and nothing else."""
        return int(self.what) if self.what.isdigit() and len(self.what) <= 6 else None

    def __str__(self) -> str:
        return f"{self.name}@{self.what}"


def parse_ref(text: str) -> Ref:
    """Read a reference. Raises RegistryError that says how one looks."""
    match = _REF.fullmatch(text)
    if match is None:
        raise RegistryError(
            f"{text!r} names no specialist: expected NAME, NAME@3, NAME@latest, NAME@production or the first digits of "
            "an id; names are a-z, 0-9, '.', '_', '-'"
        )
    return Ref(match["name"], match["what"] or LATEST)


def check_name(what: str, name: str) -> None:
    """Raises RegistryError where a name could not be told from a path, a number or another name."""
    if not NAME.fullmatch(name):
        raise RegistryError(f"{what} {name!r}: expected a-z, 0-9, '.', '_', '-', at most 64, no sign first")


def manifest_id(manifest: Mapping[str, Any]) -> str:
    """The id of a bundle: the hash of what it is. Its name, when it was made and what was said do not count."""
    return hash_json({key: value for key, value in manifest.items() if key not in _SAID})
