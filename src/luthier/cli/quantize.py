"""`luthier quantize`: smaller forms of a model side by side, and the smallest that is shown to be not worse."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import console, model_ref, print_json, quiet_libraries, read_text_option
from luthier.cli.eval_models import system_prompt
from luthier.files import file_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from luthier.pipeline.quantization import Comparison

_CALIBRATION_ROWS = 128


def quantize(
    model: Annotated[str, typer.Argument(help="A run, a specialist, an adapter folder or a model folder.")],
    items: Annotated[Path, typer.Option(help="Evaluation items that every form is asked (JSONL).")],
    out: Annotated[
        Path, typer.Option(help="The folder for the GGUF files and comparison.json; must not exist.")
    ],
    compare: Annotated[str, typer.Option(help="Types of GGUF, with commas between.")] = "q8_0,q5_k_m,q4_k_m",
    calibration: Annotated[
        Path | None, typer.Option(help="Training rows that steer the rounding of K-quants (the first 128).")
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system prompt, or @FILE.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 64,
    margin: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="How much less accuracy still counts as not worse.")
    ] = 0.05,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write smaller forms, ask each the same items through llama.cpp: size, speed, distance, score, verdict."""
    import tempfile

    from luthier.errors import ConfigError
    from luthier.evaluation.task import load_items
    from luthier.export.merge import merge
    from luthier.files import atomic_directory, write_json_atomic
    from luthier.models.gguf import llama_cpp
    from luthier.models.load import find_model
    from luthier.pipeline.quantization import compare_quantizations

    quiet_libraries()
    llama_cpp()
    if out.exists():
        raise ConfigError(f"--out: {out} exists; choose another name")
    asked = load_items(items)
    ref = model_ref(model)
    prompt = system_prompt(model, read_text_option(system) if system is not None else None)
    with tempfile.TemporaryDirectory() as scratch:
        source = find_model(ref)
        folder = Path(source.base)
        if source.adapter is not None:
            folder = Path(scratch) / "merged"
            merge(ref, folder)
        with atomic_directory(out, replace=False) as beside:
            found = compare_quantizations(
                folder,
                [one.strip() for one in compare.split(",") if one.strip()],
                asked,
                beside,
                system_prompt=prompt,
                importance=_importance(folder, calibration) if calibration is not None else None,
                max_new_tokens=max_new_tokens,
                margin=margin,
                name=file_name(model),
                on_form=lambda kind: console(stderr=True).print(f"{kind}: writing and asking"),
            )
            write_json_atomic(beside / "comparison.json", found.to_dict())
    if json:
        print_json(found.to_dict())
    else:
        _print(found, out)


def _importance(folder: Path, rows: Path) -> "dict[str, NDArray[np.float32]]":
    from itertools import islice

    from luthier.chat.messages import Conversation
    from luthier.chat.render import Renderer
    from luthier.data.inputs import open_inputs
    from luthier.export.gguf.importance import importance_matrix
    from luthier.models.load import load_tokenizer

    renderer = Renderer(load_tokenizer(str(folder)))
    checked = (row for one in open_inputs([rows]) for _, row in one.good_rows())
    conversations = (Conversation(row.messages) for row in islice(checked, _CALIBRATION_ROWS))
    return importance_matrix(
        folder, [rendering.token_ids for c in conversations for rendering in renderer.render(c)]
    )


def _print(found: "Comparison", out: Path) -> None:
    screen = console()
    screen.print(_table(found))
    chosen = found.smallest
    if chosen is None:
        screen.print(f"No form is shown to be not worse within {found.margin:g}: more items would tell more.")
    else:
        screen.print(
            f"The smallest form that is not worse within {found.margin:g}: {chosen.type}, {out / chosen.path}",
            markup=False,
            soft_wrap=True,
        )


def _table(found: "Comparison") -> "Table":
    from rich.table import Table

    table = Table()
    for column in ("type", "MB", "tokens/s", "KL (nats)", "same best token", "score (95%)", "not worse"):
        table.add_column(column, overflow="fold")
    for form in found.forms:
        low, high = form.interval.low, form.interval.high
        word = "the reference" if form.p_not_worse is None else "yes" if form.not_worse else "not shown"
        table.add_row(
            form.type,
            f"{form.num_bytes / 1e6:,.1f}",
            f"{form.tokens_per_second:,.0f}" if form.tokens_per_second else "-",
            f"{form.kl_nats:.2g}",
            f"{form.top1:.1%}",
            f"{form.accuracy:.1%} ({low:.1%} to {high:.1%})",
            word
            if form.p_not_worse is None
            else f"{word} (p = {form.p_not_worse:.2g}; +{form.wins} -{form.losses})",
        )
    return table
