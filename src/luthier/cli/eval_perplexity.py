"""`luthier eval perplexity`: texts that a model is measured on, not asked."""

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.common import console, load, print_json


def perplexity(
    models: Annotated[list[str], typer.Argument(help="Runs, folders, embedded names or hub ids.")],
    texts: Annotated[Path, typer.Option(help="Texts (JSON lines with id and text).")],
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens in a window; without it, the model's context.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bits per byte and perplexity of texts, with intervals over documents. Lower is better."""
    from dataclasses import asdict

    from rich.table import Table

    from luthier.evaluation.bits import bits_per_byte_of
    from luthier.evaluation.tasks.perplexity import load_documents, measure

    documents = load_documents(texts)
    table = Table(title=f"{texts}: {len(documents)} documents", title_justify="left")
    for column in ("model", "bits per byte (95%)", "perplexity (95%)", "tokens"):
        table.add_column(column, overflow="fold")
    rows = []
    for ref in models:
        loaded = load(ref, dtype=dtype)
        found = measure(documents, lambda text: bits_per_byte_of(loaded, [text], max_length=max_length))  # noqa: B023
        rows.append({"model": ref, **asdict(found)})
        bits, words = found.bits_per_byte_interval, found.perplexity_interval
        table.add_row(
            ref,
            f"{found.bits_per_byte:.4f} ({bits.low:.4f} to {bits.high:.4f})",
            f"{found.perplexity:.2f} ({words.low:.2f} to {words.high:.2f})",
            f"{found.num_tokens:,}",
        )
    if json:
        print_json(rows)
    else:
        console().print(table)
