"""`luthier data check`: find what is wrong with the data before it costs a step.

Knows nothing of how a check works; everything heavy is imported when the verb runs.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.data.options import BatchSize, Fields, Files, Format, MaxLength, RepairEncoding, Workers

if TYPE_CHECKING:
    from luthier.chat.render import Renderer
    from luthier.data.checks import Report


def check(
    files: Files,
    valid: Annotated[list[str] | None, typer.Option(help="Validation rows or evaluation items.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Test rows or evaluation items.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Whose tokenizer and template to measure lengths with: name, folder, hub id."),
    ] = None,
    max_length: MaxLength = 1024,
    batch_size: BatchSize = 16,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Evaluation files that training must not contain, or `luthier` for its own."),
    ] = None,
    system_prompt: Annotated[
        str | None, typer.Option(help="The system prompt that will be shipped; @FILE reads it.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="What the rows are for: style, task, domain, classification, preference."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow-placeholder", help="A placeholder that is meant, such as '{{name}}'."),
    ] = None,
    semantic: Annotated[
        bool,
        typer.Option("--semantic", help="Also find rows that mean the same, by embeddings (extra: embed)."),
    ] = False,
    format: Format = None,
    fields: Fields = None,
    repair_encoding: RepairEncoding = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on warnings.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Tell every finding whole, not only the first.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page for the browser.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    workers: Workers = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing --html page.")] = False,
) -> None:
    """Find what is wrong with the data: broken rows, duplicates, leaks, placeholders and much more.

    Exit code: 0 clean, 1 warnings with --strict, 2 errors.
    """
    from luthier.cli.common import console, print_json, read_text_option
    from luthier.cli.data.progress import progress
    from luthier.data.checks import check_files, render_report, total_bytes
    from luthier.data.checks.benchmarks import read_benchmarks
    from luthier.data.formats import parse_fields

    places = [*files, *(valid or ()), *(test or ())]
    with progress("checking", total_bytes(places), unit="bytes") as advance:
        report = check_files(
            files,
            valid,
            test,
            format=format,
            fields=parse_fields(fields or ()),
            repair_encoding=repair_encoding,
            open_renderer=renderer_of(model),
            max_length=max_length,
            batch_size=batch_size,
            benchmarks={one.name: one for place in against or () for one in read_benchmarks(place)},
            placeholders=frozenset(allow or ()),
            task=task,
            system_prompt=read_text_option(system_prompt),
            semantic=semantic,
            workers=workers or os.cpu_count() or 1,
            on_bytes=advance,
        )
    if html is not None:
        _write_page(report, html, force)
    if as_json:
        print_json(report.to_dict())
    else:
        console().print(render_report(report, full=full))
    raise typer.Exit(report.exit_code(strict))


def renderer_of(model: str | None) -> "Callable[[], Renderer] | None":
    """How to open the renderer of a model, here or in another process; the model is looked for at once."""
    if model is None:
        return None
    from luthier.cli.common import model_ref
    from luthier.models.load import find_model

    return partial(_open_renderer, find_model(model_ref(model)).tokenizer_place)


def _open_renderer(place: str) -> "Renderer":
    from luthier.chat.render import Renderer
    from luthier.cli.common import quiet_libraries
    from luthier.models.load import load_tokenizer

    quiet_libraries()
    return Renderer(load_tokenizer(place))


def _write_page(report: "Report", path: Path, force: bool) -> None:
    from luthier.data.checks.html import render_page
    from luthier.errors import DataError
    from luthier.files import write_text_atomic

    if path.exists() and not force:
        raise DataError(f"{path} is already there; name another file, or replace it with --force")
    write_text_atomic(path, render_page(report))
