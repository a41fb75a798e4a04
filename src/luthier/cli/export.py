"""`luthier export`: a run or an adapter becomes a plain model folder, proven to answer the same."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.common import console, load, model_ref, quiet_libraries

PROBES = (
    "Hello!",
    "Who are you?",
    "What can you do?",
    "How long is a year?",
    "Name three animals.",
    "What is 2 plus 3?",
    "Write a short sentence about the sea.",
    "Thank you, goodbye.",
)


def export(
    model: Annotated[str, typer.Argument(help="A run, an adapter folder or a model folder.")],
    out: Annotated[Path, typer.Option(help="The folder to write; must not exist.")],
    dtype: Annotated[str, typer.Option(help="auto (as the base is stored), float32 or bfloat16.")] = "auto",
    items: Annotated[Path | None, typer.Option(help="Evaluation items to use as probes (JSONL).")] = None,
    max_probes: Annotated[int, typer.Option(min=1, help="How many probes at most.")] = 100,
) -> None:
    """Merge into full-precision weights, then verify that the merged model gives the same answers."""
    from luthier.chat.messages import Message
    from luthier.errors import ConfigError, NotTheSame
    from luthier.evaluation.task import load_items
    from luthier.export.certificate import certify
    from luthier.export.merge import merge
    from luthier.files import write_json_atomic

    quiet_libraries()
    if dtype not in ("auto", "float32", "bfloat16"):
        raise ConfigError(f"--dtype: expected auto, float32 or bfloat16, got {dtype!r}")
    probes = (
        [item.messages for item in load_items(items)] if items else [(Message("user", p),) for p in PROBES]
    )
    screen = console()
    merge(model_ref(model), out, dtype=dtype)
    screen.print(f"merged into {out}")
    certificate = certify(load(model, dtype="float32"), load(str(out), dtype="float32"), probes[:max_probes])
    write_json_atomic(out / "certificate.json", certificate.to_dict())
    try:
        certificate.require_same()
    except NotTheSame:
        shutil.rmtree(out)  # what is not proven does not leave the house
        raise
    screen.print(
        f"verified: {certificate.describe()} ({certificate.num_tokens} tokens; logits differ by "
        f"{certificate.relative_difference:.2g} of their spread)"
    )
