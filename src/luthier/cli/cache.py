"""`luthier cache`: what runs keep to compute it once, and the room that it takes.

The states of frozen layers (the trunk), and the rows of data files as tokens.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, print_json

if TYPE_CHECKING:
    from luthier.data.token_store import Entry
    from luthier.models.trunk_cache import StoreFacts

app = typer.Typer(
    help="What runs keep for later ones (states of frozen layers, rows as tokens): list it, clear it.",
    no_args_is_help=True,
)

_Folder = Annotated[
    Path | None,
    typer.Option(
        help="A trunk's cache elsewhere (train.trunk_cache). Default: all that is in the cache folder."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_stores(folder: _Folder = None, json: _Json = False) -> None:
    """List what is kept, the one that was used last first."""
    from luthier.models.trunk_cache import TrunkCache, default_cache, gigabytes

    root = folder or default_cache()
    found = TrunkCache(root, 0).stores()
    rows = [] if folder else _token_entries()
    if json:
        told = {"folder": str(root), "stores": [_as_json(store) for store in found]}
        print_json({**told, "tokens": [_entry_as_json(entry) for entry in rows]})
        return
    if not found and not rows:
        console().print(f"nothing is kept in {root if folder else root.parent}")
        return
    if found:
        _print_stores(found)
        console().print(f"frozen layers: {gigabytes(sum(store.num_bytes for store in found))} in {root}")
    if rows:
        _print_entries(rows)
        console().print(f"rows of tokens: {gigabytes(sum(entry.num_bytes for entry in rows))}")


def _print_stores(found: "list[StoreFacts]") -> None:
    from rich.table import Table

    from luthier.models.trunk_cache import gigabytes

    table = Table(box=None, pad_edge=False)
    for column in ("store", "base", "layers", "dtype", "tokens", "size", "used"):
        table.add_column(column)
    for store in found:
        layers = f"{store.facts.get('depth')} of {store.facts.get('layers')}"
        base, dtype = str(store.facts.get("base")), str(store.facts.get("dtype")).removeprefix("torch.")
        used = "by a run now" if store.in_use else _when(store.used)
        tokens, size = f"{store.num_records:,}", gigabytes(store.num_bytes)
        table.add_row(store.name, base, layers, dtype, tokens, size, used)
    console().print(table)


def _print_entries(rows: "list[Entry]") -> None:
    from rich.table import Table

    from luthier.models.trunk_cache import gigabytes

    table = Table(box=None, pad_edge=False)
    for column in ("rows of tokens", "files", "size", "used"):
        table.add_column(column)
    for entry in rows:
        files = ", ".join(map(str, entry.facts.get("files", ())))
        table.add_row(entry.name, files, gigabytes(entry.num_bytes), _when(entry.used))
    console().print(table)


def _token_entries() -> "list[Entry]":
    from luthier.data.token_store import TokenStore, default_token_store

    return TokenStore(default_token_store()).entries()


@app.command("clear")
def clear(folder: _Folder = None, json: _Json = False) -> None:
    """Remove everything that no run uses. Later runs compute what they need again."""
    from luthier.data.token_store import TokenStore, default_token_store
    from luthier.models.trunk_cache import TrunkCache, default_cache, gigabytes

    root = folder or default_cache()
    gone, kept = TrunkCache(root, 0).clear()
    token_bytes = 0 if folder else TokenStore(default_token_store()).clear()
    if json:
        print_json(
            {
                "folder": str(root),
                "removed": [_as_json(store) for store in gone],
                "in_use": [_as_json(store) for store in kept],
                "token_bytes": token_bytes,
            }
        )
        return
    freed = gigabytes(sum(store.num_bytes for store in gone))
    console().print(f"removed {len(gone)} stores, {freed}, from {root}")
    if token_bytes:
        console().print(f"removed {gigabytes(token_bytes)} of rows as tokens")
    if kept:
        console().print(f"{', '.join(store.name for store in kept)}: in use by a run, kept")


def _when(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="minutes")


def _as_json(store: "StoreFacts") -> dict[str, Any]:
    return {
        "name": store.name,
        "folder": str(store.folder),
        **store.facts,
        "tokens": store.num_records,
        "bytes": store.num_bytes,
        "used": _when(store.used),
        "in_use": store.in_use,
    }


def _entry_as_json(entry: "Entry") -> dict[str, Any]:
    return {
        "name": entry.name,
        "folder": str(entry.folder),
        "files": list(entry.facts.get("files", ())),
        "bytes": entry.num_bytes,
        "used": _when(entry.used),
    }
