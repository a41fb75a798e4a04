"""`luthier runs`: what was trained here: a list, one run, or several side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli.common import console, print_json

app = typer.Typer(help="List, show and compare runs.", invoke_without_command=True)
_Folder = Annotated[Path, typer.Option("--folder", help="The folder that holds runs.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_LISTED = (
    "name",
    "status",
    "updated",
    "model",
    "method",
    "dataset",
    "steps",
    "best_validation_loss",
    "reason",
)
_COMPARED = (
    "status",
    "steps",
    "last_loss",
    "best_validation_loss",
    "best_step",
    "tokens_per_second",
    "peak_memory_bytes",
    "seconds",
    "dataset",
    "git_revision",
    "seed",
)


@app.callback()
def runs(context: typer.Context, folder: _Folder = Path("runs"), json: _Json = False) -> None:
    """List runs with their status words; `show` one, `compare` several."""
    if context.invoked_subcommand is None:
        _list(folder, [], json)


@app.command("list")
def list_(
    folder: _Folder = Path("runs"),
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only runs with this value, as status=finished or method=lora; may be repeated."),
    ] = None,
    json: _Json = False,
) -> None:
    """List runs, all or those with certain values."""
    _list(folder, where or [], json)


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    json: _Json = False,
) -> None:
    """Show what is known of one run: recipe, data, revision, environment, seed, and how it went."""
    line = _line_of(run)
    if json:
        print_json(line)
        return
    screen = console()
    for key, value in line.items():
        if isinstance(value, Mapping):
            for inner, one in _leaves(value):
                screen.print(f"{key}.{inner}: {one}", markup=False)
        elif value is not None:
            screen.print(f"{key}: {value}", markup=False)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="The folders of two runs or more.")],
    json: _Json = False,
) -> None:
    """Compare runs: how each went, and in which values of the recipe they differ."""
    from rich.table import Table

    from luthier.errors import ConfigError

    if len(runs) < 2:
        raise ConfigError("expected two runs or more to compare")
    lines = [_line_of(run) for run in runs]
    names = [str(run) for run in runs]
    differing = _differences(lines)
    if json:
        found = [{"folder": n, **{k: one[k] for k in _COMPARED}} for n, one in zip(names, lines, strict=True)]
        print_json({"runs": found, "best": _best(names, lines), "recipe_differences": differing})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("", *names):
        table.add_column(column, overflow="fold")
    for key in _COMPARED:
        table.add_row(key, *(_cell(line[key]) for line in lines))
    for key, values in differing.items():
        table.add_row(f"recipe: {key}", *(_cell(value) for value in values))
    console().print(table)
    console().print(f"lowest validation loss: {_best(names, lines) or 'none has one'}", markup=False)


def _list(folder: Path, where: Sequence[str], json: bool) -> None:
    from rich.table import Table

    lines = [line for line in _lines(folder) if all(_matches(line, one) for one in where)]
    if json:
        print_json(lines)
        return
    if not lines:
        console().print(f"no runs in {folder}; make one: luthier train --data FILE")
        return
    shown = [column for column in _LISTED if any(line.get(column) is not None for line in lines)]
    table = Table(box=None, pad_edge=False)
    for column in shown:
        table.add_column("run" if column == "name" else column.replace("_", " "))
    for line in lines:
        smoke = " (smoke)" if line.get("kind") == "smoke" else ""
        table.add_row(
            str(line["folder"]) + smoke, *(_cell(line.get(column)) for column in shown if column != "name")
        )
    console().print(table)


def _lines(folder: Path) -> list[dict[str, Any]]:
    """Every run: its status from its folder, its numbers from the database where that can be read."""
    from luthier.errors import RunError
    from luthier.registry.run_index import open_index
    from luthier.registry.runs import list_runs

    found = list_runs(folder)
    indexed: dict[str, dict[str, Any]] = {}
    if found:
        try:
            index = open_index(folder)
            indexed = {line["name"]: line for line in index.runs()}
            index.close()
        except RunError as error:
            console(stderr=True).print(f"listed from the folders alone: {error}", markup=False)
    return [
        {
            **{
                key: value
                for key, value in indexed.get(one.name, {}).items()
                if key not in ("recipe", "environment", "signature")
            },
            "name": one.name,
            "folder": str(one.folder),
            "status": one.status.value,
            "updated": one.updated,
            "reason": one.reason,
            "datasets": list(one.datasets),
        }
        for one in found
    ]


def _line_of(folder: Path) -> dict[str, Any]:
    from luthier.registry.run_index import run_line
    from luthier.registry.runs import open_run

    line = run_line(open_run(folder))
    del line["signature"]
    return line


def _matches(line: Mapping[str, Any], condition: str) -> bool:
    from luthier.errors import ConfigError

    key, equals, value = condition.partition("=")
    if not equals or key not in line:
        raise ConfigError(
            f"--where: expected KEY=VALUE with a key out of {', '.join(line)}; got {condition!r}"
        )
    return str(line[key]) == value


def _differences(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    flat = [dict(_leaves(line["recipe"])) for line in lines]
    keys = dict.fromkeys(key for one in flat for key in one)
    values = {key: [one.get(key) for one in flat] for key in keys}
    return {key: found for key, found in values.items() if any(one != found[0] for one in found)}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _best(names: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str | None:
    losses = [
        (line["best_validation_loss"], name)
        for name, line in zip(names, lines, strict=True)
        if line["best_validation_loss"] is not None
    ]
    return min(losses)[1] if losses else None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
