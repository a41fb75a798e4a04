"""`luthier data split`: divide rows into train, valid and test.

Knows nothing of groups and sides; everything heavy is imported when the verb runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from luthier.data.checks.finding import SplitName


def split(
    places: Annotated[list[str], typer.Argument(metavar="IN...", help="Files, folders or globs to divide.")],
    out: Annotated[Path, typer.Option(help="The folder to write train, valid, test and split.json into.")],
    valid: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of validation rows.  [default: 0.1]")
    ] = None,
    test: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of test rows.  [default: 0.1]")
    ] = None,
    shares: Annotated[
        str | None, typer.Option(help="All shares at once, train/valid/test: 80/10/10.")
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="Rows with the same value stay together: a document, a family."),
    ] = None,
    stratify: Annotated[
        str | None, typer.Option(metavar="label|tag|FIELD", help="Give each side its share of every value.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another choice of sides.")] = 0,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates/--no-near-duplicates", help="Keep near-duplicates together.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Write over an earlier split in the folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print split.json.")] = False,
) -> None:
    """Divide rows into train, valid and test so that what belongs together never crosses.

    The same question, near-duplicates and the same value of --group-by stay on one side. Rows that are added later
    leave the others where they are.
    """
    from luthier.cli.common import print_json
    from luthier.cli.data.progress import progress
    from luthier.data.checks import total_bytes
    from luthier.data.split import Division
    from luthier.data.split_files import split_files

    division = Division(_shares(valid, test, shares), group_by, stratify, seed, near_duplicates)
    size = total_bytes(places)
    with progress("splitting", None if size is None else 2 * size, unit="bytes") as advance:
        manifest = split_files(places, out, division, force=force, on_bytes=advance)
    if as_json:
        print_json(manifest)
    else:
        _print(manifest, out)


def _shares(valid: float | None, test: float | None, shares: str | None) -> "dict[SplitName, float]":
    from luthier.data.split import DEFAULT_SHARES, parse_shares
    from luthier.errors import ConfigError

    if shares is not None:
        if valid is not None or test is not None:
            raise ConfigError("--shares says all shares at once; leave out --valid and --test, or --shares")
        return parse_shares(shares)
    of_valid = DEFAULT_SHARES["valid"] if valid is None else valid
    of_test = DEFAULT_SHARES["test"] if test is None else test
    if of_valid + of_test >= 1:
        raise ConfigError(f"--valid {of_valid:g} and --test {of_test:g} leave nothing to train on")
    return {"train": 1 - of_valid - of_test, "valid": of_valid, "test": of_test}


def _print(manifest: dict[str, Any], out: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from luthier.cli.common import console as new_console

    console = new_console()
    table = Table("split", "file", "rows", "share", "groups", box=None)
    for name, one in manifest["splits"].items():
        table.add_row(
            name, str(out / one["file"]), f"{one['rows']:,}", f"{one['share']:.1%}", f"{one['groups']:,}"
        )
    console.print(table)
    told = f"{manifest['rows']:,} rows in {manifest['groups']:,} groups; the largest has {manifest['largest_group']:,}"
    console.print(Text(told, style="dim"))
    for note in manifest["notes"]:
        console.print(Text(f"note: {note}"))
