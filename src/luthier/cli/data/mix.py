"""`luthier data mix`: several sources in one file, with a manifest.

Knows nothing of how amounts are computed; everything heavy is imported when the verb runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.data.options import Fields

if TYPE_CHECKING:
    from luthier.data.mix_recipe import MixRecipe


def mix(
    out: Annotated[Path, typer.Option(help="Where the mix goes; its manifest goes to OUT.manifest.json.")],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE[=SHARE]]...", help="Sources, with shares or weights: a.jsonl=0.7 b.jsonl=0.3."
        ),
    ] = None,
    source: Annotated[list[str] | None, typer.Option(help="The same: --source a.jsonl=0.7.")] = None,
    replay: Annotated[
        list[str] | None, typer.Option(help="General data as a share of the outcome: general.jsonl=0.1.")
    ] = None,
    upsample: Annotated[
        list[str] | None, typer.Option(help="A source whose every row is taken so often: failures.jsonl=3.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A YAML file with the same; options go before it.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="What shares count: rows, characters or tokens. Default: rows.")
    ] = None,
    total: Annotated[
        int | None,
        typer.Option("--rows", "--total", help="How much in all, in the unit of --by. Default: all."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Shares from sizes: size^(1/T). 1 is proportional, 100 nearly equal.")
    ] = None,
    stop: Annotated[
        str | None,
        typer.Option(
            help="first_exhausted: no row twice, the mix ends with the first source used up. all_exhausted: every "
            "row at least once, smaller sources begin again. Default: first_exhausted."
        ),
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="shuffled, as_given, or a field whose numbers rise. Default: shuffled.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which rows, and in which order. Default: 0.")] = None,
    to: Annotated[
        str | None,
        typer.Option(help="The format of all rows. Default: as they stand; messages where they differ."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Whose tokenizer counts, for --by tokens.")] = None,
    format: Annotated[
        str | None, typer.Option(help="The sources' format, where it is not to be recognised.")
    ] = None,
    fields: Fields = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing mix.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Mix sources by shares, sizes or weights into one file, and say in a manifest what came from where."""
    from luthier.cli.common import console, print_json
    from luthier.cli.data.progress import progress
    from luthier.cli.data.tokens import token_counter
    from luthier.data.formats import parse_fields
    from luthier.data.mix import mix as mix_rows
    from luthier.errors import DataError

    given: dict[str, Any] = {
        "by": by,
        "total": total,
        "temperature": temperature,
        "stop": stop,
        "order": order,
        "seed": seed,
    }
    given |= {"to": to, "model": model, "format": format, "fields": parse_fields(fields or ()) or None}
    given |= _parts([*(sources or ()), *(source or ())], replay or (), upsample or ())
    wanted = _recipe(recipe, {key: value for key, value in given.items() if value is not None})
    if wanted.by == "tokens" and wanted.model is None:
        raise DataError("shares in tokens need the model whose tokenizer counts: --model luthier-nano")
    count_tokens = token_counter(wanted.model) if wanted.by == "tokens" and wanted.model else None
    with progress("mixing", unit="bytes") as advance:
        manifest = mix_rows(wanted, out, force=force, count_tokens=count_tokens, on_bytes=advance)
    if as_json:
        print_json(manifest)
    else:
        _show(console(), manifest)


def _recipe(path: Path | None, given: dict[str, Any]) -> "MixRecipe":
    from luthier.config import build
    from luthier.data.mix_recipe import MixRecipe, read_mix_recipe

    if path is not None:
        return read_mix_recipe(path, given)
    return build(MixRecipe, given, where="luthier data mix")


def _parts(sources: Any, replay: Any, upsample: Any) -> dict[str, Any]:
    """Sources as a recipe names them; a role that the command line does not name is left to the recipe."""
    from luthier.data.mix_recipe import parse_part

    found: dict[str, Any] = {}
    if sources:
        found["sources"] = [parse_part(text, "share", needed=False) for text in sources]
    if replay:
        found["replay"] = [parse_part(text, "share") for text in replay]
    if upsample:
        found["upsample"] = [parse_part(text, "times") for text in upsample]
    return found


def _show(screen: Any, manifest: dict[str, Any]) -> None:
    from rich.text import Text

    from luthier.cli.data.tokens import plain_table

    table = plain_table(
        source="left", role="left", has="right", taken="right", distinct="right", wanted="right", got="right"
    )
    for one in manifest["sources"]:
        counts = (f"{one[key]:,}" for key in ("rows_available", "rows_taken", "rows_distinct"))
        table.add_row(
            one["path"], one["role"], *counts, f"{one['share_wanted']:.2%}", f"{one['share_got']:.2%}"
        )
    screen.print(table)
    for shared in manifest["shared_rows"]:
        both = " and ".join(shared["sources"])
        screen.print(Text(f"note: {shared['rows']:,} distinct rows stand in both {both}", style="yellow"))
    for what, count in manifest["lost"].items():
        screen.print(Text(f"note: {manifest['format']} cannot hold {what}: {count:,} rows", style="yellow"))
    unit = "" if manifest["by"] == "rows" else f" ({manifest['amount']:,} {manifest['by']})"
    screen.print(
        f"{manifest['rows']:,} rows{unit}, {manifest['order']}, in {manifest['out']}", soft_wrap=True
    )
