"""`luthier ollama`: an exported folder becomes a model on an Ollama server."""

import os
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.common import console

app = typer.Typer(help="Ollama: create a model on a server from an exported folder.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Keeps the verb a verb while it is the only one."""


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="What luthier export --to ollama wrote.")],
    name: Annotated[str, typer.Argument(help="The model's name there, such as rugby or rugby:v2.")],
    url: Annotated[
        str | None, typer.Option(help="The server. Default: $OLLAMA_HOST, or http://localhost:11434.")
    ] = None,
) -> None:
    """Send the files by their hashes and create the model through the server's REST API."""
    from luthier.export.ollama.push import push as push_folder

    host = url or os.environ.get("OLLAMA_HOST") or "http://localhost:11434"
    say = console(stderr=True)
    push_folder(
        folder, name, host if "://" in host else f"http://{host}", lambda line: say.print(line, markup=False)
    )
    console().print(f"{name} is on {host}; try: ollama run {name}", markup=False)
