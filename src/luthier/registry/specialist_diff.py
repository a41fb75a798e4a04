"""What differs between two specialists, and between a system prompt and the one that a specialist was tested with.

Knows nothing of how the differences matter.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.hashing import short_id
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import SpecialistStore

RESOLVED = "resolved.json"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `before` or `after` is None where one side has no such thing; both are short texts."""

    part: str
    what: str
    before: str | None
    after: str | None


def diff(store: SpecialistStore, first: Specialist, second: Specialist) -> list[Change]:
    """Data, recipe, prompt, weights and results of `second` against `first`, in this order."""
    sides = (first, second)
    return [
        *_changes("data", *(dict(_data(one)) for one in sides)),
        *_changes("recipe", *(dict(_recipe(store, one)) for one in sides)),
        *_changes("bundle", *(dict(_bundle(one)) for one in sides)),
        *_changes("results", *(dict(_results(store, one)) for one in sides)),
    ]


def prompt_diff(first: str | None, second: str | None, names: tuple[str, str]) -> list[str]:
    """Two system prompts line by line; ends of lines are shown, because they count. Empty where they are the same."""
    if first == second:
        return []
    before, after = ([repr(line)[1:-1] for line in (text or "").splitlines(True)] for text in (first, second))
    return list(difflib.unified_diff(before, after, names[0], names[1], lineterm=""))


def other_prompt(one: Specialist, used: str | None) -> str | None:
    """What to say where a specialist is asked with another system prompt than its own; None where it is the same.

    It was trained and tested with its own, byte for byte: with another one it is another model. Empty is none.
    """
    own = one.system_prompt
    if (own or None) == (used or None):
        return None
    lines = prompt_diff(own, used, (f"prompt of {one.ref}", "prompt it is asked with"))
    said = "with another system prompt than its own" if used else "without its system prompt"
    return "\n".join([f"{one.ref} is asked {said}:", *lines])


def _changes(part: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            yield Change(part, key, before.get(key), after.get(key))


def _data(one: Specialist) -> Iterator[tuple[str, str]]:
    for entry in one.manifest.get("data") or ():
        named = entry.get("dataset") or short_id(str(entry.get("sha256")))
        yield f"{entry.get('role')}: {entry.get('path')}", f"{named}, {entry.get('rows')} rows"


def _recipe(store: SpecialistStore, one: Specialist) -> Iterator[tuple[str, str]]:
    if RESOLVED in one.files:
        with store.artifacts.open(one.files[RESOLVED]) as file:
            yield from _leaves(json.loads(file.read())["values"], "")


def _leaves(values: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from _leaves(value, f"{prefix}{key}.")
    else:
        yield prefix.rstrip("."), json.dumps(values, ensure_ascii=False)


def _bundle(one: Specialist) -> Iterator[tuple[str, str]]:
    for key in ("form", "base", "template", "stop_ids", "system_prompt", "sampling", "licence"):
        yield key, json.dumps(one.manifest.get(key), ensure_ascii=False)
    for path, artifact in one.files.items():
        if path.startswith("model/"):
            yield path, f"{short_id(artifact.id)}, {artifact.num_bytes} bytes"


def _results(store: SpecialistStore, one: Specialist) -> Iterator[tuple[str, str]]:
    """The last record of each kind and name: its word and what it tells, or its numbers."""
    for record in store.records(one):
        body = record["body"]
        told = [str(body[key]) for key in ("word", "told") if body.get(key)]
        numbers = {key: value for key, value in body.items() if isinstance(value, int | float)}
        named = f"{record['kind']}: {body['name']}" if body.get("name") else record["kind"]
        yield named, ": ".join(told) or json.dumps(numbers)
