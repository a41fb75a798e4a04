"""`luthier data sample`: rows for the eye, one at a time, with a record of what was thought of them.

Knows nothing of how rows are drawn; everything heavy is imported when the verb runs.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.data.options import Fields, Format

if TYPE_CHECKING:
    from luthier.data.review import Summary


def sample(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Rows: a file, a folder, a glob.")],
    num_rows: Annotated[int, typer.Option("-n", min=1, help="How many rows to draw.")] = 50,
    seed: Annotated[int, typer.Option(help="Which rows: the same ones for a seed.")] = 0,
    review: Annotated[
        Path | None,
        typer.Option(help="The record of the review. Default: FILE.review.jsonl.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the sample there and ask nothing.")] = None,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Write FILE to --out without rejected rows and with the edited ones."),
    ] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Print what the record says so far.")] = False,
    format: Format = None,
    fields: Fields = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the sample or the summary as JSON.")] = False,
) -> None:
    """Draw rows at random and read them: accept, reject or edit each with a key.

    Without --out, --json, --apply and --summary it shows one row at a time. Every key is on the disk at once: leave
    with q and go on later with the same command.
    """
    from luthier.cli.common import console, print_json
    from luthier.data.formats import parse_fields
    from luthier.data.review import open_review
    from luthier.errors import DataError

    record = review or Path(f"{file.rstrip('/')}.review.jsonl")
    if apply and out is None:
        raise DataError("--apply writes the reviewed rows: name the file with --out")
    if apply and out is not None:
        _apply(file, record, out, force, as_json)
    elif summary:
        told = open_review(record, must_exist=True).summary()
        print_json(told.to_dict()) if as_json else console().print(in_words(told))
    else:
        reading = {"seed": seed, "format": format, "fields": parse_fields(fields or ())}
        if out is not None or as_json:
            _draw(file, num_rows, reading, out, force, as_json)
        else:
            _review(file, num_rows, reading, record)


def _draw(
    file: str, num_rows: int, reading: dict[str, Any], out: Path | None, force: bool, as_json: bool
) -> None:
    from luthier.cli.common import console, print_json
    from luthier.cli.data.progress import progress
    from luthier.data.sample import sample_rows
    from luthier.data.write import check_output, write_rows

    if out is not None:
        check_output(out, force=force)
    with progress("drawing", unit="bytes") as advance:
        drawn = sample_rows([file], num_rows, **reading, on_bytes=advance)
    if out is not None:
        with write_rows(out, force=force, inputs=[Path(one.row.file) for one in drawn.rows]) as write:
            for one in drawn.rows:
                write(one.row.value)
    if as_json:
        about = {"file": file, "rows": drawn.num_rows, "unreadable": drawn.num_unreadable, "seed": drawn.seed}
        print_json({**about, "out": out and str(out), "sample": [one.to_dict() for one in drawn.rows]})
    else:
        told = f"{len(drawn.rows):,} of {drawn.num_rows:,} rows in {out}"
        console().print(told + (f"; {drawn.num_unreadable:,} cannot be read" if drawn.num_unreadable else ""))


def _review(file: str, num_rows: int, reading: dict[str, Any], record: Path) -> None:
    from luthier.cli.common import console
    from luthier.cli.data.progress import progress
    from luthier.cli.data.review_screen import read_rows_aloud
    from luthier.data.review import open_review
    from luthier.data.sample import sample_rows
    from luthier.errors import DataError

    # A stream that was closed before the start is None.
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        raise DataError(
            "reading rows one by one needs a terminal; write the sample with --out FILE, or print it with --json"
        )
    review = open_review(record)
    with progress("drawing", unit="bytes") as advance:
        drawn = sample_rows([file], num_rows, **reading, on_bytes=advance)
    review.begin(file, drawn)
    read_rows_aloud(console(), drawn, review)
    console().print(in_words(review.summary()))
    console().print(f"The record: {record}", soft_wrap=True)


def _apply(file: str, record: Path, out: Path, force: bool, as_json: bool) -> None:
    from luthier.cli.common import console, print_json
    from luthier.data.review import apply_review, open_review

    written = apply_review([file], open_review(record, must_exist=True), out, force=force)
    if as_json:
        print_json({"file": file, "out": str(out), **written})
    else:
        counts = f"{written['rejected']:,} rejected rows left out, {written['edited']:,} edited"
        console().print(f"{written['rows']:,} rows in {out}; {counts}", soft_wrap=True)


def in_words(summary: "Summary") -> str:
    """How many of how many were read, what was thought of them, and what that says about the whole file."""
    counts = summary.counts
    told = f"{summary.num_read} of {summary.num_sampled} read: {counts['accepted']} accepted, "
    told += f"{counts['rejected']} rejected, {counts['edited']} edited"
    told += f"; {counts['skipped']} skipped" if counts["skipped"] else ""
    if summary.share is None or summary.low is None or summary.high is None:
        return told
    if summary.num_read >= summary.num_rows:
        return f"{told}\n{summary.share:.1%} of all {summary.num_rows:,} rows were rejected or edited"
    bad = f"{summary.low:.1%} to {summary.high:.1%} of its {summary.num_rows:,} rows"
    return f"{told}\nIn the whole file {bad} would be rejected or edited (95% Wilson interval)"
