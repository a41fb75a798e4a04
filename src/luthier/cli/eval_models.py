"""The models of `luthier eval` and `luthier compare`: how they are opened, and whose system prompt they get.

Imports nothing heavy at its top.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import model_ref, quiet_libraries, specialist, warn

if TYPE_CHECKING:
    from luthier.evaluation.answerers.opening import OpenedAnswerer

MODELS_HELP = "Runs, folders, embedded names, hub ids, specialists (NAME@VERSION), FILE.gguf, or URL#MODEL."

Dtype = Annotated[str, typer.Option(help="auto, float32 or bfloat16; of local models.")]
ApiKeyVariable = Annotated[
    str | None, typer.Option(help="The environment variable with the key of URL#MODEL.")
]
Timeout = Annotated[
    float, typer.Option(min=0.1, help="Seconds that one request to URL#MODEL may take, for each attempt.")
]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests to URL#MODEL at once.")]


@dataclass(frozen=True, slots=True)
class Opening:
    """How models are opened: dtype of local ones, the rest of endpoints."""

    dtype: str = "auto"
    api_key_variable: str | None = None
    timeout_seconds: float = 60.0
    concurrency: int = 4


@contextmanager
def opened(ref: str, opening: Opening) -> "Iterator[OpenedAnswerer]":
    """What a person called a model, ready to be asked; closed at the end."""
    from luthier.evaluation.answerers.opening import open_answerer

    quiet_libraries()
    answerer = open_answerer(
        model_ref(ref),
        name=ref,
        dtype=opening.dtype,
        api_key_variable=opening.api_key_variable,
        timeout_seconds=opening.timeout_seconds,
        max_concurrency=opening.concurrency,
    )
    try:
        yield answerer
    finally:
        answerer.close()


def system_prompt(ref: str, given: str | None, of_task: str | None = None) -> str | None:
    """The prompt that counts: the one given, else the specialist's own, else the task's.

    A specialist was tested with its own prompt, byte for byte: another one is a warning on stderr with the difference.
    """
    from luthier.registry.specialist_diff import other_prompt

    found = specialist(ref)
    own = found[1].system_prompt if found is not None else None
    used = next((prompt for prompt in (given, own, of_task) if prompt is not None), None)
    told = other_prompt(found[1], used) if found is not None else None
    if told is not None:
        warn(told)
    return used
