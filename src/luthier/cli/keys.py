"""`luthier keys`: who may ask the server, and how much.

Imports nothing heavy at its top.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, print_json

if TYPE_CHECKING:
    from luthier.serving.keys import Key

app = typer.Typer(name="keys", help="Keys for luthier serve: make, list, revoke.", no_args_is_help=True)

File = Annotated[Path, typer.Option(help="The file of keys. It holds hashes, no keys.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_FILE = Path("keys.json")


@app.callback()
def _group() -> None:
    pass


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is: a-z, 0-9, '.', '_', '-'.")],
    file: File = _FILE,
    days: Annotated[
        int | None, typer.Option(min=1, help="It ends after so many days. Default: never.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Requests a minute.")] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Tokens a minute, prompts and answers together.")
    ] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Answers at a time.")] = None,
    specialists: Annotated[
        list[str] | None,
        typer.Option("--specialist", help="A specialist that it may ask; base: the base. Default: all."),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It may load and unload specialists.")] = False,
    json: Json = False,
) -> None:
    """Make a key. It is shown this once: the file holds its hash alone."""
    from datetime import UTC, datetime, timedelta

    from luthier.serving.keys import new_key
    from luthier.serving.limits import Limits

    key, token = new_key(
        file,
        name,
        expires=datetime.now(UTC) + timedelta(days=days) if days else None,
        limits=Limits(requests_per_minute, tokens_per_minute, concurrent),
        specialists=tuple(specialists) if specialists else None,
        admin=admin,
    )
    if json:
        print_json({**_shown(key), "key": token})
        return
    console().print(token, markup=False, soft_wrap=True)
    console(stderr=True).print(
        f"{name}: shown this once; its hash is in {file}", markup=False, soft_wrap=True
    )


@app.command(name="list")
def list_keys(file: File = _FILE, json: Json = False) -> None:
    """List keys: names, limits, what they may ask, when they end."""
    from rich.table import Table

    from luthier.serving.keys import read_keys

    rows = [_shown(key) for key in read_keys(file)]
    if json:
        print_json(rows)
        return
    columns = ("id", "name", "made", "ends", "requests/min", "tokens/min", "at a time", "may ask", "admin")
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        limits = [str(value) if value else "no limit" for value in row["limits"].values()]
        asks = ", ".join(row["specialists"]) if row["specialists"] is not None else "all"
        ends = f"{row['expires'][:10]}{' (over)' if row['expired'] else ''}" if row["expires"] else "never"
        cells = (
            row["id"],
            row["name"],
            row["created"][:10],
            ends,
            *limits,
            asks,
            "yes" if row["admin"] else "no",
        )
        table.add_row(*cells)
    console().print(table)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME|ID", help="The key's name or its id.")],
    file: File = _FILE,
) -> None:
    """Take a key out of the file. A running server refuses it from the next request on."""
    from luthier.serving.keys import revoke_key

    key = revoke_key(file, name)
    console().print(f"revoked {key.name} ({key.id})", markup=False)


def _shown(key: "Key") -> dict[str, Any]:
    from dataclasses import asdict
    from datetime import UTC, datetime

    row = {name: value for name, value in asdict(key).items() if name not in ("salt", "digest")}
    return row | {"expired": key.is_expired(datetime.now(UTC))}
