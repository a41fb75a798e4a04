"""`luthier models` and `luthier tokenizer`: what is embedded, and how its tokenizer was made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.common import console, print_json, quiet_libraries


def models(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the models that come with Luthier."""
    from luthier.models.embedded import DEFAULT_MODEL, EMBEDDED

    if json:
        print_json(
            [{"name": m.name, "summary": m.summary, "folder": str(m.folder)} for m in EMBEDDED.values()]
        )
        return
    for model in EMBEDDED.values():
        mark = " (default)" if model.name == DEFAULT_MODEL else ""
        console().print(f"{model.name}{mark}\n  {model.summary}\n  model card: {model.folder / 'README.md'}")
    console().print(
        "Any folder with a model, or a hub id such as Qwen/Qwen3-0.6B, can be given to --model too."
    )


def tokenizer(
    recipe: Annotated[Path, typer.Argument(help="YAML with `data`, `vocab_size` and `context_length`.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
) -> None:
    """Train a byte-level BPE tokenizer with ChatML control tokens."""
    from luthier.config import build, read_yaml
    from luthier.data.sources import read_rows
    from luthier.errors import ConfigError
    from luthier.files import atomic_directory
    from luthier.models.tokenizer import TokenizerConfig, train_tokenizer

    quiet_libraries()
    config = build(TokenizerConfig, read_yaml(recipe), where=str(recipe))
    if out.exists():
        raise ConfigError(f"{out}: this folder exists; choose another one with --out")

    def texts() -> Iterator[str]:
        for path in config.data:
            for row in read_rows(path):
                yield str(row.value.get("text", ""))

    with console(stderr=True).status("learning merges"):
        trained = train_tokenizer(texts(), vocab_size=config.vocab_size, context_length=config.context_length)
        with atomic_directory(out) as beside:
            trained.save_pretrained(beside)
    console().print(f"{len(trained)} tokens in {out}")
