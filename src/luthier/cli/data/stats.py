"""`luthier data stats`: what is in the files, in figures and a drawn histogram.

Knows nothing of how figures come to be; everything heavy is imported when the verb runs.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.data.options import BatchSize, Fields, Format, MaxLength, RepairEncoding, Workers

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from luthier.data.stats import Stats

_BAR_CELLS = 40
_CLASSES_SHOWN = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def stats(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, folders, globs, hub ids.")],
    model: Annotated[
        str | None,
        typer.Option(help="Count tokens with this model's tokenizer and template: name, folder, hub id."),
    ] = None,
    max_length: MaxLength = 1024,
    batch_size: BatchSize = 16,
    format: Format = None,
    fields: Fields = None,
    repair_encoding: RepairEncoding = False,
    workers: Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Count what is in the files: kinds, turns, lengths, classes, languages. Nothing is judged."""
    from luthier.cli.common import console, print_json
    from luthier.cli.data.check import renderer_of
    from luthier.cli.data.progress import progress
    from luthier.data.checks import total_bytes
    from luthier.data.formats import parse_fields
    from luthier.data.stats import count_stats

    with progress("counting", total_bytes(files), unit="bytes") as advance:
        counted = count_stats(
            files,
            open_renderer=renderer_of(model),
            max_length=max_length,
            batch_size=batch_size,
            format=format,
            fields=parse_fields(fields or ()),
            repair_encoding=repair_encoding,
            workers=workers or os.cpu_count() or 1,
            on_bytes=advance,
        )
    if as_json:
        print_json(counted.to_dict())
        return
    screen = console()
    for part in _page(counted):
        screen.print(part)


def _page(counted: "Stats") -> "Iterator[RenderableType]":
    from rich.text import Text

    figures = counted.figures
    yield _files(counted)
    yield Text()
    for name in ("kinds", "parts", "turns", "answers", "choices"):
        if name in figures:
            yield Text.assemble((f"{_TITLES[name]}: ", "bold"), _in_line(figures[name]))
    if "languages" in figures:
        looked_at = f" (of {figures['languages']['rows_looked_at']:,} rows looked at)"
        yield Text.assemble(("languages: ", "bold"), _in_line(figures["languages"]["languages"]), looked_at)
    lengths = {name: figures[name] for name in ("characters", "tokens") if name in figures}
    if lengths:
        yield _percentiles(lengths)
        unit, drawn = list(lengths.items())[-1]
        yield Text(f"\nrows by {unit}", style="bold")
        yield _histogram(drawn["histogram"])
    if "tokens" in figures:
        yield _of_tokens(figures["tokens"])
    if "cannot_render" in figures:
        yield Text(figures["cannot_render"]["why"], style="yellow")
    if "classes" in figures:
        yield _classes(figures["classes"])


_TITLES = {
    "kinds": "rows",
    "parts": "rows that have",
    "turns": "turns a row",
    "answers": "answers",
    "choices": "right options",
}


def _in_line(counts: Mapping[str, int], limit: int = 12) -> str:
    told = [f"{name.removeprefix('with_').replace('_', ' ')} {count:,}" for name, count in counts.items()]
    return ", ".join(told[:limit]) + (f" and {len(told) - limit} more" if len(told) > limit else "")


def _files(counted: "Stats") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("file", overflow="fold")
    table.add_column("format")
    for name in ("rows", "distinct", "prompts", "answers"):
        table.add_column(name, justify="right")
    for file in counted.files:
        numbers = (
            file.num_rows,
            file.num_distinct_rows,
            file.num_distinct_prompts,
            file.num_distinct_answers,
        )
        table.add_row(Text(file.path), _in_line(file.shapes), *(f"{number:,}" for number in numbers))
    return table


def _percentiles(lengths: Mapping[str, Mapping[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title="", title_justify="left")
    names = ("p50", "p90", "p95", "p99", "max", "mean")
    table.add_column("length")
    for name in names:
        table.add_column(name, justify="right")
    for unit, figure in lengths.items():
        for part in ("prompt", "answer", "row"):
            if part in figure:
                numbers = (f"{figure[part][name]:,.0f}" for name in names)
                table.add_row(f"{part}, {unit}", *numbers)
    return table


def _histogram(bins: Sequence[Mapping[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    for justify in ("right", "left", "right"):
        table.add_column(justify=justify)
    most = max(one["count"] for one in bins)
    for one in bins:
        end = "and over" if one["to"] is None else f"to {one['to'] - 1:,}"
        table.add_row(f"{one['from']:,} {end}", _bar(one["count"] / most), f"{one['count']:,}")
    return table


def _bar(share: float) -> str:
    eighths = max(round(share * _BAR_CELLS * 8), 1 if share else 0)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _of_tokens(tokens: Mapping[str, Any]) -> str:
    packing, sharing = tokens["packing"], tokens["sharing"]
    size = packing["batch_size"]
    told = [
        f"{tokens['total']:,} tokens, {tokens['supervised_share']:.1%} of them learnt; "
        f"{tokens['over_max_length']:,} rows over {tokens['max_length']:,}",
        f"an epoch in batches of {size} computes {packing['padded_tokens']:,} tokens padded, "
        f"{packing['packed_tokens']:,} packed into rows of {tokens['max_length']:,}",
        f"rows of a step share prefixes: each shared token computed once is {sharing['speedup']:.2f} times fewer "
        f"tokens ({sharing['tokens']:,} as {sharing['nodes']:,}, in {sharing['sampled_rows']:,} rows looked at)",
    ]
    return "\n" + "\n".join(told)


def _classes(classes: Mapping[str, Any]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    rows = list(classes["rows"].items())
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"{classes['num_classes']:,} classes", overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column(no_wrap=True, min_width=_BAR_CELLS // 2)
    most = max(count for _, count in rows)
    for label, count in rows[:_CLASSES_SHOWN]:
        table.add_row(Text(label), f"{count:,}", _bar(count / most / 2))
    if classes["num_classes"] > _CLASSES_SHOWN:
        table.add_row(f"and {classes['num_classes'] - _CLASSES_SHOWN:,} more", "", "")
    return table
