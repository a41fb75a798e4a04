"""`luthier data commit`, `log` and `verify`: keep data as versions, list them, look whether they are still whole.

Knows nothing of how a version is kept; everything heavy is imported when a verb runs.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from luthier.data.versions import Committed
    from luthier.registry.datasets import Version

StoreFolder = Annotated[
    Path, typer.Option("--store", envvar="LUTHIER_DATASETS", help="The folder that holds dataset versions.")
]
DEFAULT_STORE = Path("datasets")


def commit(
    name: Annotated[str, typer.Option(help="The name of the dataset: a-z, 0-9, '.', '_', '-'.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="Training data: files, folders or globs.")
    ] = None,
    valid: Annotated[list[str] | None, typer.Option(help="Validation rows or evaluation items.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Test rows or evaluation items.")] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="What is new, for the log.")] = "",
    parent: Annotated[str, typer.Option(help="The version it came from: latest, none or an id.")] = "latest",
    licence: Annotated[str, typer.Option(help="Under which licence the data is, for the card.")] = "",
    source: Annotated[str, typer.Option(help="Where the data is from, for the card.")] = "",
    model: Annotated[
        str | None, typer.Option(help="Whose tokenizer to measure lengths with: name, folder or hub id.")
    ] = None,
    allow_errors: Annotated[
        bool,
        typer.Option("--allow-errors", help="Commit although the check finds errors; the version says so."),
    ] = False,
    store: StoreFolder = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the files and keep them as a version: the same bytes give the same id on any machine."""
    from functools import partial

    from luthier.cli.common import console, print_json
    from luthier.cli.data.check import renderer_of
    from luthier.cli.data.progress import progress
    from luthier.data.checks import check_files, total_bytes
    from luthier.data.checks.finding import SplitName
    from luthier.data.versions import commit as commit_files
    from luthier.data.versions import describe

    places: dict[SplitName, list[str]] = {"train": files or [], "valid": valid or [], "test": test or []}
    with progress(
        "checking", total_bytes(p for some in places.values() for p in some), unit="bytes"
    ) as advance:
        check = partial(
            check_files, open_renderer=renderer_of(model), workers=os.cpu_count() or 1, on_bytes=advance
        )
        done = commit_files(
            places,
            name,
            store,
            message=message,
            parent=parent,
            licence=licence,
            source=source,
            allow_errors=allow_errors,
            check=check,
        )
    if as_json:
        print_json({"new": done.is_new, **describe(done.version)})
    else:
        console().print(_told(done), soft_wrap=True, markup=False)


def _told(done: "Committed") -> str:
    from luthier.data.versions import describe

    version = done.version
    shown = describe(version)
    rows = ", ".join(f"{count:,} {split}" for split, count in shown["rows"].items())
    if not done.is_new:
        return (
            f"{version.ref} is there already, with the same bytes (since {_day(version)}); nothing was added"
        )
    splits = [f"{option} {shown['place']}" for split, option in _TRAIN_OPTIONS if split in version.splits]
    lines = [
        f"committed {version.ref}: {rows} rows",
        f"check:  {shown['check']}" + (" (allowed)" if shown["check"] == "errors" else ""),
        f"parent: {_short(version.parents) or 'none'}",
        f"folder: {version.folder}",
    ]
    if images := version.manifest["images_not_kept"]:
        lines.append(f"images: {images:,} are named by the rows; they are not part of the version")
    if "train" in version.splits:
        lines.append(f"to use: luthier train {' '.join(splits)}")
    return "\n".join(lines)


_TRAIN_OPTIONS = (("train", "--data"), ("valid", "--valid"))


def log(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Datasets; all without.")
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    runs: Annotated[
        Path, typer.Option(help="The folder that holds runs, to say which version they used.")
    ] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List versions, newest first: rows, what the check said, the parent, and the runs that used them."""
    from luthier.cli.common import console, print_json
    from luthier.data.versions import describe
    from luthier.registry.datasets import Store
    from luthier.registry.runs import list_runs

    kept = Store(store)
    wanted = names or kept.names()
    versions = [version for name in wanted for version in _versions(kept, name)]
    summaries = list_runs(runs)
    used = {v.ref: [one.name for one in summaries if v.ref in one.datasets] for v in versions}
    broken = [problem for name in wanted for problem in kept.damaged(name)]
    if as_json:
        listed = [{**describe(version), "runs": used[version.ref]} for version in versions]
        print_json({"versions": listed, "damaged": broken})
        return
    if versions:
        _show_log(console(), versions, used)
    elif not broken:
        console().print(
            f"no dataset in {store}; make one: luthier data commit FILE --name NAME", markup=False
        )
    for problem in broken:
        console(stderr=True).print(f"not a version: {problem}", style="yellow", markup=False, soft_wrap=True)


def _versions(store: Any, name: str) -> "list[Version]":
    """The versions of a name. Raises DataError where it has none and nothing damaged either."""
    found: list[Version] = store.versions(name)
    if not found and not store.damaged(name):
        store.find(name)
    return found


def _show_log(screen: Any, versions: "Sequence[Version]", used: dict[str, list[str]]) -> None:
    from rich.text import Text

    from luthier.data.versions import describe

    shown = [describe(version) for version in versions]
    rows = [", ".join(f"{count:,} {split}" for split, count in one["rows"].items()) for one in shown]
    refs = [version.ref for version in versions]
    for version, one, counted in zip(versions, shown, rows, strict=True):
        line = Text(f"{version.ref:<{max(map(len, refs))}}", style="bold")
        line.append(f"  {_day(version)}  {counted:<{max(map(len, rows))}}  {one['check']}", style="not bold")
        screen.print(line, soft_wrap=True)
        if message := " ".join(version.message.split()):
            screen.print(Text(f"    {message}"), soft_wrap=True)
        if version.parents:
            screen.print(Text(f"    parent: {_short(version.parents)}", style="dim"), soft_wrap=True)
        if used[version.ref]:
            screen.print(Text(f"    runs: {', '.join(used[version.ref])}", style="dim"), soft_wrap=True)


def verify(
    versions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[VERSION]...", help="NAME, or NAME@ID; all versions without."),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hash every file again: is each version still what was committed? Exit code 2 where one is not."""
    from luthier.cli.common import console, print_json
    from luthier.cli.data.progress import progress
    from luthier.registry.datasets import Store, damage

    kept = Store(store)
    chosen, problems = _chosen(kept, versions or kept.names())
    looked = []
    with progress("hashing", len(chosen), unit="versions") as advance:
        for version in chosen:
            found = damage(version)
            looked.append({"version": version.ref, "whole": not found, "problems": found})
            problems += found
            advance(1)
    if as_json:
        print_json({"whole": not problems, "versions": looked, "problems": problems})
    else:
        for one in looked:
            console().print(f"{one['version']}: {'whole' if one['whole'] else 'damaged'}", markup=False)
        for problem in problems:
            console(stderr=True).print(problem, style="red", markup=False, soft_wrap=True)
        if not looked and not problems:
            console().print(f"no dataset in {store}", markup=False)
    raise typer.Exit(2 if problems else 0)


def _chosen(store: Any, refs: Sequence[str]) -> "tuple[list[Version], list[str]]":
    """The versions that are meant (a bare name means all of its), and what stands among them but is none."""
    chosen: list[Version] = []
    broken: list[str] = []
    for ref in refs:
        if "@" in ref:
            chosen.append(store.find(ref))
        else:
            name = ref.removeprefix("dataset:")
            chosen += _versions(store, name)
            broken += store.damaged(name)
    return chosen, broken


def _day(version: "Version") -> str:
    return version.created[:16].replace("T", " ")


def _short(ids: Sequence[str]) -> str:
    from luthier.hashing import short_id

    return ", ".join(short_id(one) for one in ids)
