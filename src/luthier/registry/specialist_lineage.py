"""Where a specialist comes from and where it went, as a graph; the graph as a tree of text and for Mermaid.

Knows nothing of what a record says beyond its word, its name or its path.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.hashing import short_id
from luthier.registry.specialist import Specialist
from luthier.registry.specialist_diff import RESOLVED
from luthier.registry.specialists import SpecialistStore


@dataclass(frozen=True)
class Lineage:
    """A graph: `nodes` by their id (kind and text), `edges` from what was there before to what came of it.

    `own`: the node of the specialist itself.
    """

    own: str
    nodes: Mapping[str, tuple[str, str]]
    edges: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values, under keys that stay."""
        nodes = [{"id": id, "kind": kind, "text": text} for id, (kind, text) in self.nodes.items()]
        return {"nodes": nodes, "edges": [list(edge) for edge in self.edges]}


def lineage(store: SpecialistStore, one: Specialist) -> Lineage:
    """Data -> run -> specialist -> what became of it (verdicts, certificates, exports)."""
    run, own = "run", f"specialist:{one.ref}"
    told = str(one.manifest.get("run") or "that is not known")
    nodes = {run: ("run", told), own: ("specialist", f"{one.ref} ({one.short_id})")}
    edges = [(run, own)]
    if base := _base(store, one):
        nodes["base"] = ("base", base)
        edges.append(("base", run))
    for number, entry in enumerate(one.manifest.get("data") or ()):
        named = entry.get("dataset") or entry.get("path")
        text = f"{entry.get('role')}: {named}, {entry.get('rows')} rows, {short_id(str(entry.get('sha256')))}"
        nodes[f"data:{number}"] = ("data", text)
        edges.append((f"data:{number}", run))
    for number, record in enumerate(store.records(one)):
        body = record["body"]
        told = ": ".join(str(body[key]) for key in ("form", "name", "word", "path") if body.get(key))
        nodes[f"record:{number}"] = (record["kind"], f"{told} ({record['created'][:10]})".strip())
        edges.append((own, f"record:{number}"))
    return Lineage(own, nodes, tuple(edges))


def _base(store: SpecialistStore, one: Specialist) -> str | None:
    """What it was trained from: its manifest says it with the hash where the base is still needed, else the recipe."""
    if base := one.manifest.get("base"):
        return f"{base['name']} ({short_id(str(base['hash']))})"
    if RESOLVED not in one.files:
        return None
    with store.artifacts.open(one.files[RESOLVED]) as file:
        name = (json.loads(file.read())["values"].get("model") or {}).get("name")
    return None if name is None else str(name)


def render_tree(graph: Lineage) -> list[str]:
    """The specialist, what it came from under it, and what came of it."""
    before = {node: [one for one, other in graph.edges if other == node] for node in graph.nodes}
    after = {node: [other for one, other in graph.edges if one == node] for node in graph.nodes}
    return [
        _named(graph, graph.own),
        *_branches(graph, "comes from", graph.own, before),
        *_branches(graph, "became", graph.own, after),
    ]


def render_mermaid(graph: Lineage) -> list[str]:
    """The graph in the language of mermaid.js, which GitHub and many wikis draw."""
    numbers = {node: f"n{index}" for index, node in enumerate(graph.nodes)}
    boxes = [f'  {number}["{_named(graph, node).translate(_NO_MARKUP)}"]' for node, number in numbers.items()]
    return ["graph LR", *boxes, *(f"  {numbers[one]} --> {numbers[other]}" for one, other in graph.edges)]


_NO_MARKUP = {ord(char): f"#{ord(char)};" for char in '"<>#[]`\\'} | {10: " ", 13: " "}


def _branches(graph: Lineage, title: str, root: str, next_to: Mapping[str, list[str]]) -> Iterator[str]:
    if not next_to[root]:
        yield f"  {title}: nothing that is known"
        return
    yield f"  {title}"
    yield from _below(graph, root, next_to, "    ")


def _below(graph: Lineage, node: str, next_to: Mapping[str, list[str]], indent: str) -> Iterator[str]:
    for other in next_to[node]:
        is_last = other == next_to[node][-1]
        yield f"{indent}{'└─' if is_last else '├─'} {_named(graph, other)}"
        yield from _below(graph, other, next_to, indent + ("   " if is_last else "│  "))


def _named(graph: Lineage, node: str) -> str:
    return " ".join(graph.nodes[node])
