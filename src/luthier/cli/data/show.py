"""`luthier data show`: rows as the model will see them.

Knows nothing of how tokens come to be; everything heavy is imported when the verb runs.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.data.options import Fields, Format

if TYPE_CHECKING:
    from rich.text import Text

    from luthier.chat.render import Renderer
    from luthier.data.sources import Row
    from luthier.errors import DataError


def show(
    file: Annotated[str, typer.Argument(help="Training data: a file, a folder, a glob, a hub id.")],
    model: Annotated[str, typer.Option(help="Whose tokenizer and template: name, folder or hub id.")] = (
        "luthier-nano"
    ),
    num_rows: Annotated[int, typer.Option("-n", min=1, help="How many rows to show.")] = 3,
    row: Annotated[
        int | None, typer.Option(min=1, help="Show the row of this line (or number) only.")
    ] = None,
    format: Format = None,
    fields: Fields = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print ids, weights and texts as JSON.")] = False,
) -> None:
    """Show rows as the model will see them: the supervised text in colour, ids, weights and counts."""
    from luthier.chat.render import Renderer
    from luthier.cli.common import model_ref, quiet_libraries
    from luthier.models.load import find_model, load_tokenizer

    chosen, problem = _choose(file, num_rows, row, format, fields or ())
    quiet_libraries()
    tokenizer = load_tokenizer(find_model(model_ref(model)).tokenizer_place)
    renderer = Renderer(tokenizer)
    shown = [_rendered(renderer, tokenizer, one, name) for one, name in chosen]
    if as_json:
        print(json.dumps({"file": file, "model": model, "rows": shown}))
    elif shown:
        _print_rows(shown)
    if problem is not None:
        raise problem


def _choose(
    file: str, num_rows: int, number: int | None, format: str | None, fields: Sequence[str]
) -> "tuple[list[tuple[Row, str | None]], DataError | None]":
    """The first rows of the file, or the one with that number, each with its format; and what stopped the reading.

    Raises DataError where there is no such row.
    """
    from dataclasses import replace

    from luthier.data.formats import parse_fields, recognise_file
    from luthier.data.sources import UnreadableRow, find_files, head_values, read_every_row
    from luthier.errors import DataError

    chosen: list[tuple[Row, str | None]] = []
    for source in find_files(file):
        recognised = recognise_file(head_values(source), format=format, fields=parse_fields(fields))
        for row in read_every_row(source):
            last = row
            if number not in (None, row.number):
                continue
            if isinstance(row, UnreadableRow):
                return chosen, DataError(row.problem)
            renamed = replace(row, value=recognised.rename(row.value))
            chosen.append((renamed, recognised.of(renamed.value)))
            if len(chosen) == (num_rows if number is None else 1):
                return chosen, None
    if number is None:
        return chosen, None
    raise DataError(
        f"{file}: there is no row at {last.unit} {number}; the last row is at {last.unit} {last.number}"
    )


def _rendered(renderer: "Renderer", tokenizer: Any, row: "Row", format: str | None) -> dict[str, Any]:
    """A row's renderings as JSON values. Raises LuthierError with the place of the row."""
    from luthier.chat.messages import Conversation
    from luthier.data.formats import read_example
    from luthier.errors import LuthierError

    name, example = read_example(row.value, where=row.where, format=format)
    told = {"line": row.number, "unit": row.unit, "format": name}
    if example.kind == "text":
        return {**told, "renderings": [_rendered_text(tokenizer, row)]}
    tools = example.conversation.tools
    conversations = [Conversation(example.messages, tools)]
    if example.rejected:
        conversations.append(Conversation((*example.conversation.messages, *example.rejected), tools))
    try:
        renderings = [
            _to_dict(renderer.decode, rendering.token_ids, rendering.weights)
            for conversation in conversations
            for rendering in renderer.render(conversation)
        ]
    except LuthierError as error:
        raise type(error)(f"{row.where}: {error}") from error
    return {**told, "renderings": renderings}


def _rendered_text(tokenizer: Any, row: "Row") -> dict[str, Any]:
    """A document, uncut, as continued pretraining would see it."""
    import sys

    from luthier.data.dataset import text_dataset

    token_ids, weights = text_dataset([row], tokenizer, max_length=sys.maxsize).row(0)
    return _to_dict(tokenizer.decode, token_ids.tolist(), weights.tolist())


def _to_dict(
    decode: Callable[[Sequence[int]], str], token_ids: Sequence[int], weights: Sequence[float]
) -> dict[str, Any]:
    from itertools import groupby

    texts = []
    for weight, group in groupby(range(len(token_ids)), key=lambda i: float(weights[i])):
        places = list(group)
        text = decode([token_ids[i] for i in places])
        texts.append({"text": text, "weight": weight, "num_tokens": len(places)})
    return {
        "token_ids": list(token_ids),
        "weights": [float(weight) for weight in weights],
        "texts": texts,
        "num_tokens": len(token_ids),
        "num_supervised": sum(weight > 0 for weight in weights),
    }


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from rich.text import Text

    from luthier.cli.common import console as new_console

    console = new_console()
    in_colour = console.color_system is not None
    legend = "in green" if in_colour else "between ⟦ and ⟧"
    console.print(Text(f"Supervised text stands {legend}; what comes before it is context.", style="dim"))
    for row in rows:
        for number, rendering in enumerate(row["renderings"], start=1):
            part = f", rendering {number} of {len(row['renderings'])}" if len(row["renderings"]) > 1 else ""
            counts = f"{rendering['num_tokens']} tokens, {rendering['num_supervised']} supervised"
            console.print()
            console.print(
                Text(f"{row['unit']} {row['line']} ({row['format']}{part}): {counts}", style="bold")
            )
            console.print(coloured(rendering["texts"], in_colour))
            for name, values in (("ids", rendering["token_ids"]), ("weights", rendering["weights"])):
                listed = " ".join(f"{value:g}" if name == "weights" else str(value) for value in values)
                console.print(Text(f"{name}: {listed}", style="dim"))
    total = sum(rendering["num_tokens"] for row in rows for rendering in row["renderings"])
    supervised = sum(rendering["num_supervised"] for row in rows for rendering in row["renderings"])
    console.print()
    console.print(Text(f"shown: {len(rows)} rows, {total} tokens, {supervised} supervised", style="bold"))


def coloured(parts: Sequence[Mapping[str, Any]], in_colour: bool) -> "Text":
    """Texts with their `weight`: what is supervised in green, or between brackets."""
    from rich.text import Text

    text = Text()
    for part in parts:
        shown = "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in part["text"])
        if part["weight"] > 0:
            text.append(shown if in_colour else f"⟦{shown}⟧", style="bold green")
        else:
            text.append(shown)
    return text
