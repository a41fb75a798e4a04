"""`luthier import`: what another tool made becomes a folder of ours, or what does not fit is listed."""

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.common import console, quiet_libraries


def import_model(
    source: Annotated[Path, typer.Argument(help="A PEFT folder, or a checkpoint of llama2.c (.bin).")],
    out: Annotated[Path, typer.Option(help="The folder to write; must not exist.")],
    base: Annotated[str | None, typer.Option(help="The adapter's base, where not the one it names.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="The tokenizer of a llama2.c checkpoint.")] = None,
) -> None:
    """Take in an adapter of another trainer, or a llama2.c checkpoint: names, shapes and sizes are checked first."""
    from luthier.errors import ConfigError, ModelError
    from luthier.models.foreign.pickles import refuse_pickle

    quiet_libraries()
    if out.exists():
        raise ConfigError(f"--out: {out} exists; choose another name")
    if not source.exists():
        raise ModelError(f"{source}: there is no such file or folder")
    if source.is_dir():
        _adapter(source, out, base, tokenizer)
        return
    refuse_pickle(source)
    if source.suffix != ".bin":
        raise ModelError(f"{source}: expected a PEFT folder or a llama2.c checkpoint (.bin)")
    if base is not None:
        raise ConfigError("--base: a llama2.c checkpoint is a whole model and has no base")
    _llama2c(source, out, tokenizer)


def _adapter(source: Path, out: Path, base: str | None, tokenizer: Path | None) -> None:
    from luthier.errors import ConfigError, ModelError
    from luthier.models.foreign.adapter import import_adapter, named_base
    from luthier.pipeline.identity import model_hash

    if tokenizer is not None:
        raise ConfigError("--tokenizer: a PEFT folder brings its own, or has its base's")
    chosen = base or named_base(source)
    if chosen is None:
        raise ModelError(f"{source}: names no base model; give one with --base")
    count = import_adapter(source, chosen, out, base_hash=model_hash(chosen))
    console().print(f"{count} tensors fit {chosen}; written to {out}")


def _llama2c(source: Path, out: Path, tokenizer: Path | None) -> None:
    from luthier.errors import ConfigError
    from luthier.models.foreign.llama2c import import_llama2c

    if tokenizer is None:
        raise ConfigError(
            "--tokenizer: a llama2.c checkpoint has none inside; give its tokenizer.bin (tok512.bin)"
        )
    import_llama2c(source, tokenizer, out)
    console().print(f"written to {out}: a Llama without a chat template")
