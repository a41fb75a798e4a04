"""`luthier cache`: the states of frozen layers that runs keep and share, and the room that they take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, print_json

if TYPE_CHECKING:
    from luthier.models.trunk_cache import StoreFacts

app = typer.Typer(
    help="What frozen layers gave, kept for later runs: list it, clear it.", no_args_is_help=True
)

_Folder = Annotated[
    Path | None,
    typer.Option(help="The cache (train.trunk_cache). Default: LUTHIER_CACHE, or your cache folder."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_stores(folder: _Folder = None, json: _Json = False) -> None:
    """List the stores, the one that was used last first."""
    from rich.table import Table

    from luthier.models.trunk_cache import TrunkCache, default_cache, gigabytes

    root = folder or default_cache()
    found = TrunkCache(root, 0).stores()
    if json:
        print_json({"folder": str(root), "stores": [_as_json(store) for store in found]})
        return
    if not found:
        console().print(f"nothing is kept in {root}")
        return
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
    console().print(f"{gigabytes(sum(store.num_bytes for store in found))} in {root}")


@app.command("clear")
def clear(folder: _Folder = None, json: _Json = False) -> None:
    """Remove every store that no run uses. Later runs compute what they need again."""
    from luthier.models.trunk_cache import TrunkCache, default_cache, gigabytes

    root = folder or default_cache()
    gone, kept = TrunkCache(root, 0).clear()
    if json:
        print_json(
            {
                "folder": str(root),
                "removed": [_as_json(store) for store in gone],
                "in_use": [_as_json(store) for store in kept],
            }
        )
        return
    freed = gigabytes(sum(store.num_bytes for store in gone))
    console().print(f"removed {len(gone)} stores, {freed}, from {root}")
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
