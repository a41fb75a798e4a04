"""`luthier runs`: what was trained here."""

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.common import console, print_json


def runs(
    folder: Annotated[Path, typer.Argument(help="The folder that holds runs.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List runs with their status words."""
    from rich.table import Table

    from luthier.registry.runs import list_runs

    found = list_runs(folder)
    if json:
        print_json(
            [
                {
                    "name": r.name,
                    "folder": str(r.folder),
                    "status": r.status.value,
                    "updated": r.updated,
                    "reason": r.reason,
                    "datasets": list(r.datasets),
                }
                for r in found
            ]
        )
        return
    if not found:
        console().print(f"no runs in {folder}; make one: luthier train --data FILE")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("run", "status", "updated", "data", "reason"):
        table.add_column(column)
    for summary in found:
        data = ", ".join(summary.datasets)
        table.add_row(str(summary.folder), summary.status.value, summary.updated, data, summary.reason or "")
    console().print(table)
