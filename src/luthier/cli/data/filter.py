"""`luthier data filter`: keep the rows that meet every condition.

Knows nothing of how a condition is asked; everything heavy is imported when the verb runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from luthier.cli.data.options import Fields, Format

if TYPE_CHECKING:
    from luthier.data.filter import Condition


def filter(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Rows: files, folders, globs.")],
    out: Annotated[Path, typer.Option(help="Where the rows that are kept go.")],
    min_chars: Annotated[
        int | None, typer.Option(min=0, help="Least characters of the texts together.")
    ] = None,
    max_chars: Annotated[
        int | None, typer.Option(min=0, help="Most characters of the texts together.")
    ] = None,
    min_tokens: Annotated[
        int | None, typer.Option(min=0, help="Least tokens of the row; needs --model.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=0, help="Most tokens of the row; needs --model.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Whose tokenizer and template count tokens.")] = None,
    language: Annotated[
        str | None, typer.Option(help="Languages to keep, as ISO 639-1 codes: en or en,de.")
    ] = None,
    language_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="With --language: how sure the recognition must be.")
    ] = 0.5,
    match: Annotated[list[str] | None, typer.Option(help="A regular expression that must be found.")] = None,
    no_match: Annotated[
        list[str] | None, typer.Option(help="A regular expression that must not be found.")
    ] = None,
    part: Annotated[
        Literal["any", "prompt", "answer", "system"],
        typer.Option("--in", help="Which texts characters, language and patterns look at."),
    ] = "any",
    score_field: Annotated[str | None, typer.Option(help="A field with a number, such as quality.")] = None,
    min_score: Annotated[float | None, typer.Option(help="With --score-field: the least.")] = None,
    max_score: Annotated[float | None, typer.Option(help="With --score-field: the most.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="FIELD=VALUE or FIELD!=VALUE.")] = None,
    removed: Annotated[
        Path | None, typer.Option(help="Write what was left out there, with the reason.")
    ] = None,
    format: Format = None,
    fields: Fields = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Keep the rows that meet every condition; at least one is needed.

    --match, --no-match and --where may be given several times. Rows are written as they stand.
    """
    from luthier.cli.common import console, print_json
    from luthier.cli.data.progress import progress
    from luthier.cli.data.tokens import plain_table
    from luthier.data import filter as rows
    from luthier.data.formats import parse_fields

    conditions: list[Condition] = []
    if min_chars is not None or max_chars is not None:
        conditions.append(rows.characters_between(min_chars, max_chars, part))
    conditions += [rows.matches(pattern, part) for pattern in match or ()]
    conditions += [rows.matches(pattern, part, wanted=False) for pattern in no_match or ()]
    conditions += [_where(text) for text in where or ()]
    conditions += _score(score_field, min_score, max_score)
    conditions += _tokens(min_tokens, max_tokens, model)
    if language is not None:
        conditions.append(rows.language_is(language.split(","), language_confidence, part))
    with progress("filtering", unit="bytes") as advance:
        report = rows.filter_rows(
            files,
            out,
            conditions,
            removed=removed,
            force=force,
            format=format,
            fields=parse_fields(fields or ()),
            on_bytes=advance,
        )
    if as_json:
        print_json(report.to_dict())
        return
    table = plain_table(condition="left", removed="right")
    for name, count in report.removed.items():
        table.add_row(name, f"{count:,}")
    console().print(table)
    console().print(f"{report.num_rows:,} rows, {report.num_kept:,} kept in {out}", soft_wrap=True)
    if removed is not None:
        console().print(f"Left out, with the reason: {removed}", soft_wrap=True)


def _where(text: str) -> "Condition":
    from luthier.data.filter import field_is
    from luthier.errors import DataError

    name, equals, value = text.partition("=")
    wanted = not name.endswith("!")
    name = name if wanted else name[:-1]
    if not equals or not name:
        raise DataError(f"--where {text!r}: expected FIELD=VALUE or FIELD!=VALUE, such as lang=en")
    return field_is(name, value, wanted=wanted)


def _score(name: str | None, least: float | None, most: float | None) -> "list[Condition]":
    from luthier.data.filter import score_between
    from luthier.errors import DataError

    if name is not None:
        return [score_between(name, least, most)]
    if least is not None or most is not None:
        raise DataError(
            "--min-score and --max-score need the field that holds the score: --score-field quality"
        )
    return []


def _tokens(least: int | None, most: int | None, model: str | None) -> "list[Condition]":
    from luthier.cli.data.tokens import token_counter
    from luthier.data.filter import tokens_between
    from luthier.errors import DataError

    if least is None and most is None:
        if model is not None:
            raise DataError("--model counts tokens, but neither --min-tokens nor --max-tokens is given")
        return []
    if model is None:
        raise DataError(
            "--min-tokens and --max-tokens need the model whose tokenizer counts: --model luthier-nano"
        )
    return [tokens_between(least, most, token_counter(model))]
