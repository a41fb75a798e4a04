"""`luthier data convert`: rows from one format to another, without a silent loss.

Knows nothing of formats and containers; everything heavy is imported when the verb runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.data.options import Fields, RepairEncoding

if TYPE_CHECKING:
    from luthier.data.convert import Conversion, Counted


def convert(
    places: Annotated[
        list[str],
        typer.Argument(metavar="IN... OUT", help="Files, folders or globs to read; last, the file to write."),
    ],
    to: Annotated[
        str, typer.Option(help="The format to write: messages, sharegpt, alpaca, prompt/completion, ...")
    ],
    from_: Annotated[
        str | None, typer.Option("--from", help="The rows' format, where it is not to be recognised.")
    ] = None,
    fields: Fields = None,
    drop_fields: Annotated[
        bool, typer.Option("--drop-fields", help="Leave out the fields that the format does not know.")
    ] = False,
    lossy: Annotated[
        bool,
        typer.Option("--lossy", help="Go on where the format cannot hold everything, and say what was lost."),
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out rows that cannot be read or written, and count them."),
    ] = False,
    repair_encoding: RepairEncoding = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write rows in another format: OUT's ending chooses the container, --to the fields.

    Endings: .jsonl, .json, .csv, .tsv, .txt (plain pairs), each also .gz or .zst; .parquet, .arrow.
    What the format cannot hold is refused with its count (exit code 2), unless --lossy.
    """
    from luthier.cli.common import print_json
    from luthier.cli.data.progress import progress
    from luthier.data.checks import total_bytes
    from luthier.data.convert import convert as convert_files
    from luthier.data.formats import parse_fields
    from luthier.errors import ConfigError

    if len(places) < 2:
        raise ConfigError(
            "convert needs the files to read and, last, the file to write: convert IN OUT --to messages"
        )
    with progress("converting", total_bytes(places[:-1]), unit="bytes") as advance:
        done = convert_files(
            places[:-1],
            Path(places[-1]),
            to=to,
            format=from_,
            fields=parse_fields(fields or ()),
            drop_fields=drop_fields,
            lossy=lossy,
            skip_bad=skip_bad,
            force=force,
            repair_encoding=repair_encoding,
            on_bytes=advance,
        )
    if as_json:
        print_json(done.to_dict())
    else:
        _print(done)


def _print(done: "Conversion") -> None:
    from rich.text import Text

    from luthier.cli.common import console as new_console

    console = new_console()
    read = ", ".join(f"{rows:,} {name}" for name, rows in done.formats.items())
    console.print(
        Text(f"{done.out}: {done.rows_written:,} rows as {done.format} (read: {read})"), soft_wrap=True
    )
    for title, found in (("left out", done.skipped), ("lost", done.lost), ("note", done.remarks)):
        for what, counted in found.items():
            console.print(Text(f"  {title}: {what}: {_rows(counted)}"), soft_wrap=True)


def _rows(counted: "Counted") -> str:
    return f"{counted.rows:,} {'row' if counted.rows == 1 else 'rows'}, the first: {counted.places[0]}"
