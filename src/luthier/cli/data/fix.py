"""`luthier data fix`: take out what is broken, repeated or leaked, and repair texts; a plan first.

Knows nothing of how rows are judged; everything heavy is imported when the verb runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from luthier.cli.data.options import Fields, Format

if TYPE_CHECKING:
    from luthier.data.fix import Plan


def fix(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Training data: files, folders, globs.")
    ],
    out: Annotated[
        str,
        typer.Option(
            metavar="PATH_OR_FOLDER",
            help="A file for one FILE, or a folder (fixed/) that also takes the fixed --valid and --test.",
        ),
    ],
    valid: Annotated[list[str] | None, typer.Option(help="Validation rows or evaluation items.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Test rows or evaluation items.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    broken: Annotated[
        bool, typer.Option("--broken/--no-broken", help="Remove rows that cannot be read or have no answer.")
    ] = True,
    duplicates: Annotated[
        bool, typer.Option("--duplicates/--no-duplicates", help="Remove rows that say the same as another.")
    ] = True,
    leaks: Annotated[
        bool, typer.Option("--leaks/--no-leaks", help="Remove rows or questions that two splits share.")
    ] = True,
    encoding: Annotated[
        bool,
        typer.Option("--encoding/--no-encoding", help="Repair encoding, mojibake, control characters, NFC."),
    ] = True,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Also remove rows that nearly say the same as another.")
    ] = False,
    keep: Annotated[
        Literal["first", "last"], typer.Option(help="Which of several equal rows stays.")
    ] = "first",
    leaks_from: Annotated[
        Literal["train", "valid"],
        typer.Option(
            help="Who gives way where training shares rows with valid or test: train, or the other."
        ),
    ] = "train",
    format: Format = None,
    fields: Fields = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files of an earlier run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan and the counts as JSON.")] = False,
) -> None:
    """Remove broken, repeated and leaked rows and repair texts: a plan first, then new files.

    The input stays as it is. What was removed, and why, stands in OUT.removed.jsonl; rows whose text was repaired
    stand as they were in OUT.changed.jsonl.
    """
    from luthier.cli.common import console, print_json
    from luthier.cli.data.progress import progress
    from luthier.data.fix import apply_fix, plan_fix
    from luthier.data.fix_survey import FixOptions
    from luthier.data.formats import parse_fields
    from luthier.data.inputs import num_bytes

    options = FixOptions(broken, encoding, leaks, duplicates, near_duplicates, keep, leaks_from)
    with progress("reading", unit="bytes") as advance:
        plan = plan_fix(
            files,
            out,
            valid=valid or (),
            test=test or (),
            options=options,
            format=format,
            fields=parse_fields(fields or ()),
            on_bytes=advance,
        )
    if not as_json:
        _show_plan(console(), plan)
    if not dry_run:
        with progress("writing", num_bytes([file.source for file in plan.files]), unit="bytes") as advance:
            apply_fix(plan, force=force, on_bytes=advance)
    if as_json:
        print_json({"dry_run": dry_run, **plan.to_dict()})
    else:
        _show_outcome(console(), plan, dry_run)


def _show_plan(screen: Any, plan: "Plan") -> None:
    from rich.text import Text

    from luthier.cli.data.tokens import plain_table

    if not plan.items:
        screen.print("Nothing to put right.")
        return
    table = plain_table(what="left", split="left", rows="right", why="left")
    for item in plan.items:
        table.add_row(f"{item.kind} {item.name}", item.split, f"{item.count:,}", item.why)
    screen.print(table)
    for item in plan.items:
        for example in item.examples:
            screen.print(Text(f"  {item.name}: {example}", style="dim"), soft_wrap=True)


def _show_outcome(screen: Any, plan: "Plan", dry_run: bool) -> None:
    from rich.text import Text

    for file in plan.files:
        if file.out is None:
            continue
        told = file.to_dict()
        counts = f"{told['rows']:,} rows -> {told['kept']:,}"
        screen.print(Text(f"{told['path']}: {counts} in {Path(told['out'])}"), soft_wrap=True)
    if dry_run:
        screen.print("Nothing was written (--dry-run).")
        return
    told = plan.to_dict()
    for what, path in (
        ("removed", told["removed_to"]),
        ("as they were before the repair", told["changed_to"]),
    ):
        if path:
            screen.print(Text(f"Rows {what}: {path}"), soft_wrap=True)
