"""What differs between two specialists, and where one comes from and where it went.

Knows nothing of how the differences matter.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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


def _changes(part: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            yield Change(part, key, before.get(key), after.get(key))


def _data(one: Specialist) -> Iterator[tuple[str, str]]:
    for entry in one.manifest.get("data") or ():
        named = entry.get("dataset") or _short(str(entry.get("sha256")))
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
            yield path, f"{_short(artifact.id)}, {artifact.num_bytes} bytes"


def _results(store: SpecialistStore, one: Specialist) -> Iterator[tuple[str, str]]:
    """The last record of each kind: its word, or its numbers."""
    for record in store.records(one):
        body = record["body"]
        told = body.get("word") or {
            key: value for key, value in body.items() if isinstance(value, int | float)
        }
        yield record["kind"], told if isinstance(told, str) else json.dumps(told)


@dataclass(frozen=True)
class Lineage:
    """A graph: `nodes` by their id (kind and text), `edges` from what was there before to what came of it."""

    nodes: Mapping[str, tuple[str, str]]
    edges: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values, under keys that stay."""
        nodes = [{"id": id, "kind": kind, "text": text} for id, (kind, text) in self.nodes.items()]
        return {"nodes": nodes, "edges": [list(edge) for edge in self.edges]}


def lineage(store: SpecialistStore, one: Specialist) -> Lineage:
    """Data -> run -> specialist -> what became of it (verdicts, certificates, exports)."""
    run, own = f"run:{one.manifest.get('run')}", f"specialist:{one.ref}"
    nodes = {run: ("run", str(one.manifest.get("run"))), own: ("specialist", f"{one.ref} ({one.short_id})")}
    edges = [(run, own)]
    if base := one.manifest.get("base"):
        nodes["base"] = ("base", f"{base['name']} ({_short(str(base['hash']))})")
        edges.append(("base", run))
    for number, entry in enumerate(one.manifest.get("data") or ()):
        named = entry.get("dataset") or entry.get("path")
        text = f"{entry.get('role')}: {named}, {entry.get('rows')} rows, {_short(str(entry.get('sha256')))}"
        nodes[f"data:{number}"] = ("data", text)
        edges.append((f"data:{number}", run))
    for number, record in enumerate(store.records(one)):
        body = record["body"]
        told = body.get("word") or body.get("path") or body.get("form") or ""
        nodes[f"record:{number}"] = (record["kind"], f"{told} ({record['created'][:10]})".strip())
        edges.append((own, f"record:{number}"))
    return Lineage(nodes, tuple(edges))


def _short(id: str) -> str:
    return id.removeprefix("sha256:")[:12]
