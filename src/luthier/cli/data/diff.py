"""`luthier data diff`: what differs between two versions, or two files.

Knows nothing of how rows are compared; everything heavy is imported when the verb runs.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.data.versions import DEFAULT_STORE, StoreFolder

if TYPE_CHECKING:
    from rich.text import Text

    from luthier.data.diff import Difference, Example

_SIGNS = {
    "removed": ("-", "red"),
    "added": ("+", "green"),
    "moved": (">", "cyan"),
    "changed": ("~", "yellow"),
}


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="NAME, NAME@ID, NAME@latest~1, a file or a folder.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The same; B is the newer one.")],
    examples: Annotated[int, typer.Option(min=0, help="How many rows of each kind to show.")] = 3,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 where rows differ, as diff does.")
    ] = False,
    store: StoreFolder = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare rows: added, removed, moved between splits, or the same question with another answer."""
    from luthier.cli.common import console, print_json
    from luthier.cli.data.progress import progress
    from luthier.data.checks import total_bytes
    from luthier.data.diff import compare_rows, open_side

    sides = open_side(a, store), open_side(b, store)
    places = [place for side in sides for some in side.splits.values() for place in some]
    with progress("comparing", total_bytes(places), unit="bytes") as advance:
        found = compare_rows(*sides, num_examples=examples, on_bytes=advance)
    if as_json:
        print_json(found.to_dict())
    else:
        _show(console(), found)
    raise typer.Exit(int(exit_code and not found.is_same))


def _show(screen: Any, found: "Difference") -> None:
    from rich.table import Table
    from rich.text import Text

    shown = found.to_dict()
    screen.print(Text(f"{found.a} -> {found.b}", style="bold"))
    columns = ("rows_a", "rows_b", "kept", "added", "removed", "changed", "moved_in", "moved_out")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("split")
    for column in columns:
        table.add_column(
            column.replace("_", " ").replace("rows a", "before").replace("rows b", "now"), justify="right"
        )
    for split, counts in shown["splits"].items():
        table.add_row(split, *(f"{counts[column]:,}" for column in columns))
    screen.print(table)
    for line in _remarks(shown):
        screen.print(Text(line))
    for kind, (sign, style) in _SIGNS.items():
        for example in found.examples[kind]:
            screen.print(_line(example, sign, style), soft_wrap=True)


def _remarks(shown: dict[str, Any]) -> Iterator[str]:
    if shown["same"]:
        yield "The same rows. Order, ids, tags and spacing are not compared."
    for one in shown["moved"]:
        yield f"moved from {one['from']} to {one['to']}: {one['rows']:,}"
    for split, counts in shown["splits"].items():
        for kind, words in (("added_copies", "added"), ("removed_copies", "removed")):
            if counts[kind]:
                yield f"{split}: {counts[kind]:,} of the {words} are copies of rows that both sides have"
        before, now = (counts[f"rows_{side}"] - counts[f"distinct_rows_{side}"] for side in "ab")
        if before != now:
            yield f"{split}: rows that repeat another one: {before:,} before, {now:,} now"
        if counts["unreadable_rows_a"] or counts["unreadable_rows_b"]:
            lines = f"{counts['unreadable_rows_a']:,} before, {counts['unreadable_rows_b']:,} now"
            yield f"{split}: lines that cannot be read and were not compared: {lines}"


def _line(example: "Example", sign: str, style: str) -> "Text":
    from rich.text import Text

    where = f"{example.split} -> {example.to}" if example.to else example.split
    text = Text(f"{sign} {where}: ", style=style) + Text(example.text)
    return text if example.after is None else text + Text(f"\n  now: {example.after}")
