"""The options that several verbs of `luthier data` share: one meaning, one wording."""

from typing import Annotated

import typer

Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Training data: files, folders, globs, hub ids.")
]
Format = Annotated[str | None, typer.Option(help="The rows' format, where it is not to be recognised.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(help="Rename fields before reading: NEW=OLD, such as prompt=question_text."),
]
RepairEncoding = Annotated[
    bool, typer.Option("--repair-encoding", help="Read lines that are not UTF-8 as Windows-1252.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes for large files; default: one a core.", show_default=False),
]
MaxLength = Annotated[int, typer.Option(min=2, help="With --model: tokens that a row may have.")]
BatchSize = Annotated[int, typer.Option(min=1, help="With --model: rows a step, for what steps share.")]
